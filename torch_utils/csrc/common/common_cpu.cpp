#include "common/isa.h"

#include <cstdlib>
#include <cstring>

namespace tetragan {

namespace {

InstructionSet detect() {
  InstructionSet best = InstructionSet::baseline;
#if TETRAGAN_X86
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) best = InstructionSet::avx2;
  if (best == InstructionSet::avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl")) {
    best = InstructionSet::avx512;
  }
#endif
  const char* wanted = std::getenv("TETRAGAN_ISA");
  if (wanted != nullptr && std::strcmp(wanted, "baseline") == 0) return InstructionSet::baseline;
  if (wanted != nullptr && std::strcmp(wanted, "avx2") == 0 && best == InstructionSet::avx512) return
  InstructionSet::avx2;
  return best;
}

}  // namespace

InstructionSet instruction_set() {
  static const InstructionSet chosen = detect();
  return chosen;
}

}  // namespace tetragan
