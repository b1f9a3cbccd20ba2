// Choice of the instruction set at run time.
//
// `<op>_simd.cpp` is compiled once for each instruction set, with TETRAGAN_ISA = baseline, avx2 or avx512 (only
// baseline on machines other than x86-64). It puts all its code, the arithmetic header's too, into `namespace
// tetragan::TETRAGAN_ISA` and includes nothing but <cmath>, <cstdint> and intrinsics: an inline function of the
// standard library compiled for AVX-512 could otherwise be the copy that the linker keeps for all.
//
// `<op>_cpu.cpp` declares the functions with TETRAGAN_DECLARE and calls TETRAGAN_CALL:
//
//   TETRAGAN_DECLARE(void, sum_rows, (const float* x, int64_t rows, float* out))
//   ...
//   TETRAGAN_CALL(sum_rows, (x, rows, out));
#pragma once

#if defined(__x86_64__) || defined(_M_X64)
#define TETRAGAN_X86 1
#else
#define TETRAGAN_X86 0
#endif

// For the small functions of *_simd.cpp: none may become a call, or a symbol that the linker can merge.
#define TETRAGAN_INLINE inline __attribute__((always_inline))

namespace tetragan {

enum class InstructionSet { baseline, avx2, avx512 };

#if TETRAGAN_X86
#define TETRAGAN_DECLARE(result, name, arguments)   \
  namespace tetragan::baseline { result name arguments; } \
  namespace tetragan::avx2 { result name arguments; }     \
  namespace tetragan::avx512 { result name arguments; }
#define TETRAGAN_CALL(name, arguments)                                                      \
  (tetragan::instruction_set() == tetragan::InstructionSet::avx512 ? tetragan::avx512::name arguments \
   : tetragan::instruction_set() == tetragan::InstructionSet::avx2 ? tetragan::avx2::name arguments   \
                                                                   : tetragan::baseline::name arguments)
#else
#define TETRAGAN_DECLARE(result, name, arguments) \
  namespace tetragan::baseline { result name arguments; }
#define TETRAGAN_CALL(name, arguments) (tetragan::baseline::name arguments)
#endif

// The best one of this machine, or that of the environment variable TETRAGAN_ISA (for tests). In common_cpu.cpp.
InstructionSet instruction_set();

}  // namespace tetragan
