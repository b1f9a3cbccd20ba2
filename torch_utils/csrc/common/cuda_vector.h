// Arithmetic of the CUDA kernels whose speed hangs on single instructions: several values in one memory access, contracted
// multiply-adds (everything else is compiled without), and division by a number that the launch fixes.
#pragma once
#include <cuda_runtime.h>

#include <cstdint>

#include "common/bfloat16.h"

namespace tetragan {

// kCount values that lie together at a multiple of their size, read or written by one instruction of up to 16 bytes.
template <class T, int kCount>
struct alignas(sizeof(T) * kCount) Pack {
  T values[kCount];
};

template <int kCount, class T>
__device__ __forceinline__ Pack<T, kCount> load_pack(const T* source) {
  return *reinterpret_cast<const Pack<T, kCount>*>(source);
}

template <int kCount, class T>
__device__ __forceinline__ void store_pack(T* target, const Pack<T, kCount>& pack) {
  *reinterpret_cast<Pack<T, kCount>*>(target) = pack;
}

// Whether packs of `count` values can be used on an array whose rows have `row` values.
template <class T>
bool fits_packs(const T* array, int64_t row, int count) {
  return row % count == 0 && reinterpret_cast<uintptr_t>(array) % (sizeof(T) * count) == 0;
}

__device__ __forceinline__ float multiply_add(float a, float b, float c) { return fmaf(a, b, c); }
__device__ __forceinline__ double multiply_add(double a, double b, double c) { return fma(a, b, c); }

// The nearest whole number; the nearest int32 for numbers out of range, and 0 or the least int32 for NaN.
__device__ __forceinline__ int32_t nearest_int(float x) { return __float2int_rn(x); }
__device__ __forceinline__ int32_t nearest_int(double x) { return __double2int_rn(x); }

// Adds kCount values to global memory; one instruction for four floats from compute capability 9.0 on.
template <int kCount, class T>
__device__ __forceinline__ void add_atomically(T* target, const Pack<T, kCount>& pack) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  if constexpr (kCount == 4 && sizeof(T) == 4) {
    atomicAdd(reinterpret_cast<float4*>(target), make_float4(pack.values[0], pack.values[1], pack.values[2], pack.values[3]));
    return;
  }
#endif
  for (int k = 0; k < kCount; ++k) atomicAdd(target + k, pack.values[k]);
}

// n / divisor and n % divisor for 0 ≤ n < 2³¹ and 0 < divisor < 2³¹, by a multiplication (Granlund and Montgomery 1994).
class Divider {
 public:
  explicit Divider(int64_t divisor) : divisor_(static_cast<uint32_t>(divisor)), shift_(0) {
    while ((int64_t{1} << shift_) < divisor) ++shift_;
    multiplier_ = static_cast<uint32_t>((uint64_t{1} << 32) * ((uint64_t{1} << shift_) - divisor_) / divisor_ + 1);
  }

  __device__ __forceinline__ uint32_t quotient(uint32_t n) const { return (__umulhi(n, multiplier_) + n) >> shift_; }
  __device__ __forceinline__ uint32_t remainder(uint32_t n) const { return n - quotient(n) * divisor_; }

 private:
  uint32_t divisor_, multiplier_, shift_;
};

// (2 i + 1) / size − 1 for 0 ≤ i < size, bit for bit as by a division: the quotient is corrected twice by its remainder
// (Markstein 1990, Computation of elementary functions on the IBM RISC System/6000).
class CenterNdc {
 public:
  explicit CenterNdc(int32_t size) : size_(size), inverse_(1.0 / size) {}

  __device__ __forceinline__ double at(int32_t index) const {
    const double numerator = static_cast<double>(2 * index + 1);
    double quotient = numerator * inverse_;
    for (int k = 0; k < 2; ++k) quotient = fma(fma(-size_, quotient, numerator), inverse_, quotient);
    return quotient - 1.0;
  }

 private:
  double size_, inverse_;
};

// Finds the row and column of a pixel in a batch of images with fewer than 2³¹ pixels.
struct PixelGrid {
  Divider height, width;

  PixelGrid(int64_t height_px, int64_t width_px) : height(height_px), width(width_px) {}

  __device__ __forceinline__ void locate(int64_t pixel, int32_t& row, int32_t& column) const {
    const uint32_t line = width.quotient(static_cast<uint32_t>(pixel));
    column = static_cast<int32_t>(width.remainder(static_cast<uint32_t>(pixel)));
    row = static_cast<int32_t>(height.remainder(line));
  }
};

}  // namespace tetragan
