// Launcher of the CUDA kernel of `lfd_distance`; all pointers are on the device.
#pragma once
#include <cuda_runtime.h>

#include <cstdint>

namespace tetragan {

// a [m, 10, 10, 47], b [n, 10, 10, 47], alignments [count, 10] bytes; out [m, n].
void lfd_distance_cuda(const uint8_t* a, const uint8_t* b, const uint8_t* alignments, int64_t count, int64_t m, int64_t n,
                       int32_t* out, cudaStream_t stream);

}  // namespace tetragan
