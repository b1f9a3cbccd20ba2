// Arithmetic of `antialias`, shared by host and device.
//
// Two adjacent pixels whose triangles differ form a pair. From the center of the nearer pixel we walk along the segment to the
// other center, triangle by triangle across shared edges, until we meet a silhouette: an edge that is open or whose next
// triangle folds back. The segment crosses it at a distance d in [0, 1] from the nearer center. The nearer surface covers
// d − ½ more than its pixels do, so that share of (nearer − farther) color is added to the farther pixel or, if it is
// negative, to the nearer one.
//
// A row's center line crosses an edge by the rasterizer's half-open rule, so a triangle is crossed at exactly two edges
// or none, and the walk needs no tolerance. An edge counts only for pairs across it: steep edges for pairs within a row,
// flat ones for pairs within a column. Either alone gives the exact derivative of the covered area; both would double it.
#pragma once
#include "rasterize/rasterize.h"

namespace tetragan {
namespace edges {

// A walk over more triangles than this stops and blends nothing; within a pixel's width there are rarely more.
constexpr int kMaxSteps = 64;

// A point in pixels, along and across a pair's direction: x and y for pairs within a row, y and x within a column. Both are NaN
// unless the point is finite, in front of the camera and not too far off the screen.
struct alignas(16) Point {
  double along, across;
};

TETRAGAN_HD Point screen_point(double x, double y, double w, int32_t height, int32_t width) {
  const double inverse = 1.0 / w;
  const Point p = {(x * inverse + 1.0) * (0.5 * width), (y * inverse + 1.0) * (0.5 * height)};
  const bool usable = w >= raster::kMinW && p.along > -raster::kMaxPixel && p.along < raster::kMaxPixel &&
                      p.across > -raster::kMaxPixel && p.across < raster::kMaxPixel;
  return usable ? p : Point{static_cast<double>(NAN), static_cast<double>(NAN)};
}

constexpr Point kNoPoint = {static_cast<double>(NAN), static_cast<double>(NAN)};

TETRAGAN_HD Point turned(const Point& p) { return {p.across, p.along}; }

// A quotient of differences of pixel coordinates; denominator ≠ 0. On a card, these are the steps of an ordinary division, but for
// the branch of numbers near the ends of the range, into which a numerator of zero would fall, too.
#ifdef __CUDA_ARCH__
TETRAGAN_HD double rough_inverse(double x) {
#ifdef __CUDACC__
  double inverse;
  asm("rcp.approx.ftz.f64 %0, %1;" : "=d"(inverse) : "d"(x));
  return inverse;
#else
  return __longlong_as_double(__double_as_longlong(1 / x) & ~0xffffffffLL);
#endif
}
TETRAGAN_HD double quotient(double numerator, double denominator) {
  double inverse = rough_inverse(denominator);
  const double error = fma(-denominator, inverse, 1.0);
  inverse = fma(inverse, fma(error, error, error), inverse);
  inverse = fma(inverse, fma(-denominator, inverse, 1.0), inverse);
  const double rounded = numerator * inverse;
  return fma(inverse, fma(-denominator, rounded, numerator), rounded);
}
#else
TETRAGAN_HD double quotient(double numerator, double denominator) { return numerator / denominator; }
#endif

// In pixels: the farther center, along, and both centers, across.
struct Pair {
  double far, center;
  bool forward;  // the farther pixel lies at greater `along`
  bool vertical;
};

TETRAGAN_HD Pair pair_at(int32_t row, int32_t column, bool vertical, bool forward) {
  const int32_t along = vertical ? row : column, across = vertical ? column : row;
  return {along + forward + 0.5, across + 0.5, forward, vertical};
}

TETRAGAN_HD int next_corner(int k) { return k == 2 ? 0 : k + 1; }
TETRAGAN_HD int last_corner(int k) { return k == 0 ? 2 : k - 1; }

// The vertices of a face.
struct Face {
  int32_t a, b, c;

  TETRAGAN_HD bool has(int32_t vertex) const { return (a == vertex) | (b == vertex) | (c == vertex); }
};

// The mesh as a walk sees it. points: for the pair's direction, and kNoPoint behind the last one, for ids out of range.
// num_vertices: at most 2³¹, so that a negative id is out of range, too.
struct Mesh {
  const Point* points;
  const int32_t *faces, *neighbors;
  uint32_t num_faces, num_vertices;

