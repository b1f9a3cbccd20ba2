// Launcher of the CUDA kernel of `silhouettes`; all pointers are on the device. T is float or double.
#pragma once
#include <cuda_runtime.h>

#include <cstdint>

namespace tetragan {

// out [views][side][side / 32]: bit k of word j is column 32 j + k.
template <class T>
void silhouettes_cuda(const T* vertices, int64_t vertex_count, const int32_t* faces, int64_t face_count, const T* axes,
                      int64_t views, int32_t side, uint32_t* out, cudaStream_t stream);

}  // namespace tetragan
