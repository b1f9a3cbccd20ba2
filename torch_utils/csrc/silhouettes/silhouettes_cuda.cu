// CUDA kernel of `silhouettes`: a group of lanes draws a face in a view, one row each, by atomic OR; so the result does not
// depend on the order.
#include "silhouettes/silhouettes_cuda.h"

#include "common/cuda_launch.h"
#include "silhouettes/silhouettes.h"

namespace tetragan {
namespace {

using silhouettes::Point;

constexpr int kLanes = 8;

template <class T>
__device__ Point screen_point(const T* vertex, const T* axes, int32_t side) {
  const double x = vertex[0], y = vertex[1], z = vertex[2], half = 0.5 * side;
  return {(axes[0] * x + axes[1] * y + axes[2] * z + 1) * half, (axes[3] * x + axes[4] * y + axes[5] * z + 1) * half};
}

// Sets bits [left, right) of a row of 32-bit words.
__device__ void set_bits(uint32_t* row, int32_t left, int32_t right) {
  for (int32_t word = left >> 5; left < right; ++word) {
    const int32_t end = right < 32 * (word + 1) ? right : 32 * (word + 1);
    atomicOr(row + word, (~0u << (left & 31)) & (~0u >> (31 - ((end - 1) & 31))));
    left = end;
  }
}

template <class T>
__global__ void draw_kernel(const T* vertices, int64_t vertex_count, const int32_t* faces, int64_t face_count, const T* axes,
                            int64_t views, int32_t side, uint32_t* out) {
  TETRAGAN_EACH(item, views * face_count * kLanes) {
    const int lane = static_cast<int>(item % kLanes);
    const int64_t face = item / kLanes % face_count, view = item / kLanes / face_count;
    const int32_t* id = faces + 3 * face;
    bool known = true;
    for (int k = 0; k < 3; ++k) known = known && id[k] >= 0 && id[k] < vertex_count;
    if (!known) continue;
    Point corners[3];
    for (int k = 0; k < 3; ++k) corners[k] = screen_point(vertices + 3 * static_cast<int64_t>(id[k]), axes + 6 * view, side);
    const silhouettes::Triangle triangle(corners[0], corners[1], corners[2], side);
    for (int32_t row = triangle.begin + lane; row < triangle.end; row += kLanes) {
      int32_t left, right;
      triangle.span(row, side, left, right);
      set_bits(out + (view * side + row) * (side / 32), left, right);
    }
  }
}

}  // namespace

template <class T>
void silhouettes_cuda(const T* vertices, int64_t vertex_count, const int32_t* faces, int64_t face_count, const T* axes,
                      int64_t views, int32_t side, uint32_t* out, cudaStream_t stream) {
  if (views == 0) return;
  cudaMemsetAsync(out, 0, views * side * side / 8, stream);
  if (face_count == 0) return;
  draw_kernel<T><<<blocks_for(views * face_count * kLanes), kBlock, 0, stream>>>(vertices, vertex_count, faces, face_count, axes,
                                                                                 views, side, out);
}

template void silhouettes_cuda<float>(const float*, int64_t, const int32_t*, int64_t, const float*, int64_t, int32_t,
                                      uint32_t*, cudaStream_t);
template void silhouettes_cuda<double>(const double*, int64_t, const int32_t*, int64_t, const double*, int64_t, int32_t,
                                       uint32_t*, cudaStream_t);

}  // namespace tetragan
