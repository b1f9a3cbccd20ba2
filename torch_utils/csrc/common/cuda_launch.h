// Launch helpers of the CUDA kernels; no torch headers.
#pragma once
#include <cuda_runtime.h>

#include <cstdint>

namespace tetragan {

constexpr int kBlock = 256;
// Blocks of a launch along y and z at most.
constexpr int64_t kMaxGridRows = 65535;

inline int64_t divide_up(int64_t count, int64_t size) { return (count + size - 1) / size; }

// Blocks of kBlock threads for `count` items, one each. A count beyond the grid's limit loops (see TETRAGAN_EACH).
inline unsigned blocks_for(int64_t count) {
  const int64_t blocks = divide_up(count, kBlock);
  return static_cast<unsigned>(blocks < 1 ? 1 : blocks > 0x7fffffff ? 0x7fffffff : blocks);
}

// for (index = this thread's items of 0 … count − 1)
#define TETRAGAN_EACH(index, count)                                                              \
  for (int64_t index = blockIdx.x * static_cast<int64_t>(blockDim.x) + threadIdx.x; index < (count); \
       index += static_cast<int64_t>(gridDim.x) * blockDim.x)

// This thread's item of fewer than 2³¹, of which blocks_for() gives each thread at most one: 32-bit indices, and no loop.
__device__ __forceinline__ uint32_t thread_index() { return blockIdx.x * blockDim.x + threadIdx.x; }

// The id (face + 1) stored in a pixel, or 0 for background and invalid ids (as in common/vertex_sum.h).
__device__ __forceinline__ int64_t device_face_id(double stored, int64_t count) {
  const double rounded = stored + 0.5;
  return rounded >= 1 && rounded < static_cast<double>(count) + 1 ? static_cast<int64_t>(rounded) : 0;
}

// The same without double precision, which is slow on many cards. From 2²³ on, floats are whole numbers.
__device__ __forceinline__ int64_t device_face_id(float stored, int64_t count) {
  if (!(stored >= 0.5f && stored < 2147483648.0f)) return 0;
  const int64_t id = static_cast<int32_t>(stored < 8388608.0f ? stored + 0.5f : stored);
  return id <= count ? id : 0;
}

// Reads what other threads change with atomics meanwhile; the value may be old.
__device__ __forceinline__ unsigned long long load_relaxed(const unsigned long long* source) {
#ifdef __CUDACC__
  unsigned long long value;
  asm volatile("ld.relaxed.gpu.global.u64 %0, [%1];" : "=l"(value) : "l"(source) : "memory");
  return value;
#else
  return __atomic_load_n(source, __ATOMIC_RELAXED);
#endif
}
__device__ __forceinline__ int32_t load_relaxed(const int32_t* source) {
#ifdef __CUDACC__
  int32_t value;
  asm volatile("ld.relaxed.gpu.global.s32 %0, [%1];" : "=r"(value) : "l"(source) : "memory");
  return value;
#else
  return __atomic_load_n(source, __ATOMIC_RELAXED);
#endif
}

// The last range that begins at or before `index`: the sample of a packed point, the image of a face.
__device__ __forceinline__ int32_t range_of(const int64_t* offsets, int32_t ranges, int64_t index) {
  int32_t low = 0, high = ranges;
  while (high - low > 1) {
    const int32_t middle = (low + high) / 2;
    (offsets[middle] <= index ? low : high) = middle;
  }
  return low;
}

}  // namespace tetragan
