// Launchers of the CUDA kernels of `texture`; all pointers are on the device. T is float or double.
#pragma once
#include <cuda_runtime.h>

#include "texture/texture.h"

namespace tetragan {

struct TextureSettings {
  int64_t textures, texels, channels, images, pixels;  // texels of one texture, pixels of one image
  int32_t height, width, levels, filter, boundary;
};

template <class T>
void texture_cuda(const T* texels, const T* uv, const T* uv_db, const TextureSettings& settings, T* out,
                  cudaStream_t stream);

// grad_texels must be zero, or null if it is not needed. grad_db: null without uv_db.
template <class T>
void texture_backward_cuda(const T* grad, const T* texels, const T* uv, const T* uv_db, const TextureSettings& settings,
                           T* grad_texels, T* grad_uv, T* grad_db, cudaStream_t stream);

}  // namespace tetragan
