// Layout of a light-field descriptor and its weighting, for host and device.
//
// A view has 47 bytes: 35 region coefficients, 10 contour coefficients, circularity, eccentricity. The distance counts the
// contour coefficients and the circularity twice. Packed, each byte is repeated by its weight: 35 + 2 · 10 + 2 + 1 = 58
// bytes, padded with zeros to 64, so that the distance of two views is a plain sum of absolute differences.
#pragma once
#include "common/host_device.h"

namespace tetragan::lfd {

constexpr int kFields = 10, kFieldViews = 10, kShapeViews = kFields * kFieldViews;
constexpr int kRegion = 35, kContour = 10, kViewBytes = kRegion + kContour + 2, kPackedView = 64;

TETRAGAN_HD void pack_view(const uint8_t* view, uint8_t* packed) {
  int place = 0;
  for (int k = 0; k < kRegion; ++k) packed[place++] = view[k];
  for (int k = kRegion; k < kRegion + kContour + 1; ++k) {
    packed[place++] = view[k];
    packed[place++] = view[k];
  }
  packed[place++] = view[kRegion + kContour + 1];
  while (place < kPackedView) packed[place++] = 0;
}

}  // namespace tetragan::lfd
