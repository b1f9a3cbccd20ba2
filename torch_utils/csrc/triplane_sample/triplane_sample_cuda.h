// Launchers of the CUDA kernels of `triplane_sample`; all pointers are on the device. T is float or double.
#pragma once
#include <cuda_runtime.h>

#include <cstdint>

#include "triplane_sample/planes.h"

namespace tetragan {

struct TriplaneSize {
  int64_t samples, points, channels;
  int64_t first = 0;  // the first point of a launch
};

// offsets [samples + 1]: the points of each sample.
template <class T>
void triplane_sample_cuda(const T* planes, const PlaneStrides& strides, const T* points, const int64_t* offsets,
                          const TriplaneSize& size, T* out, cudaStream_t stream);

// grad_planes (of strides grad_strides) must be zero, or null if it is not needed; grad_points may be null.
template <class T>
void triplane_sample_backward_cuda(const T* grad, const T* planes, const PlaneStrides& strides, const T* points,
                                   const int64_t* offsets, const TriplaneSize& size, const PlaneStrides& grad_strides,
                                   T* grad_planes, T* grad_points, cudaStream_t stream);

}  // namespace tetragan
