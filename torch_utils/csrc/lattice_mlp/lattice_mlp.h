// Arithmetic of `lattice_mlp`, shared by the CPU and CUDA kernels.
#pragma once
#include "common/host_device.h"

namespace tetragan {

// One hidden unit's part of the output: weight · lrelu(sum), lrelu(v) = max(v, slope · v) for 0 ≤ slope ≤ 1.
template <class T>
TETRAGAN_HD T hidden_unit(T xy, T yz, T xz, T slope, T weight) {
  const T v = xy + yz + xz;
  const T scaled = v * slope;
  return weight * (v > scaled ? v : scaled);
}

}  // namespace tetragan
