// bfloat16 as 16 bits, for loops that the compiler turns into vector code. Included inside a SIMD source's own namespace or
// by the bindings; no standard library.
#pragma once
#include <cstdint>

#include "common/host_device.h"

namespace tetragan {

struct Bfloat16 {
  uint16_t bits;
};

TETRAGAN_HD float load_value(Bfloat16 value) {
  const uint32_t wide = static_cast<uint32_t>(value.bits) << 16;
  float result;
  __builtin_memcpy(&result, &wide, sizeof result);
  return result;
}
TETRAGAN_HD float load_value(float value) { return value; }
TETRAGAN_HD double load_value(double value) { return value; }

// Round to nearest, ties to even.
TETRAGAN_HD void store_value(Bfloat16& target, float value) {
#if defined(__CUDACC__) && defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
  asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(target.bits) : "f"(value));
#else
  uint32_t wide;
  __builtin_memcpy(&wide, &value, sizeof wide);
  const uint32_t rounded = (wide + 0x7FFFu + ((wide >> 16) & 1u)) >> 16;
  target.bits = static_cast<uint16_t>(value == value ? rounded : 0x7FC0u);
#endif
}
TETRAGAN_HD void store_value(float& target, float value) { target = value; }
TETRAGAN_HD void store_value(double& target, double value) { target = value; }

// The type that sums and products are taken in.
template <class T>
struct Accumulate {
  using type = float;
};
template <>
struct Accumulate<double> {
  using type = double;
};

}  // namespace tetragan
