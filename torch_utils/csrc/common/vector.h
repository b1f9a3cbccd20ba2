// Vectors of 64 bytes in the compiler's portable form, for *_simd.cpp: one AVX-512 register, two of AVX2 or four of SSE and
// NEON. Included inside such a file, so everything lands in the namespace of the instruction set; see isa.h.
#pragma once
#include <cstdint>

#include "common/isa.h"

namespace tetragan::TETRAGAN_ISA {

namespace {

template <class T>
struct Vector {
  static constexpr int64_t lanes = 64 / sizeof(T);
  typedef T Type __attribute__((vector_size(64)));
};

// Neither needs an aligned address.
template <class T>
TETRAGAN_INLINE typename Vector<T>::Type load(const T* source) {
  typename Vector<T>::Type value;
  __builtin_memcpy(&value, source, sizeof value);
  return value;
}

template <class T>
TETRAGAN_INLINE void store(T* target, typename Vector<T>::Type value) {
  __builtin_memcpy(target, &value, sizeof value);
}

}  // namespace

}  // namespace tetragan::TETRAGAN_ISA
