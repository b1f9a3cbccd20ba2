// The part of the CUDA runtime and of the device functions that the kernels use, for the emulation (lanes.h).
#pragma once
#include <cmath>
#include <cstdlib>
#include <type_traits>

#include "lanes.h"

#define __global__ static
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __restrict__ __restrict

enum cudaMemcpyKind { cudaMemcpyHostToHost, cudaMemcpyHostToDevice, cudaMemcpyDeviceToHost, cudaMemcpyDeviceToDevice };

struct alignas(8) float2 {
  float x, y;
};
struct alignas(16) float4 {
  float x, y, z, w;
};
struct alignas(16) double2 {
  double x, y;
};
struct alignas(16) uint4 {
  unsigned x, y, z, w;
};
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }

// A vector access traps on the device unless its address is a multiple of its size.
template <class T>
void emulation_check_aligned(const T* address) {
  if (reinterpret_cast<uintptr_t>(address) % sizeof(T) != 0) {
    emulation::fail(cudaErrorLaunchFailure, "a vector access to a misaligned address");
  }
}

#define __syncthreads() emulation::barrier(__LINE__, false)
#define __syncthreads_or(value) static_cast<int>(emulation::barrier(__LINE__, (value) != 0))

inline void __syncwarp(unsigned mask = 0xffffffffu) { emulation::sync_warp(mask); }

EMULATION_UNSEEN inline unsigned __ballot_sync(unsigned mask, bool predicate) {
  const uint64_t* values = emulation::exchange(mask, predicate);
  unsigned result = 0;
  for (int k = 0; k < 32; ++k) result |= static_cast<unsigned>(values[k]) << k;
  return result;
}

template <class T>
EMULATION_UNSEEN T emulation_shuffle(unsigned mask, T value, unsigned source) {
  uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof value);
  const uint64_t* values = emulation::exchange(mask, bits);
  std::memcpy(&value, &values[source & 31], sizeof value);
  return value;
}
// Lane `source` of this lane's group of `width`.
template <class T>
T __shfl_sync(unsigned mask, T value, int source, int width = 32) {
  const unsigned lane = emulation::machine.current->thread % 32;
  return emulation_shuffle(mask, value, (lane & ~(width - 1)) | (source & (width - 1)));
}
template <class T>
T __shfl_xor_sync(unsigned mask, T value, int flip, int width = 32) {
  const unsigned lane = emulation::machine.current->thread % 32, source = lane ^ flip;
  return emulation_shuffle(mask, value, source / width == lane / width ? source : lane);
}
template <class T>
T __shfl_down_sync(unsigned mask, T value, unsigned by, int width = 32) {
  const unsigned lane = emulation::machine.current->thread % 32, source = lane + by;
  return emulation_shuffle(mask, value, source / width == lane / width ? source : lane);
}

// new value = f(old) in one step; returns the old value.
template <class T, class F>
T emulation_update(T* address, const F& f) {
  emulation::at_atomic();
  using Bits = std::conditional_t<sizeof(T) == 4, uint32_t, uint64_t>;
  Bits* at = reinterpret_cast<Bits*>(address);
  Bits before = __atomic_fetch_add(at, 0, __ATOMIC_RELAXED), after;
  T old;
  do {
    std::memcpy(&old, &before, sizeof old);
    const T value = f(old);
    std::memcpy(&after, &value, sizeof value);
  } while (!__atomic_compare_exchange_n(at, &before, after, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED));
  return old;
}
template <class T, class F>
T emulation_atomic(T* address, const F& f) {
  emulation::touch(address, sizeof(T));
  return emulation_update(address, f);
}
template <class T>
using Same = std::common_type_t<T>;
template <class T>
T atomicAdd(T* a, Same<T> v) {
  return emulation_atomic(a, [=](T old) { return static_cast<T>(old + v); });
}
template <class T>
T atomicMin(T* a, Same<T> v) {
  return emulation_atomic(a, [=](T old) { return std::min(old, v); });
}
template <class T>
T atomicMax(T* a, Same<T> v) {
  return emulation_atomic(a, [=](T old) { return std::max(old, v); });
}
template <class T>
T atomicOr(T* a, Same<T> v) {
  return emulation_atomic(a, [=](T old) { return static_cast<T>(old | v); });
}
template <class T>
T atomicXor(T* a, Same<T> v) {
  return emulation_atomic(a, [=](T old) { return static_cast<T>(old ^ v); });
}
template <class T>
T atomicExch(T* a, Same<T> v) {
  return emulation_atomic(a, [=](T) { return v; });
}
template <class T>
T atomicCAS(T* a, Same<T> expected, Same<T> v) {
  return emulation_atomic(a, [=](T old) { return old == expected ? v : old; });
}
inline float4 atomicAdd(float4* a, float4 v) {  // each of the four by itself, as on the device
  emulation_check_aligned(a);
  emulation::touch(a, sizeof v);
  const auto add = [](float* at, float by) { return emulation_update(at, [=](float old) { return old + by; }); };
  return {add(&a->x, v.x), add(&a->y, v.y), add(&a->z, v.z), add(&a->w, v.w)};
}
inline void __threadfence() { __atomic_thread_fence(__ATOMIC_SEQ_CST); }

