// Launchers of the CUDA kernels of `chamfer`; all pointers are on the device. T is float or double.
#pragma once
#include <cuda_runtime.h>

#include <cstdint>

namespace tetragan {

// One direction: for each of x [batch, p, 3] the nearest of y [batch, q, 3].
template <class T>
void chamfer_nearest_cuda(const T* x, const T* y, int64_t batch, int64_t p, int64_t q, T* distance, int32_t* index,
                          cudaStream_t stream);

// All pairs of x [m, p, 3] and y [n, q, 3].
template <class T>
void chamfer_matrix_cuda(const T* x, const T* y, int64_t m, int64_t n, int64_t p, int64_t q, T* out, cudaStream_t stream);

}  // namespace tetragan
