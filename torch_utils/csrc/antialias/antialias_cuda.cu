// CUDA kernels of `antialias`, in the order of antialias_cpu.cpp: silhouettes of each pixel's two pairs, then each pixel
// gathers from its four; only the gradient of the positions is added with atomics.
#include "antialias/antialias.h"
#include "antialias/antialias_cuda.h"
#include "common/cuda_launch.h"
#include "common/cuda_vector.h"

namespace tetragan {
namespace {

using edges::Pair;
using edges::Point;
using edges::Silhouette;

__device__ int64_t step_of(const AntialiasSize& s, int direction) { return direction == 0 ? 1 : s.width; }

__device__ Pair pair_at(int64_t row, int64_t column, int direction, bool self_nearer) {
  const double along = direction == 0 ? column : row, across = direction == 0 ? row : column;
  return {along + (self_nearer ? 0.5 : 1.5), across + 0.5, self_nearer ? 1.0 : -1.0, direction == 1};
}

template <class T>
__global__ void project_kernel(const T* positions, AntialiasSize s, Point* points) {
  TETRAGAN_EACH(i, s.vertices) {
    const T* p = positions + 4 * i;
    points[i] = edges::screen_point(p[0], p[1], p[3], static_cast<int32_t>(s.height), static_cast<int32_t>(s.width));
  }
}

template <class T>
__global__ void find_kernel(const T* rast, const Point* points, const int32_t* faces, const int32_t* neighbors,
                            AntialiasSize s, PixelGrid grid, int32_t* slots, T* blends) {
  TETRAGAN_EACH(item, 2 * s.images * s.height * s.width) {
    const int64_t pixel = item / 2;
    const int direction = static_cast<int>(item % 2);
    int32_t row, column;
    grid.locate(pixel, row, column);
    slots[item] = 0;
    blends[item] = 0;
    if (direction == 0 ? column + 1 == s.width : row + 1 == s.height) continue;
    const int64_t partner = pixel + step_of(s, direction);
    const int32_t here = static_cast<int32_t>(device_face_id(rast[4 * pixel + 3], s.faces)) - 1;
    const int32_t there = static_cast<int32_t>(device_face_id(rast[4 * partner + 3], s.faces)) - 1;
    if (here == there) continue;
    const bool self = there < 0 || (here >= 0 && rast[4 * pixel + 2] <= rast[4 * partner + 2]);
    const Pair pair = pair_at(row, column, direction, self);
    const Silhouette found = edges::find_silhouette(points, faces, neighbors, static_cast<int32_t>(s.faces), s.vertices, pair,
                                                    self ? here : there, self ? there : here);
    if (found.slot < 0) continue;
    slots[item] = self ? found.slot + 1 : -(found.slot + 1);
    blends[item] = static_cast<T>(found.d - 0.5);
  }
}

// The k-th of the four pairs (right, left, below, above) of a pixel: its item in `slots` and its first pixel; false if there is
// none.
__device__ bool pair_of(const AntialiasSize& s, int64_t pixel, int32_t row, int32_t column, int k, int64_t& item, int64_t& first) {
  const int direction = k / 2;
  if (k % 2 == 1 && (direction == 0 ? column == 0 : row == 0)) return false;
  first = k % 2 == 0 ? pixel : pixel - step_of(s, direction);
  item = 2 * first + direction;
  return true;
}

// backward = false: out = color with its blends. backward = true: `source` is the gradient, out that of the color.
template <class T, bool backward>
__global__ void gather_kernel(const T* source, const int32_t* slots, const T* blends, AntialiasSize s, PixelGrid grid, T* out) {
  TETRAGAN_EACH(pixel, s.images * s.height * s.width) {
    int32_t row, column;
    grid.locate(pixel, row, column);
    for (int64_t k = 0; k < s.channels; ++k) out[pixel * s.channels + k] = source[pixel * s.channels + k];
    for (int which = 0; which < 4; ++which) {
      int64_t item, first;
      if (!pair_of(s, pixel, row, column, which, item, first) || slots[item] == 0) continue;
      const int64_t second = first + step_of(s, which / 2);
      const int64_t near = slots[item] > 0 ? first : second, far = first + second - near;
      const T amount = blends[item];
      const int64_t target = amount > 0 ? far : near;
      if (!backward && pixel != target) continue;
      for (int64_t k = 0; k < s.channels; ++k) {
        out[pixel * s.channels + k] +=
            backward ? (pixel == near ? amount : -amount) * source[target * s.channels + k]
                     : amount * (source[near * s.channels + k] - source[far * s.channels + k]);
      }
    }
  }
}

template <class T>
__global__ void positions_kernel(const T* grad, const T* color, const T* positions, const int32_t* faces,
                                 const int32_t* slots, const T* blends, AntialiasSize s, PixelGrid grid, T* grad_positions) {
  TETRAGAN_EACH(item, 2 * s.images * s.height * s.width) {
    const int32_t code = slots[item];
    if (code == 0) continue;
    const int64_t pixel = item / 2, partner = pixel + step_of(s, static_cast<int>(item % 2));
    const int64_t near = code > 0 ? pixel : partner, far = code > 0 ? partner : pixel;
    const T* of_target = grad + (blends[item] > 0 ? far : near) * s.channels;
    double of_distance = 0;
    for (int64_t k = 0; k < s.channels; ++k) {
      of_distance += static_cast<double>(of_target[k]) * (color[near * s.channels + k] - color[far * s.channels + k]);
    }
    if (of_distance == 0) continue;
    const int32_t slot = (code > 0 ? code : -code) - 1;
    const int32_t* f = faces + slot / 3 * 3;
    const int64_t vertex[2] = {f[edges::next_corner(slot % 3)], f[edges::last_corner(slot % 3)]};
    double corner[2][4], sum[8] = {};
    for (int k = 0; k < 8; ++k) corner[k / 4][k % 4] = positions[4 * vertex[k / 4] + k % 4];
    int32_t row, column;
    grid.locate(pixel, row, column);
    edges::distance_gradient(corner[0], corner[1], pair_at(row, column, static_cast<int>(item % 2), code > 0),
                             static_cast<int32_t>(s.height), static_cast<int32_t>(s.width), of_distance, sum);
    for (int k = 0; k < 8; ++k) {
      if (k % 4 != 2) atomicAdd(grad_positions + 4 * vertex[k / 4] + k % 4, static_cast<T>(sum[k]));
    }
  }
}

int64_t pixels_of(const AntialiasSize& s) { return s.images * s.height * s.width; }

}  // namespace

int64_t antialias_cuda_scratch(const AntialiasSize& size) {
  return size.vertices * static_cast<int64_t>(sizeof(Point));
}

template <class T>
void antialias_cuda(const T* color, const T* rast, const T* positions, const int32_t* faces, const int32_t* neighbors,
                    const AntialiasSize& size, void* scratch, T* out, int32_t* slots, T* blends, cudaStream_t stream) {
  if (pixels_of(size) == 0) return;
  auto* points = static_cast<Point*>(scratch);
  const PixelGrid grid(size.height, size.width);
  if (size.vertices > 0) project_kernel<<<blocks_for(size.vertices), kBlock, 0, stream>>>(positions, size, points);
  find_kernel<<<blocks_for(2 * pixels_of(size)), kBlock, 0, stream>>>(rast, points, faces, neighbors, size, grid, slots, blends);
  gather_kernel<T, false><<<blocks_for(pixels_of(size)), kBlock, 0, stream>>>(color, slots, blends, size, grid, out);
}

template <class T>
void antialias_backward_cuda(const T* grad, const T* color, const T* positions, const int32_t* faces, const int32_t* slots,
                             const T* blends, const AntialiasSize& size, T* grad_color, T* grad_positions,
                             cudaStream_t stream) {
  if (pixels_of(size) == 0) return;
  const PixelGrid grid(size.height, size.width);
  gather_kernel<T, true><<<blocks_for(pixels_of(size)), kBlock, 0, stream>>>(grad, slots, blends, size, grid, grad_color);
  if (grad_positions == nullptr) return;
  positions_kernel<<<blocks_for(2 * pixels_of(size)), kBlock, 0, stream>>>(grad, color, positions, faces, slots, blends,
                                                                            size, grid, grad_positions);
}

#define TETRAGAN_INSTANTIATE(T)                                                                                          \
  template void antialias_cuda(const T*, const T*, const T*, const int32_t*, const int32_t*, const AntialiasSize&, void*, \
                               T*, int32_t*, T*, cudaStream_t);                                                          \
  template void antialias_backward_cuda(const T*, const T*, const T*, const int32_t*, const int32_t*, const T*,          \
                                        const AntialiasSize&, T*, T*, cudaStream_t);
TETRAGAN_INSTANTIATE(float)
TETRAGAN_INSTANTIATE(double)

}  // namespace tetragan
