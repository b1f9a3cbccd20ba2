// CUDA kernels of `triplane_sample`. A group of lanes owns a point and a lane a pack of its channels, so that texels are read
// and added in whole lines. The gradient of the planes is added with atomics, that of a point is a sum over its lanes.
#include "common/cuda_launch.h"
#include "common/cuda_vector.h"
#include "triplane_sample/triplane_sample.h"
#include "triplane_sample/triplane_sample_cuda.h"

namespace tetragan {
namespace {

// The four texels of a point in one plane, as offsets from the plane's first, and their weights.
template <class T>
struct Corners {
  int32_t offset[4];
  T weight[4];
};

template <class T>
__device__ __forceinline__ Corners<T> corners_of(const AxisLookup<T>* along, int plane, int32_t row, int32_t column) {
  const AxisLookup<T>&u = along[plane_width_axis(plane)], &v = along[plane_height_axis(plane)];
  const int32_t upper = v.low * row, lower = v.high * row, left = u.low * column, right = u.high * column;
  return {{upper + left, upper + right, lower + left, lower + right},
          {(1 - v.fraction) * (1 - u.fraction), (1 - v.fraction) * u.fraction, v.fraction * (1 - u.fraction), v.fraction * u.fraction}};
}

template <class T>
__device__ __forceinline__ void look_up_point(const T* points, int64_t point, int64_t side, AxisLookup<T>* along) {
#pragma unroll
  for (int axis = 0; axis < 3; ++axis) along[axis] = look_up_axis<T>(points[3 * point + axis], static_cast<int32_t>(side));
}

template <int kVector, class T>
__global__ void __launch_bounds__(kBlock) forward_kernel(const T* planes, PlaneStrides strides, const T* points,
                                                         const int64_t* offsets, TriplaneSize s, Divider packs, T* out) {
  const int32_t row = static_cast<int32_t>(strides.row), column = static_cast<int32_t>(strides.column);
  const uint32_t item = blockIdx.x * kBlock + threadIdx.x;
  const int64_t point = packs.quotient(item) + s.first;
  if (point >= s.points) return;
  const int32_t channel = static_cast<int32_t>(packs.remainder(item)) * kVector;
  AxisLookup<T> along[3];
  look_up_point(points, point, strides.size, along);
  const T* sample = planes + range_of(offsets, static_cast<int32_t>(s.samples), point) * strides.sample + channel;
  Pack<T, kVector> sum{};
#pragma unroll
  for (int plane = 0; plane < 3; ++plane) {
    const Corners<T> corners = corners_of(along, plane, row, column);
    const T* base = sample + plane * strides.plane;
    for (int k = 0; k < 4; ++k) {
      const Pack<T, kVector> texel = load_pack<kVector>(base + corners.offset[k]);
      for (int v = 0; v < kVector; ++v) sum.values[v] = multiply_add(corners.weight[k], texel.values[v], sum.values[v]);
    }
  }
  store_pack(out + point * s.channels + channel, sum);
}

// A point's lanes are a power of two, at most a warp; each takes the packs lane, lane + lanes, … and they add up at the end.
template <int kVector, bool kPlanes, bool kPoints, class T>
__global__ void __launch_bounds__(kBlock) backward_kernel(const T* grad, const T* planes, PlaneStrides strides,
                                                          const T* points, const int64_t* offsets, TriplaneSize s, int lanes,
                                                          int lane_bits, PlaneStrides grad_strides, T* grad_planes,
                                                          T* grad_points) {
  const int32_t row = static_cast<int32_t>(strides.row), column = static_cast<int32_t>(strides.column);
  const int32_t grad_row = static_cast<int32_t>(grad_strides.row), grad_column = static_cast<int32_t>(grad_strides.column);
  const uint32_t item = blockIdx.x * kBlock + threadIdx.x;
  const int64_t point = s.first + (item >> lane_bits);
  const int lane = static_cast<int>(item & (lanes - 1));
  const bool active = point < s.points;  // the others only help to add up
  AxisLookup<T> along[3];
  T slopes[3] = {0, 0, 0};
  if (active) {
    look_up_point(points, point, strides.size, along);
    const int64_t sample = range_of(offsets, static_cast<int32_t>(s.samples), point);
    for (int32_t channel = lane * kVector; channel < s.channels; channel += lanes * kVector) {
      const Pack<T, kVector> g = load_pack<kVector>(grad + point * s.channels + channel);
#pragma unroll
      for (int plane = 0; plane < 3; ++plane) {
        if constexpr (kPlanes) {
          const Corners<T> corners = corners_of(along, plane, grad_row, grad_column);
          T* base = grad_planes + sample * grad_strides.sample + plane * grad_strides.plane + channel;
          for (int k = 0; k < 4; ++k) {
            Pack<T, kVector> share;
            for (int v = 0; v < kVector; ++v) share.values[v] = corners.weight[k] * g.values[v];
            add_atomically(base + corners.offset[k], share);
          }
        }
        if constexpr (kPoints) {
          const Corners<T> corners = corners_of(along, plane, row, column);
          const T* base = planes + sample * strides.sample + plane * strides.plane + channel;
          T of_corner[4] = {0, 0, 0, 0};  // g · texel, summed over the pack
          for (int k = 0; k < 4; ++k) {
            const Pack<T, kVector> texel = load_pack<kVector>(base + corners.offset[k]);
            for (int v = 0; v < kVector; ++v) of_corner[k] = multiply_add(g.values[v], texel.values[v], of_corner[k]);
          }
          const int along_u = plane_width_axis(plane), along_v = plane_height_axis(plane);
          const T top = of_corner[1] - of_corner[0], bottom = of_corner[3] - of_corner[2];
          slopes[along_u] += (top + along[along_v].fraction * (bottom - top)) * along[along_u].slope;
          slopes[along_v] += (of_corner[2] - of_corner[0] + along[along_u].fraction * (bottom - top)) * along[along_v].slope;
        }
      }
    }
  }
  if constexpr (kPoints) {
    for (int step = lanes / 2; step > 0; step /= 2) {
      for (int axis = 0; axis < 3; ++axis) slopes[axis] += __shfl_xor_sync(0xffffffffu, slopes[axis], step);
    }
    if (active && lane == 0) {
      for (int axis = 0; axis < 3; ++axis) grad_points[3 * point + axis] = slopes[axis];
    }
  }
}

template <class T>
constexpr int kMost = 16 / sizeof(T);

template <class T>
bool rows_fit(const T* planes, const PlaneStrides& s) {
  for (const int64_t stride : {s.sample, s.plane, s.row, s.column}) {
    if (!fits_packs(planes, stride, kMost<T>)) return false;
  }
  return true;
}

// Points of a launch: their lanes have 32-bit numbers.
constexpr int64_t kMostItems = int64_t{1} << 30;

template <int kVector, class T>
void run_forward(const T* planes, const PlaneStrides& strides, const T* points, const int64_t* offsets, TriplaneSize s, T* out,
                 cudaStream_t stream) {
  const int64_t packs = s.channels / kVector, most = kMostItems / packs, end = s.points;
  for (s.first = 0; s.first < end; s.first += most) {
    s.points = s.first + most < end ? s.first + most : end;
    forward_kernel<kVector, T><<<blocks_for((s.points - s.first) * packs), kBlock, 0, stream>>>(planes, strides, points,
                                                                                                offsets, s, Divider(packs), out);
  }
}

template <int kVector, bool kPlanes, bool kPoints, class T>
void run_backward(const T* grad, const T* planes, const PlaneStrides& strides, const T* points, const int64_t* offsets,
                  TriplaneSize s, const PlaneStrides& grad_strides, T* grad_planes, T* grad_points, cudaStream_t stream) {
  int lane_bits = 0;
  while (lane_bits < 5 && (int64_t{kVector} << lane_bits) < s.channels) ++lane_bits;
  const int lanes = 1 << lane_bits;
  const int64_t most = kMostItems / lanes, end = s.points;
  for (s.first = 0; s.first < end; s.first += most) {
    s.points = s.first + most < end ? s.first + most : end;
    backward_kernel<kVector, kPlanes, kPoints, T><<<blocks_for((s.points - s.first) * lanes), kBlock, 0, stream>>>(
        grad, planes, strides, points, offsets, s, lanes, lane_bits, grad_strides, grad_planes, grad_points);
  }
}

template <int kVector, class T>
void run_any_backward(const T* grad, const T* planes, const PlaneStrides& strides, const T* points, const int64_t* offsets,
                      const TriplaneSize& s, const PlaneStrides& grad_strides, T* grad_planes, T* grad_points,
                      cudaStream_t stream) {
  const auto run = [&](auto kernel) { kernel(grad, planes, strides, points, offsets, s, grad_strides, grad_planes, grad_points, stream); };
  if (grad_planes != nullptr && grad_points != nullptr) {
    run(run_backward<kVector, true, true, T>);
  } else if (grad_planes != nullptr) {
    run(run_backward<kVector, true, false, T>);
  } else if (grad_points != nullptr) {
    run(run_backward<kVector, false, true, T>);
  }
}

}  // namespace

template <class T>
void triplane_sample_cuda(const T* planes, const PlaneStrides& strides, const T* points, const int64_t* offsets,
                          const TriplaneSize& size, T* out, cudaStream_t stream) {
  if (size.points == 0 || size.channels == 0) return;
  if (rows_fit(planes, strides) && fits_packs(out, size.channels, kMost<T>)) {
    run_forward<kMost<T>>(planes, strides, points, offsets, size, out, stream);
  } else {
    run_forward<1>(planes, strides, points, offsets, size, out, stream);
  }
}

template <class T>
void triplane_sample_backward_cuda(const T* grad, const T* planes, const PlaneStrides& strides, const T* points,
                                   const int64_t* offsets, const TriplaneSize& size, const PlaneStrides& grad_strides,
                                   T* grad_planes, T* grad_points, cudaStream_t stream) {
  if (size.points == 0) return;
  const bool packs = fits_packs(grad, size.channels, kMost<T>) && rows_fit(planes, strides) &&
                     (grad_planes == nullptr || rows_fit<T>(grad_planes, grad_strides));
  if (packs) {
    run_any_backward<kMost<T>>(grad, planes, strides, points, offsets, size, grad_strides, grad_planes, grad_points, stream);
  } else {
    run_any_backward<1>(grad, planes, strides, points, offsets, size, grad_strides, grad_planes, grad_points, stream);
  }
}

#define TETRAGAN_INSTANTIATE(T)                                                                                             \
  template void triplane_sample_cuda<T>(const T*, const PlaneStrides&, const T*, const int64_t*, const TriplaneSize&, T*,   \
                                        cudaStream_t);                                                                      \
  template void triplane_sample_backward_cuda<T>(const T*, const T*, const PlaneStrides&, const T*, const int64_t*,         \
                                                 const TriplaneSize&, const PlaneStrides&, T*, T*, cudaStream_t);
TETRAGAN_INSTANTIATE(float)
TETRAGAN_INSTANTIATE(double)

}  // namespace tetragan
