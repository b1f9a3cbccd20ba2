// Launchers of the CUDA kernels of `antialias`; all pointers are on the device. T is float or double.
#pragma once
#include <cuda_runtime.h>

#include <cstdint>

namespace tetragan {

struct AntialiasSize {
  int64_t images, height, width, channels, faces, vertices;
};

// Bytes of scratch that antialias_cuda needs.
int64_t antialias_cuda_scratch(const AntialiasSize& size);

// slots [N, H, W, 2] and blends as in antialias_cpu.cpp. rast begins at a multiple of 2 of its values, positions of 4.
template <class T>
void antialias_cuda(const T* color, const T* rast, const T* positions, const int32_t* faces, const int32_t* neighbors,
                    const AntialiasSize& size, void* scratch, T* out, int32_t* slots, T* blends, cudaStream_t stream);

// grad_positions [V, 4] must be zero, or null if it is not needed.
template <class T>
void antialias_backward_cuda(const T* grad, const T* color, const T* positions, const int32_t* faces, const int32_t* slots,
                             const T* blends, const AntialiasSize& size, T* grad_color, T* grad_positions,
                             cudaStream_t stream);

}  // namespace tetragan
