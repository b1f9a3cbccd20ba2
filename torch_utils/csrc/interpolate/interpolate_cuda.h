// Launchers of the CUDA kernels of `interpolate`; all pointers are on the device. T is float or double.
#pragma once
#include <cuda_runtime.h>

#include <cstdint>

namespace tetragan {

struct InterpolateSize {
  int64_t pixels, faces, vertices, width;
};

// rast_db, out_db: both or none.
template <class T>
void interpolate_cuda(const T* attributes, const T* rast, const int32_t* faces, const T* rast_db,
                      const InterpolateSize& size, T* out, T* out_db, cudaStream_t stream);

// grad_attributes must be zero, or null if it is not needed.
template <class T>
void interpolate_backward_cuda(const T* grad, const T* grad_db, const T* attributes, const T* rast, const int32_t* faces,
                               const T* rast_db, const InterpolateSize& size, T* grad_attributes, T* grad_rast,
                               T* grad_rast_db, cudaStream_t stream);

}  // namespace tetragan
