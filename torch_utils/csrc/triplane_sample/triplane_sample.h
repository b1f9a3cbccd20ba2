// Arithmetic of `triplane_sample`, shared by the CPU and CUDA kernels.
//
// Texel centers lie at half-integers, so a coordinate in [−1, 1] sits at ((coordinate + 1) · R − 1) / 2 between texels;
// beyond the outermost centers the value is that of the border, and the coordinate has no gradient.
#pragma once
#include "common/host_device.h"

namespace tetragan {

// The axes along width and height of the planes (x, y), (y, z), (x, z).
TETRAGAN_HD int plane_width_axis(int plane) { return plane == 1 ? 1 : 0; }
TETRAGAN_HD int plane_height_axis(int plane) { return plane == 0 ? 1 : 2; }

template <class T>
struct AxisLookup {
  int32_t low, high;  // texels on both sides
  T fraction;         // weight of `high`
  T slope;            // d(position)/d(coordinate), 0 where clamped
};

template <class T>
TETRAGAN_HD AxisLookup<T> look_up_axis(T coordinate, int32_t size) {
  const T position = ((coordinate + 1) * static_cast<T>(size) - 1) / 2;
  const T last = static_cast<T>(size - 1);
  AxisLookup<T> result;
  // A NaN fails both comparisons of `inside` and gives texel 0 with weight NaN.
  const bool inside = position > 0 && position < last;
  const T clamped = position >= last ? last : (position > 0 ? position : T(0));
  result.low = static_cast<int32_t>(clamped);
  if (result.low > size - 2 && size > 1) result.low = size - 2;
  result.high = result.low + (size > 1 ? 1 : 0);
  result.fraction = position == position ? clamped - static_cast<T>(result.low) : position;
  result.slope = inside ? static_cast<T>(size) / 2 : T(0);
  return result;
}

}  // namespace tetragan
