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

struct Point {
  double x, y;
  bool usable;  // finite, in front of the camera, not too far off the screen
};

TETRAGAN_HD Point screen_point(double x, double y, double w, int32_t height, int32_t width) {
  Point p;
  const double inverse = 1.0 / w;
  p.x = (x * inverse + 1.0) * (0.5 * width);
  p.y = (y * inverse + 1.0) * (0.5 * height);
  p.usable = w >= raster::kMinW && p.x > -raster::kMaxPixel && p.x < raster::kMaxPixel && p.y > -raster::kMaxPixel &&
             p.y < raster::kMaxPixel;
  return p;
}

// Along and across a pair's direction: x and y for pairs within a row, y and x within a column.
TETRAGAN_HD double along(const Point& p, bool vertical) { return vertical ? p.y : p.x; }
TETRAGAN_HD double across(const Point& p, bool vertical) { return vertical ? p.x : p.y; }

// Where the line across = center meets the edge a–b, measured along; the same number for both orders of a and b.
TETRAGAN_HD double crossing(const Point& a, const Point& b, double center, bool vertical) {
  const bool ordered = across(a, vertical) < across(b, vertical);
  const Point &low = ordered ? a : b, &high = ordered ? b : a;
  const double slope = (along(high, vertical) - along(low, vertical)) / (across(high, vertical) - across(low, vertical));
  return along(low, vertical) + (center - across(low, vertical)) * slope;
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

TETRAGAN_HD bool known_vertices(const int32_t* face, int64_t num_vertices) {
  return face[0] >= 0 && face[0] < num_vertices && face[1] >= 0 && face[1] < num_vertices && face[2] >= 0 &&
         face[2] < num_vertices;
}

// points: of all `num_vertices` vertices; triangles with other ids end the walk. `face`, `target`: the triangles of the
// nearer and the farther pixel (target −1: background).
TETRAGAN_HD Silhouette find_silhouette(const Point* points, const int32_t* faces, const int32_t* neighbors,
                                       int32_t num_faces, int64_t num_vertices, const Pair& pair, int32_t face,
                                       int32_t target) {
  const Silhouette none = {-1, 0.0};
  int entry = -1;
  for (int step = 0; step < kMaxSteps; ++step) {
    const int32_t* f = faces + 3 * static_cast<int64_t>(face);
    if (!known_vertices(f, num_vertices)) return none;
    const Point p[3] = {points[f[0]], points[f[1]], points[f[2]]};
    if (!(p[0].usable && p[1].usable && p[2].usable)) return none;
    int exit = -1;
    double at = 0;
    for (int k = 0; k < 3; ++k) {
      const Point &a = p[next_corner(k)], &b = p[last_corner(k)];
      if (k == entry || (across(a, pair.vertical) <= pair.center) == (across(b, pair.vertical) <= pair.center)) continue;
      const double here = crossing(a, b, pair.center, pair.vertical);
      if (exit < 0 || pair.sign * here > pair.sign * at) {
        exit = k;
        at = here;
      }
    }
    if (exit < 0) return none;
    const double d = pair.sign * (at - pair.start);
    if (d > 1) return none;
    const Point &a = p[next_corner(exit)], &b = p[last_corner(exit)];
    const double rise = across(b, pair.vertical) - across(a, pair.vertical);
    const double run = along(b, pair.vertical) - along(a, pair.vertical);
    const int32_t next = neighbors[3 * static_cast<int64_t>(face) + exit];
    bool silhouette = next < 0 || next >= num_faces;
    int next_entry = -1;
    if (!silhouette) {
      const int32_t* g = faces + 3 * static_cast<int64_t>(next);
      if (!known_vertices(g, num_vertices)) return none;
      const int32_t va = f[next_corner(exit)], vb = f[last_corner(exit)];
      for (int k = 0; k < 3; ++k) {
        const int32_t ga = g[next_corner(k)], gb = g[last_corner(k)];
        if ((ga == va && gb == vb) || (ga == vb && gb == va)) next_entry = k;
      }
      if (next_entry < 0) return none;
      const Point& apex = points[g[next_entry]];
      if (!apex.usable) return none;
      // The apex lies ahead of the edge; behind it, the surface folds back.
      const double side = rise * (along(apex, pair.vertical) - along(a, pair.vertical)) -
                          run * (across(apex, pair.vertical) - across(a, pair.vertical));
      silhouette = pair.sign * (rise > 0 ? side : -side) < 0;
    }
    if (silhouette) {
      const double steepness = rise < 0 ? -rise : rise, lean = run < 0 ? -run : run;
      if (pair.vertical ? steepness <= lean : steepness < lean) return none;
      return {3 * face + exit, d > 0 ? d : 0.0};
    }
    if (next == target) return none;
    face = next;
    entry = next_entry;
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