template <class T>
T __ldg(const T* address) {
  emulation_check_aligned(address);
  return *address;
}

inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline int __popcll(unsigned long long x) { return __builtin_popcountll(x); }
inline int __ffs(int x) { return __builtin_ffs(x); }
inline int __ffsll(long long x) { return __builtin_ffsll(x); }
inline int __clz(int x) { return x == 0 ? 32 : __builtin_clz(x); }
inline int __clzll(long long x) { return x == 0 ? 64 : __builtin_clzll(x); }
inline unsigned __umulhi(unsigned a, unsigned b) { return static_cast<unsigned>(static_cast<uint64_t>(a) * b >> 32); }
inline unsigned __vsadu4(unsigned a, unsigned b) {
  unsigned sum = 0;
  for (int k = 0; k < 32; k += 8) sum += std::abs(static_cast<int>(a >> k & 255) - static_cast<int>(b >> k & 255));
  return sum;
}
template <class To, class From>
To emulation_bits(From value) {
  static_assert(sizeof(To) == sizeof(From));
  To bits;
  std::memcpy(&bits, &value, sizeof bits);
  return bits;
}
inline uint32_t __float_as_uint(float value) { return emulation_bits<uint32_t>(value); }
inline float __uint_as_float(uint32_t bits) { return emulation_bits<float>(bits); }
inline long long __double_as_longlong(double value) { return emulation_bits<long long>(value); }
inline double __longlong_as_double(long long bits) { return emulation_bits<double>(bits); }
inline int __double2int_rn(double value) {  // as on the device: saturates, and gives the least number for NaN
  if (!(value > -2147483648.0)) return INT32_MIN;
  return value < 2147483647.0 ? static_cast<int>(std::llrint(value)) : INT32_MAX;
}
inline int __float2int_rn(float value) { return value != value ? 0 : __double2int_rn(value); }
inline long long __double2ll_rn(double value) { return std::llrint(value); }

// Quotients and roots that a card may get wrong by two units in the last place are wrong by up to two here.
inline float emulation_inexact(float value) {
  if (!std::isnormal(value)) return value;
  const uint32_t bits = __float_as_uint(value);
  return __uint_as_float(bits + (bits * 2654435761u >> 16) % 5 - 2);
}
inline float __fdividef(float a, float b) { return emulation_inexact(a / b); }
inline float emulation_inverse_root(float x) { return emulation_inexact(1 / std::sqrt(x)); }
#define rsqrtf emulation_inverse_root

inline cudaError_t cudaGetLastError() { return std::exchange(emulation::machine.code, cudaSuccess); }
inline const char* cudaGetErrorString(cudaError_t) { return emulation::machine.error.c_str(); }
inline cudaError_t cudaMemsetAsync(void* target, int value, size_t bytes, cudaStream_t) {
  std::memset(target, value, bytes);
  return cudaSuccess;
}
inline cudaError_t cudaMemcpyAsync(void* target, const void* source, size_t bytes, cudaMemcpyKind, cudaStream_t) {
  std::memcpy(target, source, bytes);
  return cudaSuccess;
}

constexpr int CUDART_VERSION = 0;
inline cudaError_t cudaDriverGetVersion(int* version) {
  *version = 0;
  return cudaSuccess;
}
