// Arithmetic of `upfirdn2d` along one axis, shared by the CPU and CUDA kernels.
//
// The input is upsampled by zero insertion, padded by `before` zeros, convolved with the taps and every `down`-th value is
// kept. So output o sees the inputs first … first + (T − 1) / up, of which those inside the picture count.
#pragma once
#include "common/host_device.h"

namespace tetragan {

struct ResampleAxis {
  int64_t size, up, down, before, taps;
};

// Index of the first input that output o can see (perhaps outside), and the tap that meets it.
TETRAGAN_HD int64_t first_input(const ResampleAxis& axis, int64_t o, int64_t& tap) {
  const int64_t position = o * axis.down - axis.before;  // of tap 0 in the upsampled input
  int64_t input = position / axis.up;
  if (input * axis.up < position) ++input;  // ceiling; C++ division truncates towards zero, the ceiling of what is negative
  tap = input * axis.up - position;
  return input;
}

TETRAGAN_HD int64_t most_inputs(const ResampleAxis& axis) { return (axis.taps + axis.up - 1) / axis.up; }

}  // namespace tetragan
