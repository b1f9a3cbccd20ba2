// CUDA kernels of `connected_vertices`: union-find by all threads at once. A root is hooked to a lower root with a
// compare-and-swap, which fails if another thread hooked it first. Parents only ever become lower, and the lowest vertex
// of a component is never hooked, so the result does not depend on the order. Source: Jaiganesh and Burtscher, A
// High-Performance Connected Components Implementation for GPUs, 2018.
#include "common/cuda_launch.h"
#include "connected_vertices/connected_vertices_cuda.h"

namespace tetragan {
namespace {

__device__ int32_t root_of(int32_t* parent, int32_t vertex) {
  int32_t above = load_relaxed(parent + vertex);
  while (above != vertex) {
    const int32_t next = load_relaxed(parent + above);
    if (next != above) atomicMin(parent + vertex, next);  // halves the path for the next search
    vertex = above;
    above = next;
  }
  return vertex;
}

__global__ void start_kernel(int32_t* parent, int64_t count) {
  TETRAGAN_EACH(v, count) parent[v] = static_cast<int32_t>(v);
}

// One thread for each of two edges of a face; faces with ids out of range are left out.
__global__ void hook_kernel(const int32_t* faces, int64_t edges, int32_t* parent, int64_t count) {
  TETRAGAN_EACH(edge, edges) {
    const int32_t* f = faces + edge / 2 * 3 + edge % 2;
    if (f[0] < 0 || f[1] < 0 || f[0] >= count || f[1] >= count) continue;
    int32_t high = root_of(parent, f[0]), low = root_of(parent, f[1]);
    while (high != low) {
      if (high < low) {
        const int32_t other = high;
        high = low;
        low = other;
      }
      if (atomicCAS(parent + high, high, low) == high) break;
      high = root_of(parent, high);
      low = root_of(parent, low);
    }
  }
}

__global__ void label_kernel(int32_t* parent, int64_t count, int64_t* labels) {
  TETRAGAN_EACH(v, count) labels[v] = root_of(parent, static_cast<int32_t>(v));
}

}  // namespace

void connected_vertices_cuda(const int32_t* faces, int64_t face_count, int64_t count, int32_t* parent, int64_t* labels,
                             cudaStream_t stream) {
  if (count == 0) return;
  start_kernel<<<blocks_for(count), kBlock, 0, stream>>>(parent, count);
  if (face_count > 0) {
    hook_kernel<<<blocks_for(2 * face_count), kBlock, 0, stream>>>(faces, 2 * face_count, parent, count);
  }
  label_kernel<<<blocks_for(count), kBlock, 0, stream>>>(parent, count, labels);
}

}  // namespace tetragan
