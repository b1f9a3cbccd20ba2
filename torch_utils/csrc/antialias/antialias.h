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

// In pixels. x is NaN unless the point is finite, in front of the camera and not too far off the screen.
struct alignas(16) Point {
  double x, y;
};

TETRAGAN_HD Point screen_point(double x, double y, double w, int32_t height, int32_t width) {
  Point p;
  const double inverse = 1.0 / w;
  p.x = (x * inverse + 1.0) * (0.5 * width);
  p.y = (y * inverse + 1.0) * (0.5 * height);
  const bool usable = w >= raster::kMinW && p.x > -raster::kMaxPixel && p.x < raster::kMaxPixel && p.y > -raster::kMaxPixel &&
                      p.y < raster::kMaxPixel;
  if (!usable) p.x = static_cast<double>(NAN);
  return p;
}

TETRAGAN_HD bool usable(const Point& p) { return p.x == p.x; }

// A point along and across a pair's direction: x and y for pairs within a row, y and x within a column.
struct Turned {
  double along, across;
};

TETRAGAN_HD Turned turned(const Point& p, bool vertical) { return {vertical ? p.y : p.x, vertical ? p.x : p.y}; }

// A quotient of differences of pixel coordinates; denominator > 0. On a card, these are the steps of an ordinary division, but for
// the branch of numbers near the ends of the range, into which a numerator of zero would fall, too.
#ifdef __CUDA_ARCH__
TETRAGAN_HD double rough_inverse(double x) {
#ifdef __CUDACC__
  double inverse;
  asm("rcp.approx.ftz.f64 %0, %1;" : "=d"(inverse) : "d"(x));
  return inverse;
#else
  return __longlong_as_double(__double_as_longlong(1 / x) >> 32 << 32);
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

// Where the line across = center meets the edge a–b, measured along; the same number for both orders of a and b.
TETRAGAN_HD double crossing(const Turned& a, const Turned& b, double center) {
  const bool ordered = a.across < b.across;
  const Turned low = {ordered ? a.along : b.along, ordered ? a.across : b.across};
  const Turned high = {ordered ? b.along : a.along, ordered ? b.across : a.across};
  const double slope = quotient(high.along - low.along, high.across - low.across);
  return low.along + (center - low.across) * slope;
}

// The pair's silhouette: edge `slot` = 3·face + edge (−1: none) at distance `d` from the nearer center.
struct Silhouette {
  int32_t slot;
  double d;
};

struct Pair {
  double start, center;  // the nearer center, along and across
  double sign;           // +1 if the farther pixel lies at greater `along`
  bool vertical;
};

TETRAGAN_HD int next_corner(int k) { return k == 2 ? 0 : k + 1; }
TETRAGAN_HD int last_corner(int k) { return k == 0 ? 2 : k - 1; }

// The vertices of a face.
struct Face {
  int32_t a, b, c;

  // num_vertices: at most 2³¹, so that a negative id is out of range, too.
  TETRAGAN_HD bool known(uint32_t num_vertices) const {
    return static_cast<uint32_t>(a) < num_vertices && static_cast<uint32_t>(b) < num_vertices &&
           static_cast<uint32_t>(c) < num_vertices;
  }
};

TETRAGAN_HD Face face_at(const int32_t* faces, int32_t face) {
  const int32_t* f = faces + 3 * static_cast<int64_t>(face);
  return {f[0], f[1], f[2]};
}

// The corner opposite the edge between vertices p and q, or −1.
TETRAGAN_HD int corner_opposite(const Face& f, int32_t p, int32_t q) {
  const auto joins = [p, q](int32_t s, int32_t t) { return ((s == p) & (t == q)) | ((s == q) & (t == p)); };
  return joins(f.a, f.b) ? 2 : joins(f.c, f.a) ? 1 : joins(f.b, f.c) ? 0 : -1;
}

// Where a walk leaves a triangle: by edge `number` (−1: nowhere), from vertex `from` to vertex `to`.
struct Exit {
  int number;
  double at;
  Turned a, b;
  int32_t from, to;
};

// Of the edges that the center line crosses, but for the entry, the one farthest along. The corners are turned in registers, so that
// no array is indexed by a variable and the division exists once.
TETRAGAN_HD Exit find_exit(Turned a, Turned b, Turned c, Face f, int entry, const Pair& pair) {
  Exit exit = {-1, 0, {0, 0}, {0, 0}, -1, -1};
  TETRAGAN_ROLLED
  for (int k = 0; k < 3; ++k) {
    if (k != entry && (b.across <= pair.center) != (c.across <= pair.center)) {
      const double here = crossing(b, c, pair.center);
      if (exit.number < 0 || pair.sign * here > pair.sign * exit.at) exit = {k, here, b, c, f.b, f.c};
    }
    const Turned first = a;
    a = b;
    b = c;
    c = first;
    f = {f.b, f.c, f.a};
  }
  return exit;
}

// points: of all `num_vertices` vertices; triangles with other ids end the walk. `face`, `target`: the triangles of the
// nearer and the farther pixel (target −1: background).
TETRAGAN_HD Silhouette find_silhouette(const Point* points, const int32_t* faces, const int32_t* neighbors,
                                       int32_t num_faces, uint32_t num_vertices, const Pair& pair, int32_t face,
                                       int32_t target) {
  const Silhouette none = {-1, 0.0};
  int entry = -1;
  TETRAGAN_ROLLED
  for (int step = 0; step < kMaxSteps; ++step) {
    const Face f = face_at(faces, face);
    if (!f.known(num_vertices)) return none;
    const Point p0 = points[f.a], p1 = points[f.b], p2 = points[f.c];
    if (!(usable(p0) && usable(p1) && usable(p2))) return none;
    const Exit exit =
        find_exit(turned(p0, pair.vertical), turned(p1, pair.vertical), turned(p2, pair.vertical), f, entry, pair);
    if (exit.number < 0) return none;
    const double d = pair.sign * (exit.at - pair.start);
    if (d > 1) return none;
    const double rise = exit.b.across - exit.a.across, run = exit.b.along - exit.a.along;
    const int32_t next = neighbors[3 * static_cast<int64_t>(face) + exit.number];
    bool silhouette = next < 0 || next >= num_faces;
    if (!silhouette) {
      const Face g = face_at(faces, next);
      if (!g.known(num_vertices)) return none;
      entry = corner_opposite(g, exit.from, exit.to);
      if (entry < 0) return none;
      const Point apex = points[entry == 0 ? g.a : entry == 1 ? g.b : g.c];
      if (!usable(apex)) return none;
      // The apex lies ahead of the edge; behind it, the surface folds back.
      const Turned top = turned(apex, pair.vertical);
      const double side = rise * (top.along - exit.a.along) - run * (top.across - exit.a.across);
      silhouette = pair.sign * (rise > 0 ? side : -side) < 0;
    }
    if (silhouette) {
      const double steepness = rise < 0 ? -rise : rise, lean = run < 0 ? -run : run;
      if (pair.vertical ? steepness <= lean : steepness < lean) return none;
      return {3 * face + exit.number, d > 0 ? d : 0.0};
    }
    if (next == target) return none;
    face = next;
  }
  return none;
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
  const double g = grad * pair.sign;
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
