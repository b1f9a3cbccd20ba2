// CUDA kernels of `upfirdn2d`. A thread computes 2 × 2 (without resampling, 4 × 2) outputs of 4 neighboring channels, or twice as
// many of one channel, from the few inputs that they share, with 32-bit indices; the networks' filters (4 taps, factors 1 and 2) have factors and taps fixed at compile time.
// Any other filter takes the generic kernel, one output a thread.
#include "common/cuda_launch.h"
#include "common/cuda_vector.h"
#include "upfirdn2d/upfirdn2d_cuda.h"

namespace tetragan {
namespace {

// Outputs of a thread. Without resampling, neighboring rows share most of their inputs.
template <int kUp, int kDown>
constexpr int kTileRows = kUp == 1 && kDown == 1 ? 4 : 2;
template <int kVector>
constexpr int kTileColumns = kVector == 1 ? 4 : 2;

// A launch: everything in it is the same for all threads. An image has fewer than 2³¹ values.
template <class T>
struct Work {
  const T* x;
  const void* filter;
  bool wide_filter;  // float64
  const T* add;
  const Bfloat16* narrow_add;
  T* y;
  bool flip;
  typename Accumulate<T>::type gain;
  int32_t channels, height, width, out_height, out_width;
  int32_t up, down, taps, top, left;
  int32_t images, tiles;  // tiles: columns of tiles times groups of channels
};

template <class A, class T>
__device__ __forceinline__ A tap_of(const Work<T>& s, int tap) {
  const int at = s.flip ? tap : s.taps - 1 - tap;
  return s.wide_filter ? static_cast<A>(static_cast<const double*>(s.filter)[at])
                       : static_cast<A>(static_cast<const float*>(s.filter)[at]);
}

template <int kVector, bool kAdds, class A, class T>
__device__ __forceinline__ void write(const Work<T>& s, int64_t at, const A* sums) {
  Pack<T, kVector> out;
  A values[kVector];
  for (int v = 0; v < kVector; ++v) values[v] = sums[v] * s.gain;
  if (kAdds && s.add != nullptr) {
    const Pack<T, kVector> other = load_pack<kVector>(s.add + at);
    for (int v = 0; v < kVector; ++v) values[v] += load_value(other.values[v]);
  }
  if (kAdds && s.narrow_add != nullptr) {
    const Pack<Bfloat16, kVector> other = load_pack<kVector>(s.narrow_add + at);
    for (int v = 0; v < kVector; ++v) values[v] += load_value(other.values[v]);
  }
  for (int v = 0; v < kVector; ++v) store_value(out.values[v], values[v]);
  store_pack(s.y + at, out);
}

// The tiles of one row of tiles, kVector channels each. Tile t begins at output size · t − phase, whose first tap lies on an
// input, so that every tap of a tile meets an input (or none) that is known at compile time.
template <int kUp, int kDown, int kTaps, int kVector, bool kAdds, class T>
__global__ void __launch_bounds__(kBlock) tile_kernel(Work<T> s, Divider groups) {
  using A = typename Accumulate<T>::type;
  constexpr int kColumns = kTileColumns<kVector>, kRows = kTileRows<kUp, kDown>;
  constexpr int kRowInputs = ((kRows - 1) * kDown + kTaps - 1) / kUp + 1;
  constexpr int kColumnInputs = ((kColumns - 1) * kDown + kTaps - 1) / kUp + 1;
  const uint32_t item = blockIdx.x * kBlock + threadIdx.x;
  if (item >= static_cast<uint32_t>(s.tiles)) return;
  const int32_t channel = static_cast<int32_t>(groups.remainder(item)) * kVector;
  const int32_t column = static_cast<int32_t>(groups.quotient(item)) * kColumns - (kUp == 2 ? s.left & 1 : 0);
  const int32_t row = static_cast<int32_t>(blockIdx.y) * kRows - (kUp == 2 ? s.top & 1 : 0);
  // Both are multiples of kUp.
  const int32_t first_row = (row * kDown - s.top) / kUp, first_column = (column * kDown - s.left) / kUp;
  A taps[kTaps];
  for (int t = 0; t < kTaps; ++t) taps[t] = tap_of<A>(s, t);
  for (int32_t image = blockIdx.z; image < s.images; image += gridDim.z) {
    const T* from = s.x + static_cast<int64_t>(image) * s.height * s.width * s.channels + channel;
    A sums[kRows][kColumns][kVector] = {};
#pragma unroll
    for (int r = 0; r < kRowInputs; ++r) {
      const int32_t y = first_row + r;
      if (y < 0 || y >= s.height) continue;
      const T* from_row = from + y * s.width * s.channels;
      A along[kColumns][kVector] = {};
#pragma unroll
      for (int c = 0; c < kColumnInputs; ++c) {
        const int32_t x = first_column + c;
        if (x < 0 || x >= s.width) continue;
        const Pack<T, kVector> pack = load_pack<kVector>(from_row + x * s.channels);
#pragma unroll
        for (int o = 0; o < kColumns; ++o) {
          const int tap = c * kUp - o * kDown;
          if (tap < 0 || tap >= kTaps) continue;
          for (int v = 0; v < kVector; ++v) along[o][v] = multiply_add(taps[tap], load_value(pack.values[v]), along[o][v]);
        }
      }
#pragma unroll
      for (int o = 0; o < kRows; ++o) {
        const int tap = r * kUp - o * kDown;
        if (tap < 0 || tap >= kTaps) continue;
        for (int c = 0; c < kColumns; ++c) {
          for (int v = 0; v < kVector; ++v) sums[o][c][v] = multiply_add(taps[tap], along[c][v], sums[o][c][v]);
        }
      }
    }
    const int64_t to = static_cast<int64_t>(image) * s.out_height * s.out_width * s.channels + channel;
#pragma unroll
    for (int o = 0; o < kRows * kColumns; ++o) {
      const int32_t y = row + o / kColumns, x = column + o % kColumns;
      if (y < 0 || x < 0 || y >= s.out_height || x >= s.out_width) continue;
      write<kVector, kAdds>(s, to + (y * s.out_width + x) * s.channels, sums[o / kColumns][o % kColumns]);
    }
  }
}

// ⌈position / up⌉: the first input at or after a position of the upsampled image.
__device__ __forceinline__ int32_t input_at(int32_t position, int32_t up) {
  const int32_t input = position / up;
  return input + (input * up < position ? 1 : 0);
}

// One row of outputs, any factors and taps.
template <class T>
__global__ void generic_kernel(Work<T> s, Divider channels) {
  using A = typename Accumulate<T>::type;
  const uint32_t item = blockIdx.x * kBlock + threadIdx.x;
  if (item >= static_cast<uint32_t>(s.tiles)) return;
  const int32_t channel = static_cast<int32_t>(channels.remainder(item)), row = static_cast<int32_t>(blockIdx.y);
  const int32_t column = static_cast<int32_t>(channels.quotient(item));
  const int32_t row_position = row * s.down - s.top, column_position = column * s.down - s.left;
  const int32_t first_row = input_at(row_position, s.up), first_column = input_at(column_position, s.up);
  for (int32_t image = blockIdx.z; image < s.images; image += gridDim.z) {
    const T* from = s.x + static_cast<int64_t>(image) * s.height * s.width * s.channels + channel;
    A sum = 0;
    for (int32_t y = first_row, tap = first_row * s.up - row_position; tap < s.taps && y < s.height; ++y, tap += s.up) {
      if (y < 0) continue;
      A along = 0;
      for (int32_t x = first_column, t = first_column * s.up - column_position; t < s.taps && x < s.width; ++x, t += s.up) {
        if (x >= 0) along += tap_of<A>(s, t) * load_value(from[(y * s.width + x) * s.channels]);
      }
      sum += tap_of<A>(s, tap) * along;
    }
    const int64_t to = static_cast<int64_t>(image) * s.out_height * s.out_width * s.channels + channel;
    write<1, true>(s, to + (row * s.out_width + column) * s.channels, &sum);
  }
}

dim3 grid_of(int64_t tiles, int64_t rows, int64_t images) {
  return dim3(blocks_for(tiles), static_cast<unsigned>(rows), static_cast<unsigned>(images < kMaxGridRows ? images : kMaxGridRows));
}

template <int kUp, int kDown, int kVector, class T>
void run_tiles(Work<T> s, cudaStream_t stream) {
  const int64_t groups = s.channels / kVector;
  const int64_t columns = divide_up(s.out_width + (kUp == 2 ? s.left & 1 : 0), kTileColumns<kVector>);
  const int64_t rows = divide_up(s.out_height + (kUp == 2 ? s.top & 1 : 0), kTileRows<kUp, kDown>);
  s.tiles = static_cast<int32_t>(columns * groups);
  const dim3 grid = grid_of(s.tiles, rows, s.images);
  if (s.add != nullptr || s.narrow_add != nullptr) {
    tile_kernel<kUp, kDown, 4, kVector, true, T><<<grid, kBlock, 0, stream>>>(s, Divider(groups));
  } else {
    tile_kernel<kUp, kDown, 4, kVector, false, T><<<grid, kBlock, 0, stream>>>(s, Divider(groups));
  }
}

template <int kUp, int kDown, class T>
void run_any_channels(const Work<T>& s, cudaStream_t stream) {
  constexpr int kMost = sizeof(T) == 8 ? 2 : 4;
  const bool packs = fits_packs(s.x, s.channels, kMost) && fits_packs(s.y, s.channels, kMost) &&
                     (s.add == nullptr || fits_packs(s.add, s.channels, kMost)) &&
                     (s.narrow_add == nullptr || fits_packs(s.narrow_add, s.channels, kMost));
  if (packs) {
    run_tiles<kUp, kDown, kMost>(s, stream);
  } else {
    run_tiles<kUp, kDown, 1>(s, stream);
  }
}

}  // namespace

template <class T>
void upfirdn2d_cuda(const T* x, const void* filter, bool wide_filter, const T* add, const Bfloat16* narrow_add, bool flip, double gain,
                    const Upfirdn2dSize& size, T* y, cudaStream_t stream) {
  if (size.images * size.out_height * size.out_width * size.channels == 0) return;
  const auto narrow = [](int64_t value) { return static_cast<int32_t>(value); };
  Work<T> s{x, filter, wide_filter, add, narrow_add, y, flip, static_cast<typename Accumulate<T>::type>(gain),
               narrow(size.channels), narrow(size.rows.size), narrow(size.columns.size), narrow(size.out_height),
               narrow(size.out_width), narrow(size.rows.up), narrow(size.rows.down), narrow(size.rows.taps),
               narrow(size.rows.before), narrow(size.columns.before), narrow(size.images), 0};
  if (s.taps == 4 && s.up == 1 && s.down == 1) return run_any_channels<1, 1>(s, stream);
  if (s.taps == 4 && s.up == 2 && s.down == 1) return run_any_channels<2, 1>(s, stream);
  if (s.taps == 4 && s.up == 1 && s.down == 2) return run_any_channels<1, 2>(s, stream);
  s.tiles = s.out_width * s.channels;
  generic_kernel<T><<<grid_of(s.tiles, s.out_height, s.images), kBlock, 0, stream>>>(s, Divider(s.channels));
}

#define TETRAGAN_INSTANTIATE(T)                                                                                         \
  template void upfirdn2d_cuda<T>(const T*, const void*, bool, const T*, const Bfloat16*, bool, double,                 \
                                  const Upfirdn2dSize&, T*, cudaStream_t);
TETRAGAN_INSTANTIATE(float)
TETRAGAN_INSTANTIATE(double)
TETRAGAN_INSTANTIATE(Bfloat16)

}  // namespace tetragan
