// Arithmetic of `upfirdn2d` along one axis, shared by the CPU and CUDA kernels.
//
// The input is upsampled by zero insertion, padded by `before` zeros, convolved with the taps and every `down`-th value is
// kept. So output o depends on the inputs first … first + (T − 1) / up inside the image.
#pragma once
#include "common/host_device.h"

namespace tetragan {

struct ResampleAxis {
  int64_t size, up, down, before, taps;
};

// Index of the first input that output o depends on (possibly outside), and its tap.
TETRAGAN_HD int64_t first_input(const ResampleAxis& axis, int64_t o, int64_t& tap) {
  const int64_t position = o * axis.down - axis.before;  // of tap 0 in the upsampled input
  int64_t input = position / axis.up;
  if (input * axis.up < position) ++input;  // ceiling; C++ division truncates towards zero, the ceiling of what is negative
  tap = input * axis.up - position;
  return input;
}

// The maximal number of inputs of an output.
TETRAGAN_HD int64_t most_inputs(const ResampleAxis& axis) { return (axis.taps + axis.up - 1) / axis.up; }

// For each output, `count` inputs and their weights; inputs outside the image have weight 0.
template <class A>
struct Taps {
  const int64_t* index;
  const A* weight;
  int64_t count;
};

// The same for a row of one channel with `lead` zeros before and `tail` zeros after it. Outputs of a phase (o mod up) use
// `count` inputs from first[phase] + down · (o / up) on, with weight[phase][count]; count is 1, 2 or 4, up or down is 1.
template <class A>
struct Line {
  const int64_t* first;
  const A* weight;
  int64_t count, up, down, lead, tail;
};

}  // namespace tetragan
