// Launcher of the CUDA kernels of `connected_vertices`; all pointers are on the device.
#pragma once
#include <cuda_runtime.h>

#include <cstdint>

namespace tetragan {

// parent [count]: scratch. labels [count]: the result.
void connected_vertices_cuda(const int32_t* faces, int64_t face_count, int64_t count, int32_t* parent, int64_t* labels,
                             cudaStream_t stream);

}  // namespace tetragan
