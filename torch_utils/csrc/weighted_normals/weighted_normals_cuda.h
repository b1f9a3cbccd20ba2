// Launchers of the CUDA kernels of `weighted_normals`; all pointers are on the device. T is float or double.
#pragma once
#include <cuda_runtime.h>

#include <cstdint>

namespace tetragan {

// Bytes of scratch that both launchers need.
int64_t weighted_normals_cuda_scratch(int64_t vertices);

template <class T>
void weighted_normals_cuda(const T* vertices, const int32_t* faces, int64_t num_vertices, int64_t num_faces, void* scratch,
                           T* out, cudaStream_t stream);

template <class T>
void weighted_normals_backward_cuda(const T* grad, const T* vertices, const int32_t* faces, int64_t num_vertices,
                                    int64_t num_faces, void* scratch, T* out, cudaStream_t stream);

}  // namespace tetragan