  // slot: 3·face.
  TETRAGAN_HD Face face(int32_t slot) const {
    const int32_t* f = faces + slot;
    return {f[0], f[1], f[2]};
  }
  TETRAGAN_HD Point point(int32_t vertex) const {
    const uint32_t place = static_cast<uint32_t>(vertex);
    return points[place < num_vertices ? place : num_vertices];
  }
};

// Whether a point lies to the left of the center line, on the way from the nearer center to the farther one. A point on the
// line counts as one of smaller `across`: the rasterizer's half-open rule.
TETRAGAN_HD bool is_left(const Point& p, const Pair& pair) { return (p.across > pair.center) == pair.forward; }

// An edge that the center line crosses: its end to the left and its end to the right. slot: 3·face + edge.
struct Edge {
  Point left, right;
  int32_t left_id, right_id, slot;

  TETRAGAN_HD double rise() const { return left.across - right.across; }
  TETRAGAN_HD double run() const { return left.along - right.along; }
};

template <class V>
TETRAGAN_HD V choose(int k, V first, V second, V third) {
  return k == 0 ? first : k == 1 ? second : third;
}

// Which edge of a triangle lies ahead: four bits for each set of corners to the left (bit k of the set: corner k), two for the
// corner at its left end and two for that at its right end; all are 0 if the center line misses the triangle. If the corners are
// in counterclockwise order, the left end is the one whose predecessor lies to the right, else the one whose successor does.
constexpr uint32_t edges_ahead(bool counterclockwise) {
  uint32_t table = 0;
  for (uint32_t to_the_left = 0; to_the_left < 8; ++to_the_left) {
    for (uint32_t left = 0; left < 3; ++left) {
      const uint32_t right = (left + (counterclockwise ? 2 : 1)) % 3;
      const bool is_ahead = (to_the_left >> left & 1) == 1 && (to_the_left >> right & 1) == 0;
      if (is_ahead) table |= (left | right << 2) << 4 * to_the_left;
    }
  }
  return table;
}
constexpr uint32_t kAheadIfCounterclockwise = edges_ahead(true), kAheadIfClockwise = edges_ahead(false);

// Where the center line leaves the first triangle, slot = 3·face; false if it does not.
TETRAGAN_HD bool first_exit(const Mesh& mesh, const Pair& pair, int32_t slot, Edge& edge) {
  const Face f = mesh.face(slot);
  const Point a = mesh.point(f.a), b = mesh.point(f.b), c = mesh.point(f.c);
  const double one = (b.along - a.along) * (c.across - a.across), other = (b.across - a.across) * (c.along - a.along);
  // Neither holds if a point is NaN.
  const uint32_t table = one > other ? kAheadIfCounterclockwise : one <= other ? kAheadIfClockwise : 0;
  const int four_bits = (is_left(a, pair) ? 4 : 0) | (is_left(b, pair) ? 8 : 0) | (is_left(c, pair) ? 16 : 0);
  const uint32_t ends = table >> four_bits & 15;
  if (ends == 0) return false;
  const int left = ends & 3, right = ends >> 2;
  edge.left = {choose(left, a.along, b.along, c.along), choose(left, a.across, b.across, c.across)};
  edge.right = {choose(right, a.along, b.along, c.along), choose(right, a.across, b.across, c.across)};
  edge.left_id = choose(left, f.a, f.b, f.c);
  edge.right_id = choose(right, f.a, f.b, f.c);
  edge.slot = slot + 3 - left - right;
  return true;
}

// Beyond the farther center, in pixels, by which rounding may put an edge at it.
constexpr double kRounding = 0x1p-30;

// Calls found(edge, rest) if the pair has a silhouette: edge = 3·face + its number, at distance rest = 1 − d from the farther center, in
// [0, 1] up to rounding. `slot`: 3·face of the nearer pixel. `target`: the farther pixel's face, −1: background.
// Behind an edge lies one new vertex, the apex. It takes the place of the edge's end on its side of the center line.
template <class F>
TETRAGAN_HD void find_silhouette(const Mesh& mesh, const Pair& pair, int32_t slot, int32_t target, const F& found) {
  Edge edge;
  if (!first_exit(mesh, pair, slot, edge)) return;
  double rise = edge.rise(), run = edge.run();
  TETRAGAN_ROLLED
  for (int step = 1;; ++step) {
    const int32_t next = mesh.neighbors[edge.slot];
    if (static_cast<uint32_t>(next) >= mesh.num_faces) break;
    const Face g = mesh.face(3 * next);
    // Neighbors across a seam, where each side has vertices of its own, share no edge: the walk ends there.
    if (!(g.has(edge.left_id) && g.has(edge.right_id))) return;
    const int32_t apex_id = g.a ^ g.b ^ g.c ^ edge.left_id ^ edge.right_id;  // the third one of g
    const Point apex = mesh.point(apex_id);
    // The apex lies ahead of the edge; behind it, the surface folds back.
    if (rise * (apex.along - edge.right.along) < run * (apex.across - edge.right.across)) break;
    if (next == target || step == kMaxSteps) return;
    const bool replaces_left = is_left(apex, pair);
    const int32_t replaced = replaces_left ? edge.left_id : edge.right_id;
    edge.slot = 3 * next + (replaced == g.a ? 0 : replaced == g.b ? 1 : 2);
    edge.left = replaces_left ? apex : edge.left;
    edge.right = replaces_left ? edge.right : apex;
    edge.left_id = replaces_left ? apex_id : edge.left_id;
    edge.right_id = replaces_left ? edge.right_id : apex_id;
    rise = edge.rise();
    run = edge.run();
    // The walk goes on unless the farther center lies behind the new edge, or the apex was NaN.
    if (!(rise * (pair.far - edge.right.along) >= run * (pair.center - edge.right.across))) return;
  }
  const double steepness = fabs(rise), lean = fabs(run);
  if (steepness < lean || (pair.vertical && steepness == lean)) return;
  const double at = edge.right.along + (pair.center - edge.right.across) * quotient(run, rise);
  const double rest = pair.forward ? pair.far - at : at - pair.far;
  if (rest >= -kRounding) found(edge.slot, rest);
}

// d − ½ = ½ − rest, for d ≥ 0.
template <class T>
TETRAGAN_HD T blend_at(double rest) {
  const T blend = static_cast<T>(0.5 - rest);
  return blend > T(-0.5) ? blend : T(-0.5);
}

// Gradient of d by the clip-space (x, y, w) of the edge's two vertices: adds grad·∂d to out[2][4] (x, y, z, w).
TETRAGAN_HD void distance_gradient(const double* a, const double* b, const Pair& pair, int32_t height, int32_t width,
                                   double grad, double* out) {
  const double wa = 1.0 / a[3], wb = 1.0 / b[3];
  const int first = pair.vertical ? 1 : 0, second = 1 - first;
  const double scale_along = 0.5 * (pair.vertical ? height : width), scale_across = 0.5 * (pair.vertical ? width : height);
  const double along_a = (a[first] * wa + 1) * scale_along, along_b = (b[first] * wb + 1) * scale_along;
  const double across_a = (a[second] * wa + 1) * scale_across, across_b = (b[second] * wb + 1) * scale_across;
  const double rise = across_b - across_a;
  const double t = (pair.center - across_a) / rise, slope = (along_b - along_a) / rise;
  const double g = pair.forward ? grad : -grad;
  const double by_along[2] = {g * (1 - t), g * t};
  const double by_across[2] = {-g * (1 - t) * slope, -g * t * slope};
  const double* vertex[2] = {a, b};
  const double inverse[2] = {wa, wb};
  for (int k = 0; k < 2; ++k) {
    const double of_first = by_along[k] * scale_along * inverse[k], of_second = by_across[k] * scale_across * inverse[k];
    out[4 * k + first] += of_first;
    out[4 * k + second] += of_second;
    out[4 * k + 3] -= (of_first * vertex[k][first] + of_second * vertex[k][second]) * inverse[k];
  }
}

}  // namespace edges
}  // namespace tetragan
