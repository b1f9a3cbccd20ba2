// Arithmetic of `texture`, shared by host and device.
//
// A texture's mip levels lie one after the other in one array of texels; level l has max(1, H >> l) × max(1, W >> l).
// Texel centers lie at half-integers; v = 0 is the upper border of row 0.
#pragma once
#include "common/host_device.h"

namespace tetragan {
namespace texturing {

enum Filter : int32_t { kNearest = 0, kBilinear = 1, kTrilinear = 2 };
enum Boundary : int32_t { kWrap = 0, kClamp = 1 };

struct Level {
  int64_t first;  // index of its first texel
  int32_t height, width;
};

TETRAGAN_HD Level level_of(int32_t height, int32_t width, int32_t level) {
  Level result = {0, height, width};
  for (int32_t l = 0; l < level; ++l) {
    result.first += static_cast<int64_t>(result.height) * result.width;
    result.height = result.height > 1 ? result.height >> 1 : 1;
    result.width = result.width > 1 ? result.width >> 1 : 1;
  }
  return result;
}

// The two texels around a coordinate and the second one's weight. slope: d weight / d coordinate.
template <class T>
struct Tap {
  int32_t a, b;
  T weight, slope;
};

// NaN and infinity give index 0 (and a NaN weight): the result is NaN, never an access out of bounds.
template <class T>
TETRAGAN_HD int32_t to_index(T value, int32_t size) {
  if (!(value > T(0))) return 0;
  return value < static_cast<T>(size) ? static_cast<int32_t>(value) : size - 1;
}

template <class T>
TETRAGAN_HD Tap<T> nearest_tap(T coordinate, int32_t size, int32_t boundary) {
  const T position = (boundary == kWrap ? coordinate - std::floor(coordinate) : coordinate) * size;
  const int32_t index = to_index(position, size);
  return {index, index, position - position, T(0)};
}

template <class T>
TETRAGAN_HD Tap<T> linear_tap(T coordinate, int32_t size, int32_t boundary) {
  Tap<T> tap;
  if (boundary == kWrap) {
    const T position = (coordinate - std::floor(coordinate)) * size - T(0.5);  // in [−½, size − ½]
    const T whole = std::floor(position);
    tap.weight = position - whole;
    tap.slope = static_cast<T>(size);
    tap.a = whole < 0 ? size - 1 : to_index(whole, size);
    tap.b = tap.a + 1 == size ? 0 : tap.a + 1;
    return tap;
  }
  const T position = coordinate * size - T(0.5);
  const T last = static_cast<T>(size - 1);
  tap.slope = position > 0 && position < last ? static_cast<T>(size) : T(0);
  const T bounded = position <= 0 ? T(0) : position >= last ? last : position;  // NaN stays
  tap.a = to_index(bounded, size);
  tap.b = tap.a + 1 < size ? tap.a + 1 : tap.a;
  tap.weight = bounded - tap.a;
  return tap;
}

// A weighted texel, and how its weight changes with u and v.
template <class T>
struct Sample {
  int64_t texel[4];
  T weight[4], by_u[4], by_v[4];
};

template <class T>
TETRAGAN_HD Sample<T> sample_at(T u, T v, const Level& level, int32_t filter, int32_t boundary) {
  const Tap<T> x = filter == kNearest ? nearest_tap(u, level.width, boundary) : linear_tap(u, level.width, boundary);
  const Tap<T> y = filter == kNearest ? nearest_tap(v, level.height, boundary) : linear_tap(v, level.height, boundary);
  const int64_t upper = level.first + static_cast<int64_t>(y.a) * level.width;
  const int64_t lower = level.first + static_cast<int64_t>(y.b) * level.width;
  const T left = T(1) - x.weight, above = T(1) - y.weight;
  return {{upper + x.a, upper + x.b, lower + x.a, lower + x.b},
          {left * above, x.weight * above, left * y.weight, x.weight * y.weight},
          {-x.slope * above, x.slope * above, -x.slope * y.weight, x.slope * y.weight},
          {-left * y.slope, -x.weight * y.slope, left * y.slope, x.weight * y.slope}};
}

// Level of detail: log2 of the longer axis of the pixel's footprint in texels, within [0, levels − 1], and its derivatives
// by (du/dX, du/dY, dv/dX, dv/dY) (zero where it is clamped).
template <class T>
struct Detail {
  int32_t level;  // the finer of the two levels
  T fraction;     // weight of the coarser one
  T by_db[4];
};

template <class T>
TETRAGAN_HD Detail<T> detail_at(const T* db, int32_t height, int32_t width, int32_t levels) {
  const T ux = db[0] * width, uy = db[1] * width, vx = db[2] * height, vy = db[3] * height;
  const T a = ux * ux + vx * vx, b = uy * uy + vy * vy, c = ux * uy + vx * vy;
  const T half = (a - b) / 2, root = std::sqrt(half * half + c * c);
  const T largest = (a + b) / 2 + root;
  Detail<T> detail = {0, T(0), {T(0), T(0), T(0), T(0)}};
  const T highest = static_cast<T>(levels - 1);
  const T value = std::log2(largest) / 2;
  if (!(value > 0)) return detail;
  if (value >= highest) {
    detail.level = levels > 1 ? levels - 2 : 0;
    detail.fraction = levels > 1 ? T(1) : T(0);
    return detail;
  }
  detail.level = static_cast<int32_t>(value);
  detail.fraction = value - detail.level;
  // d largest = of_a·da + of_b·db + of_c·dc
  const T steep = root > 0 ? half / (2 * root) : T(0);
  const T of_a = T(0.5) + steep, of_b = T(0.5) - steep, of_c = root > 0 ? c / root : T(0);
  const T scale = T(0.7213475204444817) / largest;  // 1 / (2·ln 2)
  detail.by_db[0] = scale * (2 * of_a * ux + of_c * uy) * width;
  detail.by_db[1] = scale * (2 * of_b * uy + of_c * ux) * width;
  detail.by_db[2] = scale * (2 * of_a * vx + of_c * vy) * height;
  detail.by_db[3] = scale * (2 * of_b * vy + of_c * vx) * height;
  return detail;
}

}  // namespace texturing
}  // namespace tetragan
