// Launch helpers of the CUDA kernels; no torch headers.
#pragma once
#include <cuda_runtime.h>

#include <cstdint>

namespace tetragan {

constexpr int kBlock = 256;

// Blocks of kBlock threads for `count` items, one each. A count beyond the grid's limit loops (see TETRAGAN_EACH).
inline unsigned blocks_for(int64_t count) {
  const int64_t blocks = (count + kBlock - 1) / kBlock;
  return static_cast<unsigned>(blocks < 1 ? 1 : blocks > 0x7fffffff ? 0x7fffffff : blocks);
}

// for (index = this thread's items of 0 … count − 1)
#define TETRAGAN_EACH(index, count)                                                              \
  for (int64_t index = blockIdx.x * static_cast<int64_t>(blockDim.x) + threadIdx.x; index < (count); \
       index += static_cast<int64_t>(gridDim.x) * blockDim.x)

// The id (face + 1) stored in a pixel, or 0 for background and invalid ids (as in common/vertex_sum.h).
template <class T>
__device__ __forceinline__ int64_t device_face_id(T stored, int64_t count) {
  const double rounded = static_cast<double>(stored) + 0.5;
  return rounded >= 1 && rounded < static_cast<double>(count) + 1 ? static_cast<int64_t>(rounded) : 0;
}

}  // namespace tetragan
