// Coverage of one triangle in one orthographic view, for host and device.
//
// Screen coordinates are pixels: the center of pixel (row, column) is at (column + ½, row + ½). A row belongs to a triangle
// when lowest y ≤ center < highest y, a column when left ≤ center < right: the rule of `rasterize`, so that of two triangles
// that share an edge, exactly one covers a pixel center on it.
#pragma once
#include "common/host_device.h"

namespace tetragan::silhouettes {

struct Point {
  double x, y;
};

// Triangles that reach farther, in pixels, are culled, as in `rasterize`; so are coordinates that are not finite.
constexpr double kMaxPixel = 1e9;

TETRAGAN_HD bool is_near(const Point& p) { return p.x > -kMaxPixel && p.x < kMaxPixel && p.y > -kMaxPixel && p.y < kMaxPixel; }

// The first pixel whose center is at `coordinate` or beyond, clamped to [0, side]; 0 for NaN.
TETRAGAN_HD int32_t first_center(double coordinate, int32_t side) {
  const double pixel = ceil(coordinate - 0.5);
  return !(pixel > 0) ? 0 : pixel >= side ? side : static_cast<int32_t>(pixel);
}

TETRAGAN_HD void swap_if_higher(Point& a, Point& b) {
  if (b.y < a.y) {
    const Point t = a;
    a = b;
    b = t;
  }
}

// Sorted by y, with the slopes of its sides. rows [begin, end) are those it covers; empty if it has no height, no area,
// or a coordinate that is not finite or too far away.
struct Triangle {
  Point a, b, c;
  double long_slope, first_slope, second_slope;
  bool long_is_left;
  int32_t begin, end;

  TETRAGAN_HD Triangle(Point p, Point q, Point r, int32_t side) : a(p), b(q), c(r), begin(0), end(0) {
    if (!(is_near(a) && is_near(b) && is_near(c))) return;
    swap_if_higher(a, b);
    swap_if_higher(b, c);
    swap_if_higher(a, b);
    const double area = (b.x - a.x) * (c.y - a.y) - (c.x - a.x) * (b.y - a.y);
    if (!(area < 0 || area > 0) || !(c.y > a.y)) return;
    long_slope = (c.x - a.x) / (c.y - a.y);
    first_slope = b.y > a.y ? (b.x - a.x) / (b.y - a.y) : 0;
    second_slope = c.y > b.y ? (c.x - b.x) / (c.y - b.y) : 0;
    long_is_left = area > 0;
    begin = first_center(a.y, side);
    end = first_center(c.y, side);
  }

  // Columns [left, right) of a row in [begin, end).
  TETRAGAN_HD void span(int32_t row, int32_t side, int32_t& left, int32_t& right) const {
    const double y = row + 0.5;
    const double on_long = a.x + (y - a.y) * long_slope;
    const double on_short = y < b.y ? a.x + (y - a.y) * first_slope : b.x + (y - b.y) * second_slope;
    left = first_center(long_is_left ? on_long : on_short, side);
    right = first_center(long_is_left ? on_short : on_long, side);
  }
};

}  // namespace tetragan::silhouettes
