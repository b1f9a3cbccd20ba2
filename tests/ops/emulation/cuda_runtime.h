// A CUDA runtime that runs kernels on the CPU, one thread after another: enough for kernels without barriers and warp
// intrinsics. tests/ops/test_cuda_sources.py turns `kernel<<<grid, block, 0, stream>>>(…)` into TETRAGAN_LAUNCH.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>

#define __global__ static
#define __device__
#define __host__
#define __forceinline__ inline

using cudaStream_t = void*;
using cudaError_t = int;
constexpr cudaError_t cudaSuccess = 0;
enum cudaMemcpyKind { cudaMemcpyHostToDevice };
struct Dimension {
  unsigned x = 1, y = 1, z = 1;
};
inline Dimension blockIdx, threadIdx, blockDim, gridDim;

inline cudaError_t cudaGetLastError() { return cudaSuccess; }
inline const char* cudaGetErrorString(cudaError_t) { return ""; }
inline cudaError_t cudaMemsetAsync(void* target, int value, size_t bytes, cudaStream_t) {
  std::memset(target, value, bytes);
  return cudaSuccess;
}
inline cudaError_t cudaMemcpyAsync(void* target, const void* source, size_t bytes, cudaMemcpyKind, cudaStream_t) {
  std::memcpy(target, source, bytes);
  return cudaSuccess;
}

// Threads run in falling order: a result that depends on the order of atomics differs from the CPU kernel's.
template <class F>
void emulate(unsigned blocks, unsigned threads, const F& kernel) {
  gridDim.x = blocks;
  blockDim.x = threads;
  for (unsigned b = blocks; b-- > 0;) {
    for (unsigned t = threads; t-- > 0;) {
      blockIdx.x = b;
      threadIdx.x = t;
      kernel();
    }
  }
}
#define TETRAGAN_LAUNCH(grid, block, ...) emulate(grid, block, [&] { __VA_ARGS__; })

template <class T>
T atomicAdd(T* address, T value) {
  const T old = *address;
  *address += value;
  return old;
}
inline unsigned long long atomicMin(unsigned long long* address, unsigned long long value) {
  const unsigned long long old = *address;
  *address = std::min(old, value);
  return old;
}
inline unsigned long long atomicCAS(unsigned long long* address, unsigned long long expected, unsigned long long value) {
  const unsigned long long old = *address;
  if (old == expected) *address = value;
  return old;
}
inline int32_t atomicXor(int32_t* address, int32_t value) {
  const int32_t old = *address;
  *address ^= value;
  return old;
}
inline uint32_t __float_as_uint(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, 4);
  return bits;
}
inline float __uint_as_float(uint32_t bits) {
  float value;
  std::memcpy(&value, &bits, 4);
  return value;
}
