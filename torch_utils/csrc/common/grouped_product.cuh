// Products of packed rows with matrices that differ from sample to sample, in one launch for the whole batch. A block owns 64
// rows of one sample; sums run over the inner dimension in a fixed order, so the results are bitwise repeatable.
#pragma once
#include "common/cuda_launch.h"
#include "common/cuda_vector.h"
#include "common/grouped_rows.h"

namespace tetragan {
namespace grouped {

constexpr int kDepth = 16;  // of the inner dimension at a time
constexpr int kSide = 4;    // rows and columns of a thread
constexpr int kRowGroups = kTileRows / kSide;

// What follows the product: a value of the sum, its row and its column to the value that is stored.
template <class T>
struct Epilogue {
  const T* bias = nullptr;   // [columns], added
  const T* below = nullptr;  // [rows][columns] activations: the sum is multiplied by their slope
  bool activate = false;     // leaky ReLU, times gain
  T slope = 0, gain = 1;
};

// The tile's sample, and its rows [begin, end).
struct Tile {
  int32_t sample;
  int64_t begin, end;
};

__device__ __forceinline__ Tile tile_of(const int64_t* table, int32_t samples, int64_t index) {
  const int64_t *offsets = table, *tiles = table + samples + 1;
  Tile tile;
  tile.sample = range_of(tiles, samples, index);
  tile.begin = offsets[tile.sample] + (index - tiles[tile.sample]) * kTileRows;
  const int64_t end = tile.begin + kTileRows;
  tile.end = end < offsets[tile.sample + 1] ? end : offsets[tile.sample + 1];
  return tile;
}

// sums[r][c] += Σ_k left[k][row group] · right[k][column group], both from shared memory.
template <class T>
__device__ __forceinline__ void multiply_slice(const Pack<T, kSide>& left, const Pack<T, kSide>& right, T (*sums)[kSide]) {
  for (int r = 0; r < kSide; ++r) {
    for (int c = 0; c < kSide; ++c) sums[r][c] = multiply_add(left.values[r], right.values[c], sums[r][c]);
  }
}

template <class T>
__device__ __forceinline__ T finish(const Epilogue<T>& e, T value, int64_t row, int32_t column, int32_t columns) {
  if (e.bias != nullptr) value += e.bias[column];
  if (e.activate) value = (value < 0 ? value * e.slope : value) * e.gain;
  if (e.below != nullptr) value *= (e.below[row * columns + column] > 0 ? T(1) : e.slope) * e.gain;
  return value;
}

// out [rows][columns] = epilogue(x [rows][inner] · matrix of the row's sample). The matrix is [inner][columns] or, transposed,
// [columns][inner]; `step` values lie between those of two samples. kColumns: of a block, one pack of them for each thread.
template <int kColumns, bool kTransposed, class T>
__global__ void __launch_bounds__(kRowGroups * kColumns / kSide)
    product_kernel(const T* x, const T* matrices, int64_t step, int32_t inner, int32_t columns, const int64_t* table,
                   int32_t samples, Epilogue<T> epilogue, T* out) {
  using Four = Pack<T, kSide>;
  constexpr int kColumnGroups = kColumns / kSide, kThreads = kRowGroups * kColumnGroups;
  // One group more than needed, so that the rows of a warp's stores lie in different banks.
  __shared__ Four left[kDepth][kRowGroups + 1];
  __shared__ Four right[kDepth][kColumnGroups];
  const int row_group = threadIdx.x / kColumnGroups, column_group = threadIdx.x % kColumnGroups;
  const int32_t first_column = blockIdx.y * kColumns;
  const Tile tile = tile_of(table, samples, blockIdx.x);
  const int32_t rows = static_cast<int32_t>(tile.end - tile.begin);
  // What this thread loads of each slice: one place of the inner dimension in several rows of x, and either one place in
  // several columns of the matrix or the other way round.
  const int own = threadIdx.x % kDepth, own_row = threadIdx.x / kDepth;
  const int column = kTransposed ? own_row : threadIdx.x % kColumns, depth = kTransposed ? own : threadIdx.x / kColumns;
  constexpr int kRowStep = kThreads / kDepth, kColumnStep = kTransposed ? kRowStep : 0;
  constexpr int kDepthStep = kTransposed ? 0 : kThreads / kColumns;
  const T* from_x = x + (tile.begin + own_row) * inner + own;
  const T* from_matrix = matrices + tile.sample * step +
                         (kTransposed ? static_cast<int64_t>(first_column + column) * inner + depth
                                      : static_cast<int64_t>(depth) * columns + first_column + column);
  const int32_t matrix_step = kTransposed ? kColumnStep * inner : kDepthStep * columns;
  T sums[kSide][kSide] = {};
  for (int32_t start = 0; start < inner; start += kDepth) {
#pragma unroll
    for (int n = 0; n < kTileRows / kRowStep; ++n) {
      const int row = own_row + n * kRowStep;
      const bool there = row < rows && start + own < inner;
      left[own][row / kSide].values[row % kSide] = there ? from_x[n * kRowStep * inner] : T(0);
    }
#pragma unroll
    for (int n = 0; n < kColumns * kDepth / kThreads; ++n) {
      const int c = column + n * kColumnStep, k = depth + n * kDepthStep;
      const bool there = first_column + c < columns && start + k < inner;
      right[k][c / kSide].values[c % kSide] = there ? from_matrix[n * matrix_step] : T(0);
    }
    from_x += kDepth;
    from_matrix += kTransposed ? kDepth : kDepth * columns;
    __syncthreads();
#pragma unroll
    for (int k = 0; k < kDepth; ++k) multiply_slice(left[k][row_group], right[k][column_group], sums);
    __syncthreads();
  }
  for (int r = 0; r < kSide; ++r) {
    const int64_t row = tile.begin + row_group * kSide + r;
    for (int c = 0; c < kSide; ++c) {
      const int32_t column = first_column + column_group * kSide + c;
      if (row < tile.end && column < columns) out[row * columns + column] = finish(epilogue, sums[r][c], row, column, columns);
    }
  }
}

// parts [pieces][inner + 1][columns]: for each piece of a sample's rows, Σ_r x[r][i] · g[r][c], and below it Σ_r g[r][c].
// A piece is kPieceTiles tiles; blockIdx.x counts pieces, y and z tiles of 64 of the columns and of the inner dimension.
template <class T>
__global__ void __launch_bounds__(kRowGroups * kRowGroups)
    outer_kernel(const T* x, const T* g, int32_t inner, int32_t columns, const int64_t* table, int32_t samples, T* parts) {
  using Four = Pack<T, kSide>;
  constexpr int kThreads = kRowGroups * kRowGroups;
  __shared__ Four left[kDepth][kRowGroups];
  __shared__ Four right[kDepth][kRowGroups];
  const int row_group = threadIdx.x / kRowGroups, column_group = threadIdx.x % kRowGroups;
  const int32_t first_column = blockIdx.y * kTileRows, first_inner = blockIdx.z * kTileRows;
  const int64_t *offsets = table, *pieces = table + 2 * (samples + 1);
  const int32_t sample = range_of(pieces, samples, blockIdx.x);
  const int64_t begin = offsets[sample] + (blockIdx.x - pieces[sample]) * kPieceTiles * kTileRows;
  const int64_t limit = begin + kPieceTiles * kTileRows, end = limit < offsets[sample + 1] ? limit : offsets[sample + 1];
  T sums[kSide][kSide] = {}, bias[kSide] = {};
  const bool adds_bias = blockIdx.z == 0 && row_group == 0;
  const int place = threadIdx.x % kTileRows, first_row = threadIdx.x / kTileRows;
  const bool in_x = first_inner + place < inner, in_g = first_column + place < columns;
  const T *from_x = x + (begin + first_row) * inner + first_inner + place, *from_g = g + (begin + first_row) * columns + first_column + place;
  constexpr int kRowStep = kThreads / kTileRows;
  for (int64_t start = begin; start < end; start += kDepth) {
#pragma unroll
    for (int n = 0; n < kDepth / kRowStep; ++n) {
      const int k = first_row + n * kRowStep;
      const bool there = start + k < end;
      left[k][place / kSide].values[place % kSide] = there && in_x ? from_x[n * kRowStep * inner] : T(0);
      right[k][place / kSide].values[place % kSide] = there && in_g ? from_g[n * kRowStep * columns] : T(0);
    }
    from_x += kDepth * inner;
    from_g += kDepth * columns;
    __syncthreads();
#pragma unroll
    for (int k = 0; k < kDepth; ++k) {
      multiply_slice(left[k][row_group], right[k][column_group], sums);
      if (adds_bias) {
        for (int c = 0; c < kSide; ++c) bias[c] += right[k][column_group].values[c];
      }
    }
    __syncthreads();
  }
  T* part = parts + static_cast<int64_t>(blockIdx.x) * (inner + 1) * columns;
  for (int c = 0; c < kSide; ++c) {
    const int32_t column = first_column + column_group * kSide + c;
    if (column >= columns) continue;
    for (int r = 0; r < kSide; ++r) {
      const int32_t row = first_inner + row_group * kSide + r;
      if (row < inner) part[static_cast<int64_t>(row) * columns + column] = sums[r][c];
    }
    if (adds_bias) part[static_cast<int64_t>(inner) * columns + column] = bias[c];
  }
}

// Adds the pieces of each sample in order. totals: `step` values between samples.
template <class T>
__global__ void add_pieces_kernel(const T* parts, int32_t inner, int32_t columns, const int64_t* table, int32_t samples,
                                  T* totals, int64_t step) {
  const int64_t size = static_cast<int64_t>(inner) * columns, part = size + columns;
  const int64_t* pieces = table + 2 * (samples + 1);
  TETRAGAN_EACH(i, samples * size) {
    const int64_t sample = i / size, at = i % size;
    double sum = 0;
    for (int64_t piece = pieces[sample]; piece < pieces[sample + 1]; ++piece) sum += parts[piece * part + at];
    totals[sample * step + at] = static_cast<T>(sum);
  }
}

// The last row of each part, added over all pieces.
template <class T>
__global__ void add_biases_kernel(const T* parts, int32_t inner, int32_t columns, int64_t pieces, T* totals) {
  TETRAGAN_EACH(column, columns) {
    double sum = 0;
    for (int64_t piece = 0; piece < pieces; ++piece) sum += parts[(piece * (inner + 1) + inner) * columns + column];
    totals[column] = static_cast<T>(sum);
  }
}

template <bool kTransposed, class T>
void launch_product(const T* x, const T* matrices, int64_t step, int64_t inner, int64_t columns, const Table& rows,
                    const Epilogue<T>& epilogue, T* out, cudaStream_t stream) {
  if (rows.tiles == 0 || columns == 0) return;
  const auto run = [&](auto kernel, int width) {
    const dim3 grid(static_cast<unsigned>(rows.tiles), static_cast<unsigned>(divide_up(columns, width)));
    const int threads = kRowGroups * width / kSide;
    kernel(grid, threads);
  };
  const int32_t i = static_cast<int32_t>(inner), c = static_cast<int32_t>(columns);
  if (columns <= 16) {
    run([&](dim3 grid, int threads) {
      product_kernel<16, kTransposed, T><<<grid, threads, 0, stream>>>(x, matrices, step, i, c, rows.data, rows.samples, epilogue, out);
    }, 16);
  } else {
    run([&](dim3 grid, int threads) {
      product_kernel<64, kTransposed, T><<<grid, threads, 0, stream>>>(x, matrices, step, i, c, rows.data, rows.samples, epilogue, out);
    }, 64);
  }
}

template <class T>
void launch_outer(const T* x, const T* g, int64_t inner, int64_t columns, const Table& rows, T* parts, T* totals, int64_t step,
                  T* biases, cudaStream_t stream) {
  if (columns == 0) return;
  const int32_t i = static_cast<int32_t>(inner), c = static_cast<int32_t>(columns);
  const dim3 grid(static_cast<unsigned>(rows.pieces), static_cast<unsigned>(divide_up(columns, kTileRows)),
                  static_cast<unsigned>(divide_up(inner > 0 ? inner : 1, kTileRows)));
  if (rows.pieces > 0) outer_kernel<T><<<grid, kRowGroups * kRowGroups, 0, stream>>>(x, g, i, c, rows.data, rows.samples, parts);
  const int64_t count = rows.samples * inner * columns;
  if (count > 0) {
    add_pieces_kernel<T><<<blocks_for(count), kBlock, 0, stream>>>(parts, i, c, rows.data, rows.samples, totals, step);
  }
  add_biases_kernel<T><<<blocks_for(columns), kBlock, 0, stream>>>(parts, i, c, rows.pieces, biases);
}

}  // namespace grouped
}  // namespace tetragan
