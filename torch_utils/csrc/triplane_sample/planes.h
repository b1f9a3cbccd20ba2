// Where the texels of `triplane_sample` lie in memory.
#pragma once
#include <cstdint>

namespace tetragan {

// In elements; channels are adjacent. size: texels along a side.
struct PlaneStrides {
  int64_t size, sample, plane, row, column;
};

}  // namespace tetragan
