// CUDA kernels of `marching_tets`. A warp turns 32 edges or tetrahedra of one sample into a word of a bitmap by a vote; ids
// are counts of bits over the whole batch (two-level prefix sum). Forward: deterministic (the only atomics are OR).
// Backward: adds with atomics, so its rounding depends on the order.
#include "common/cuda_launch.h"
#include "marching_tets/marching_tets_cuda.h"

namespace tetragan {
namespace marching {

namespace {

constexpr int kBadTets = 1, kBadEdges = 2;

__device__ __forceinline__ int64_t bounded(int32_t index, int64_t size, int flaw, int64_t* flaws) {
  if (index >= 0 && index < size) return index;
  atomicOr(reinterpret_cast<unsigned long long*>(flaws), static_cast<unsigned long long>(flaw));
  return 0;
}

__device__ __forceinline__ bool bit_of(const uint32_t* words, int64_t index) { return words[index >> 5] >> (index & 31) & 1; }

// Set bits before `index` of sample `b`'s bitmap, counted over the whole batch.
__device__ __forceinline__ int64_t rank(const uint32_t* words, const int32_t* before, const int64_t* base, int64_t word_count,
                                        int64_t b, int64_t index) {
  const int64_t word = b * word_count + (index >> 5);
  return base[word / kScanWords] + before[word] + __popc(words[word] & ((1u << (index & 31)) - 1));
}

template <class T>
__device__ __forceinline__ uint32_t case_of(const T* sdf, const Tables& tables, int64_t t, int64_t* flaws) {
  uint32_t code = 0;
  for (int k = 0; k < 4; ++k) {
    const int64_t v = bounded(tables.tets[4 * t + k], tables.num_vertices, kBadTets, flaws);
    code |= static_cast<uint32_t>(sdf[v] < T(0)) << k;
  }
  return code;
}

// One thread per edge of a sample, 32 per word (words are padded, so warps never mix samples).
template <class T>
__global__ void scan_edges(const T* sdf, Tables tables, int64_t batch, Bitmaps maps, int64_t* flaws) {
  const int64_t padded = maps.edge_words * 32;
  TETRAGAN_EACH(i, batch * padded) {
    const int64_t b = i / padded, e = i % padded;
    bool crosses = false;
    int64_t ends[2] = {0, 0};
    if (e < tables.num_edges) {
      for (int k = 0; k < 2; ++k) ends[k] = bounded(tables.edges[2 * e + k], tables.num_vertices, kBadEdges, flaws);
      const T* row = sdf + b * tables.num_vertices;
      crosses = (row[ends[0]] < T(0)) != (row[ends[1]] < T(0));
    }
    const uint32_t word = __ballot_sync(0xffffffffu, crosses);
    if ((threadIdx.x & 31) == 0) maps.edges[i >> 5] = word;
    for (int k = 0; crosses && k < 2; ++k) {
      atomicOr(maps.vertices + b * maps.vertex_words + (ends[k] >> 5), 1u << (ends[k] & 31));
    }
  }
}

template <class T>
__global__ void scan_tets(const T* sdf, Tables tables, int64_t batch, Bitmaps maps, int64_t* flaws) {
  const int64_t padded = maps.tet_words * 32;
  TETRAGAN_EACH(i, batch * padded) {
    const int64_t b = i / padded, t = i % padded;
    int triangles = 0;
    if (t < tables.num_tets) triangles = case_triangles(case_of(sdf + b * tables.num_vertices, tables, t, flaws));
    const uint32_t mixed = __ballot_sync(0xffffffffu, triangles > 0), two = __ballot_sync(0xffffffffu, triangles > 1);
    if ((threadIdx.x & 31) == 0) {
      maps.mixed[i >> 5] = mixed;
      maps.two[i >> 5] = two;
    }
  }
}

// Counts before each word within a block of kScanWords words; the block's total goes to `base`. `second` may be null.
__global__ void scan_words(const uint32_t* first, const uint32_t* second, int64_t words, int32_t* before, int64_t* base) {
  __shared__ int32_t sums[kScanWords];
  const int64_t word = static_cast<int64_t>(blockIdx.x) * kScanWords + threadIdx.x;
  int32_t count = 0;
  if (word < words) count = __popc(first[word]) + (second != nullptr ? __popc(second[word]) : 0);
  sums[threadIdx.x] = count;
  __syncthreads();
  for (int step = 1; step < kScanWords; step *= 2) {
    const int32_t add = threadIdx.x >= step ? sums[threadIdx.x - step] : 0;
    __syncthreads();
    sums[threadIdx.x] += add;
    __syncthreads();
  }
  if (word < words) before[word] = sums[threadIdx.x] - count;
  if (threadIdx.x == kScanWords - 1) base[blockIdx.x] = sums[threadIdx.x];
}

// Totals of blocks to counts before them, in place, one entry more than blocks. One block of threads, a tile at a time.
__global__ void scan_bases(int64_t* base, int64_t blocks) {
  __shared__ int64_t sums[kScanWords];
  __shared__ int64_t carry;
  if (threadIdx.x == 0) carry = 0;
  for (int64_t start = 0; start <= blocks; start += kScanWords) {
    const int64_t i = start + threadIdx.x;
    const int64_t value = i < blocks ? base[i] : 0;
    sums[threadIdx.x] = value;
    __syncthreads();
    for (int step = 1; step < kScanWords; step *= 2) {
      const int64_t add = threadIdx.x >= step ? sums[threadIdx.x - step] : 0;
      __syncthreads();
      sums[threadIdx.x] += add;
      __syncthreads();
    }
    const int64_t before = carry;
    if (i <= blocks) base[i] = before + sums[threadIdx.x] - value;
    __syncthreads();
    if (threadIdx.x == 0) carry = before + sums[kScanWords - 1];
    __syncthreads();
  }
}

__device__ int64_t before_word(const int32_t* before, const int64_t* base, int64_t words, int64_t word) {
  return word < words ? base[word / kScanWords] + before[word] : base[(words + kScanWords - 1) / kScanWords];
}

__global__ void fill_offsets(Bitmaps maps, int64_t batch, int64_t* offsets) {
  TETRAGAN_EACH(b, batch + 1) {
    offsets[b] = before_word(maps.edge_before, maps.edge_base, batch * maps.edge_words, b * maps.edge_words);
    offsets[batch + 1 + b] = before_word(maps.face_before, maps.face_base, batch * maps.tet_words, b * maps.tet_words);
    offsets[2 * (batch + 1) + b] =
        before_word(maps.vertex_before, maps.vertex_base, batch * maps.vertex_words, b * maps.vertex_words);
  }
}

__global__ void write_edges(Tables tables, int64_t batch, Bitmaps maps, int64_t* edge_vertices, int64_t* edge_active) {
  const int64_t padded = maps.edge_words * 32;
  TETRAGAN_EACH(i, batch * padded) {
    const int64_t b = i / padded, e = i % padded;
    if (!bit_of(maps.edges, i)) continue;
    const int64_t at = rank(maps.edges, maps.edge_before, maps.edge_base, maps.edge_words, b, e);
    for (int k = 0; k < 2; ++k) {
      const int64_t v = tables.edges[2 * e + k];
      edge_vertices[2 * at + k] = b * tables.num_vertices + v;
      edge_active[2 * at + k] = rank(maps.vertices, maps.vertex_before, maps.vertex_base, maps.vertex_words, b, v);
    }
  }
}

__global__ void write_active(Tables tables, int64_t batch, Bitmaps maps, int64_t* active) {
  TETRAGAN_EACH(i, batch * tables.num_vertices) {
    const int64_t b = i / tables.num_vertices, v = i % tables.num_vertices;
    if (!bit_of(maps.vertices + b * maps.vertex_words, v)) continue;
    active[rank(maps.vertices, maps.vertex_before, maps.vertex_base, maps.vertex_words, b, v)] = i;
  }
}

template <class T>
__global__ void write_faces(const T* sdf, Tables tables, int64_t batch, Bitmaps maps, int32_t* faces, int64_t num_vertices) {
  const int64_t padded = maps.tet_words * 32;
  TETRAGAN_EACH(i, batch * padded) {
    if (!bit_of(maps.mixed, i)) continue;
    const int64_t b = i / padded, t = i % padded, word = i >> 5;
    const uint32_t lower = (1u << (i & 31)) - 1;
    int64_t at = 3 * (maps.face_base[word / kScanWords] + maps.face_before[word] + __popc(maps.mixed[word] & lower) +
                      __popc(maps.two[word] & lower));
    uint32_t code = 0;
    const T* row = sdf + b * tables.num_vertices;
    for (int k = 0; k < 4; ++k) code |= static_cast<uint32_t>(row[tables.tets[4 * t + k]] < T(0)) << k;
    uint32_t corners = case_corners(code);
    for (int k = 3 * case_triangles(code); k > 0; --k, corners >>= 4) {
      const int32_t edge = tables.tet_edges[6 * t + (corners & 0xf)];
      const bool known = edge >= 0 && edge < tables.num_edges;
      const int64_t id = known ? rank(maps.edges, maps.edge_before, maps.edge_base, maps.edge_words, b, edge) : 0;
      faces[at++] = static_cast<int32_t>(id < num_vertices ? id : 0);  // out of bounds only if a table does not match
    }
  }
}

// Row of a value's position: its own, or that of its vertex in a table shared by all samples.
__device__ __forceinline__ int64_t position_row(int64_t value, int64_t values, int64_t rows) {
  return rows == values ? value : value % rows;
}

template <class T>
__global__ void crossings(const T* sdf, const T* positions, const int64_t* pairs, int64_t count, int64_t values, int64_t rows,
                          T* out) {
  TETRAGAN_EACH(i, count) {
    const int64_t a = pairs[2 * i], b = pairs[2 * i + 1];
    T point[3] = {0, 0, 0};
    if (a >= 0 && a < values && b >= 0 && b < values) {
      crossing(sdf[a], sdf[b], positions + 3 * position_row(a, values, rows), positions + 3 * position_row(b, values, rows),
               point);
    }
    for (int k = 0; k < 3; ++k) out[3 * i + k] = point[k];
  }
}

template <class T>
__global__ void crossings_backward(const T* grad, const T* sdf, const T* positions, const int64_t* pairs, int64_t count,
                                   int64_t values, int64_t rows, T* grad_sdf, T* grad_positions) {
  TETRAGAN_EACH(i, count) {
    const int64_t a = pairs[2 * i], b = pairs[2 * i + 1];
    if (a < 0 || a >= values || b < 0 || b >= values) continue;
    const auto d = crossing_gradient(sdf[a], sdf[b], positions + 3 * position_row(a, values, rows),
                                     positions + 3 * position_row(b, values, rows), grad + 3 * i);
    atomicAdd(grad_sdf + a, d.s_a);
    atomicAdd(grad_sdf + b, d.s_b);
    for (int k = 0; grad_positions != nullptr && k < 3; ++k) {
      atomicAdd(grad_positions + 3 * position_row(a, values, rows) + k, (1 - d.t) * grad[3 * i + k]);
      atomicAdd(grad_positions + 3 * position_row(b, values, rows) + k, d.t * grad[3 * i + k]);
    }
  }
}

void prefix(const uint32_t* first, const uint32_t* second, int64_t words, int32_t* before, int64_t* base,
            cudaStream_t stream) {
  const int64_t blocks = scan_blocks(words);
  if (blocks > 0) scan_words<<<static_cast<unsigned>(blocks), kScanWords, 0, stream>>>(first, second, words, before, base);
  scan_bases<<<1, kScanWords, 0, stream>>>(base, blocks);
}

}  // namespace

template <class T>
void launch_count(const T* sdf, const Tables& tables, int64_t batch, const Bitmaps& maps, int64_t* offsets,
                  cudaStream_t stream) {
  int64_t* flaws = offsets + 3 * (batch + 1);
  const int64_t edges = batch * maps.edge_words * 32, tets = batch * maps.tet_words * 32;
  if (edges > 0) scan_edges<<<blocks_for(edges), kBlock, 0, stream>>>(sdf, tables, batch, maps, flaws);
  if (tets > 0) scan_tets<<<blocks_for(tets), kBlock, 0, stream>>>(sdf, tables, batch, maps, flaws);
  prefix(maps.edges, nullptr, batch * maps.edge_words, maps.edge_before, maps.edge_base, stream);
  prefix(maps.vertices, nullptr, batch * maps.vertex_words, maps.vertex_before, maps.vertex_base, stream);
  prefix(maps.mixed, maps.two, batch * maps.tet_words, maps.face_before, maps.face_base, stream);
  fill_offsets<<<blocks_for(batch + 1), kBlock, 0, stream>>>(maps, batch, offsets);
}

template <class T>
void launch_write(const T* sdf, const Tables& tables, int64_t batch, const Bitmaps& maps, int32_t* faces,
                  int64_t num_crossing, int64_t* edge_vertices, int64_t* active, int64_t* edge_active, cudaStream_t stream) {
  const int64_t edges = batch * maps.edge_words * 32, tets = batch * maps.tet_words * 32, grid = batch * tables.num_vertices;
  if (edges > 0) write_edges<<<blocks_for(edges), kBlock, 0, stream>>>(tables, batch, maps, edge_vertices, edge_active);
  if (grid > 0) write_active<<<blocks_for(grid), kBlock, 0, stream>>>(tables, batch, maps, active);
  if (tets > 0) write_faces<<<blocks_for(tets), kBlock, 0, stream>>>(sdf, tables, batch, maps, faces, num_crossing);
}

template <class T>
void launch_crossings(const T* sdf, const T* positions, const int64_t* pairs, int64_t count, int64_t values, int64_t rows,
                      T* out, cudaStream_t stream) {
  if (count > 0) crossings<<<blocks_for(count), kBlock, 0, stream>>>(sdf, positions, pairs, count, values, rows, out);
}

template <class T>
void launch_crossings_backward(const T* grad, const T* sdf, const T* positions, const int64_t* pairs, int64_t count,
                               int64_t values, int64_t rows, T* grad_sdf, T* grad_positions, cudaStream_t stream) {
  if (count == 0) return;
  crossings_backward<<<blocks_for(count), kBlock, 0, stream>>>(grad, sdf, positions, pairs, count, values, rows, grad_sdf,
                                                               grad_positions);
}

#define TETRAGAN_INSTANTIATE(T)                                                                                          \
  template void launch_count(const T*, const Tables&, int64_t, const Bitmaps&, int64_t*, cudaStream_t);                  \
  template void launch_write(const T*, const Tables&, int64_t, const Bitmaps&, int32_t*, int64_t, int64_t*, int64_t*,    \
                             int64_t*, cudaStream_t);                                                                    \
  template void launch_crossings(const T*, const T*, const int64_t*, int64_t, int64_t, int64_t, T*, cudaStream_t);       \
  template void launch_crossings_backward(const T*, const T*, const T*, const int64_t*, int64_t, int64_t, int64_t, T*,   \
                                          T*, cudaStream_t);

TETRAGAN_INSTANTIATE(float)
TETRAGAN_INSTANTIATE(double)

}  // namespace marching
}  // namespace tetragan
