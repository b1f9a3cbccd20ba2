// Launcher of the CUDA kernels of `face_neighbors`; all pointers are on the device.
#pragma once
#include <cuda_runtime.h>

#include <cstdint>

namespace tetragan {

// Bytes of scratch for `faces` triangles.
int64_t face_neighbors_cuda_scratch(int64_t faces);

void face_neighbors_cuda(const int32_t* faces, int64_t count, void* scratch, int32_t* neighbors, cudaStream_t stream);

}  // namespace tetragan
