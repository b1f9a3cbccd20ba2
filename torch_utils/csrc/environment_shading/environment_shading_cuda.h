// Launchers of the CUDA kernels of `environment_shading`; all pointers are on the device. T is float or double.
#pragma once
#include <cuda_runtime.h>

#include "environment_shading/environment_shading.h"
#include "environment_shading/points.h"

namespace tetragan {

template <class T>
void environment_shading_cuda(const shading::Environment<T>& environment, const ShadingPointers<T>& points, int64_t count,
                              T* specular, T* diffuse, cudaStream_t stream);

template <class T>
void environment_shading_backward_cuda(const shading::Environment<T>& environment, const ShadingPointers<T>& points,
                                       int64_t count, const T* of_specular, const T* of_diffuse,
                                       const ShadingGradients<T>& out, cudaStream_t stream);

}  // namespace tetragan
