// CUDA kernels of `triplane_sample`: neighboring threads take neighboring channels of a point, so that texels are read and
// added in whole lines. The gradient of the planes is added with atomics.
#include "common/cuda_launch.h"
#include "triplane_sample/triplane_sample.h"
#include "triplane_sample/triplane_sample_cuda.h"

namespace tetragan {
namespace {

// The sample that a point belongs to: the last offset that is not beyond it.
__device__ int64_t sample_of(const int64_t* offsets, int64_t samples, int64_t point) {
  int64_t low = 0, high = samples;
  while (high - low > 1) {
    const int64_t middle = (low + high) / 2;
    (offsets[middle] <= point ? low : high) = middle;
  }
  return low;
}

template <class T>
__global__ void forward_kernel(const T* planes, PlaneStrides strides, const T* points, const int64_t* offsets,
                               TriplaneSize s, T* out) {
  TETRAGAN_EACH(i, s.points * s.channels) {
    const int64_t point = i / s.channels, channel = i % s.channels;
    const T* sample = planes + sample_of(offsets, s.samples, point) * strides.sample + channel;
    T sum = 0;
    for (int plane = 0; plane < 3; ++plane) {
      const T* base = sample + plane * strides.plane;
      const AxisLookup<T> u = look_up_axis<T>(points[3 * point + plane_width_axis(plane)], static_cast<int32_t>(strides.size));
      const AxisLookup<T> v = look_up_axis<T>(points[3 * point + plane_height_axis(plane)], static_cast<int32_t>(strides.size));
      const T *upper = base + v.low * strides.row, *lower = base + v.high * strides.row;
      const int64_t left = u.low * strides.column, right = u.high * strides.column;
      sum += (1 - v.fraction) * ((1 - u.fraction) * upper[left] + u.fraction * upper[right]) +
             v.fraction * ((1 - u.fraction) * lower[left] + u.fraction * lower[right]);
    }
    out[i] = sum;
  }
}

template <class T>
__global__ void planes_kernel(const T* grad, const T* points, const int64_t* offsets, TriplaneSize s, PlaneStrides strides,
                              T* grad_planes) {
  TETRAGAN_EACH(i, s.points * s.channels) {
    const int64_t point = i / s.channels, channel = i % s.channels;
    T* sample = grad_planes + sample_of(offsets, s.samples, point) * strides.sample + channel;
    const T g = grad[i];
    if (g == T(0)) continue;
    for (int plane = 0; plane < 3; ++plane) {
      T* base = sample + plane * strides.plane;
      const AxisLookup<T> u = look_up_axis<T>(points[3 * point + plane_width_axis(plane)], static_cast<int32_t>(strides.size));
      const AxisLookup<T> v = look_up_axis<T>(points[3 * point + plane_height_axis(plane)], static_cast<int32_t>(strides.size));
      T *upper = base + v.low * strides.row, *lower = base + v.high * strides.row;
      const int64_t left = u.low * strides.column, right = u.high * strides.column;
      atomicAdd(upper + left, (1 - v.fraction) * (1 - u.fraction) * g);
      atomicAdd(upper + right, (1 - v.fraction) * u.fraction * g);
      atomicAdd(lower + left, v.fraction * (1 - u.fraction) * g);
      atomicAdd(lower + right, v.fraction * u.fraction * g);
    }
  }
}

template <class T>
__global__ void points_kernel(const T* grad, const T* planes, PlaneStrides strides, const T* points, const int64_t* offsets,
                              TriplaneSize s, T* grad_points) {
  TETRAGAN_EACH(point, s.points) {
    const T* sample = planes + sample_of(offsets, s.samples, point) * strides.sample;
    const T* g = grad + point * s.channels;
    T sums[3] = {0, 0, 0};
    for (int plane = 0; plane < 3; ++plane) {
      const int along_u = plane_width_axis(plane), along_v = plane_height_axis(plane);
      const AxisLookup<T> u = look_up_axis<T>(points[3 * point + along_u], static_cast<int32_t>(strides.size));
      const AxisLookup<T> v = look_up_axis<T>(points[3 * point + along_v], static_cast<int32_t>(strides.size));
      const T *upper = sample + plane * strides.plane + v.low * strides.row;
      const T *lower = sample + plane * strides.plane + v.high * strides.row;
      const int64_t left = u.low * strides.column, right = u.high * strides.column;
      T du = 0, dv = 0;
      for (int64_t c = 0; c < s.channels; ++c) {
        const T top = upper[right + c] - upper[left + c], bottom = lower[right + c] - lower[left + c];
        du += g[c] * (top + v.fraction * (bottom - top));
        dv += g[c] * (lower[left + c] - upper[left + c] + u.fraction * (bottom - top));
      }
      sums[along_u] += du * u.slope;
      sums[along_v] += dv * v.slope;
    }
    for (int axis = 0; axis < 3; ++axis) grad_points[3 * point + axis] = sums[axis];
  }
}

}  // namespace

template <class T>
void triplane_sample_cuda(const T* planes, const PlaneStrides& strides, const T* points, const int64_t* offsets,
                          const TriplaneSize& size, T* out, cudaStream_t stream) {
  const int64_t count = size.points * size.channels;
  forward_kernel<T><<<blocks_for(count), kBlock, 0, stream>>>(planes, strides, points, offsets, size, out);
}

template <class T>
void triplane_sample_backward_cuda(const T* grad, const T* planes, const PlaneStrides& strides, const T* points,
                                   const int64_t* offsets, const TriplaneSize& size, const PlaneStrides& grad_strides,
                                   T* grad_planes, T* grad_points, cudaStream_t stream) {
  const int64_t count = size.points * size.channels;
  if (grad_planes != nullptr) {
    planes_kernel<T><<<blocks_for(count), kBlock, 0, stream>>>(grad, points, offsets, size, grad_strides, grad_planes);
  }
  if (grad_points == nullptr) return;
  points_kernel<T><<<blocks_for(size.points), kBlock, 0, stream>>>(grad, planes, strides, points, offsets, size, grad_points);
}

#define TETRAGAN_INSTANTIATE(T)                                                                                             \
  template void triplane_sample_cuda<T>(const T*, const PlaneStrides&, const T*, const int64_t*, const TriplaneSize&, T*,   \
                                        cudaStream_t);                                                                      \
  template void triplane_sample_backward_cuda<T>(const T*, const T*, const PlaneStrides&, const T*, const int64_t*,         \
                                                 const TriplaneSize&, const PlaneStrides&, T*, T*, cudaStream_t);
TETRAGAN_INSTANTIATE(float)
TETRAGAN_INSTANTIATE(double)

}  // namespace tetragan
