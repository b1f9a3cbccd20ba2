// Launchers of the CUDA kernels of `rasterize`; all pointers are on the device. T is float or double.
#pragma once
#include <cuda_runtime.h>

#include <cstdint>

namespace tetragan {

struct RasterSize {
  int64_t vertices, faces, images;
  int32_t height, width;
};

// Bytes of scratch that rasterize_cuda needs. wide: for float64.
int64_t rasterize_cuda_scratch(const RasterSize& size, bool wide);

// face_offsets: [images + 1] on the device. previous, rast_db: may be null. positions: at a multiple of 4 values, as are
// grad_rast and grad_db below.
template <class T>
void rasterize_cuda(const T* positions, const int32_t* faces, const int64_t* face_offsets, const T* previous,
                    const RasterSize& size, void* scratch, T* rast, T* rast_db, cudaStream_t stream);

// grad_positions [V, 4] must be zero. grad_db may be null.
template <class T>
void rasterize_backward_cuda(const T* grad_rast, const T* grad_db, const T* positions, const int32_t* faces, const T* rast,
                             const RasterSize& size, T* grad_positions, cudaStream_t stream);

}  // namespace tetragan
