// Arithmetic of `rasterize`, shared by host and device.
//
// Coverage by scan conversion in double precision. A row's center line c = row + ½ meets an edge a→b (a above b) when
// a.y ≤ c < b.y, at x = a.x + (c − a.y)·(b.x − a.x)/(b.y − a.y); a pixel is inside when left ≤ column + ½ < right. Both
// triangles of a shared edge compute the same x from the same two points in the same order, so no pixel on the edge is
// missed or drawn twice, for any winding. No operation may be contracted (-ffp-contract=off, --fmad=false).
//
// Triangles that cross the near plane are clipped in clip space (z + w ≥ 0, then w ≥ kMinW) and scan converted as a fan;
// the clip point on a shared edge runs from the inner to the outer vertex for both sides, so it is the same point.
// Barycentric weights always come from the unclipped triangle.
#pragma once
#include "common/host_device.h"

namespace tetragan {
namespace raster {

constexpr double kMinW = 1e-8;
// Screen positions beyond this many pixels would lose sub-pixel precision: such triangles are culled.
constexpr double kMaxPixel = 1e9;

enum VertexCode : int32_t { kVisible = 0, kClip = 1, kBad = 2 };

// A projected vertex: pixels from the corner of the image, z/w, and whether its triangles need clipping.
struct ScreenVertex {
  double x, y, z;
  int32_t code;
};

struct ClipVertex {
  double x, y, z, w;
};

// A projected triangle ready for scan conversion: vertices by increasing y, slopes dx/dy, the plane of z/w.
struct Spans {
  double x0, y0, x1, y1;
  double slope_long, slope_upper, slope_lower;
  double z0, dz_dx, dz_dy, z_min, z_max;
  int32_t row_begin, row_end;
  bool long_edge_left;
};

template <class V>
TETRAGAN_HD V clamp(V value, V low, V high) {  // NaN gives low
  const V lifted = value > low ? value : low;
  return lifted < high ? lifted : high;
}

TETRAGAN_HD double lower(double a, double b) { return b < a ? b : a; }
TETRAGAN_HD double higher(double a, double b) { return b > a ? b : a; }

// The smallest integer ≥ x, for x clamped to [low, high].
TETRAGAN_HD int32_t ceil_between(double x, int32_t low, int32_t high) {
  const double bounded = clamp(x, static_cast<double>(low), static_cast<double>(high));
  const int32_t whole = static_cast<int32_t>(bounded);  // towards zero
  return whole + (static_cast<double>(whole) < bounded ? 1 : 0);
}

TETRAGAN_HD ScreenVertex project(const ClipVertex& p, int32_t height, int32_t width) {
  ScreenVertex s;
  const bool finite = p.x - p.x == 0 && p.y - p.y == 0 && p.z - p.z == 0 && p.w - p.w == 0;
  const double inverse = 1.0 / p.w;
  s.x = (p.x * inverse + 1.0) * (0.5 * width);
  s.y = (p.y * inverse + 1.0) * (0.5 * height);
  s.z = p.z * inverse;
  s.code = !finite ? kBad : (p.w < kMinW || p.z < -p.w) ? kClip : kVisible;
  return s;
}

// False if the triangle covers no row or no column: outside the image, degenerate, between centers, or too far away.
TETRAGAN_HD bool prepare(const ScreenVertex& p0, const ScreenVertex& p1, const ScreenVertex& p2, int32_t height,
                         int32_t width, Spans& out) {
  const double low_y = lower(lower(p0.y, p1.y), p2.y), high_y = higher(higher(p0.y, p1.y), p2.y);
  out.row_begin = ceil_between(low_y - 0.5, 0, height);
  out.row_end = ceil_between(high_y - 0.5, 0, height);
  if (out.row_begin >= out.row_end) return false;
  const double low_x = lower(lower(p0.x, p1.x), p2.x), high_x = higher(higher(p0.x, p1.x), p2.x);
  if (ceil_between(low_x - 0.5, 0, width) >= ceil_between(high_x - 0.5, 0, width)) return false;
  if (!(low_x > -kMaxPixel && high_x < kMaxPixel && low_y > -kMaxPixel && high_y < kMaxPixel)) return false;

  // By increasing y, equal ones in input order; without branches, which would be mispredicted.
  const bool first = p1.y < p0.y;
  const ScreenVertex &low = first ? p1 : p0, &high = first ? p0 : p1;
  const bool above = p2.y < high.y, on_top = p2.y < low.y;
  const ScreenVertex &a = on_top ? p2 : low, &b = on_top ? low : above ? p2 : high, &c = above ? high : p2;
  const double bx = b.x - a.x, by = b.y - a.y, cx = c.x - a.x, cy = c.y - a.y;
  const double area = bx * cy - cx * by;
  if (area == 0) return false;
  out.x0 = a.x;
  out.y0 = a.y;
  out.x1 = b.x;
  out.y1 = b.y;
  out.slope_long = cx / cy;
  out.slope_upper = bx / by;  // not used if by = 0
  out.slope_lower = (c.x - b.x) / (c.y - b.y);
  out.long_edge_left = area > 0;
  const double bz = b.z - a.z, cz = c.z - a.z, inverse = 1.0 / area;
  out.z0 = a.z;
  out.dz_dx = (bz * cy - cz * by) * inverse;
  out.dz_dy = (bx * cz - cx * bz) * inverse;
  out.z_min = lower(lower(a.z, b.z), c.z);
  out.z_max = higher(higher(a.z, b.z), c.z);
  return true;
}

// The columns [begin, end) of one row of [row_begin, row_end).
TETRAGAN_HD void span(const Spans& t, int32_t row, int32_t width, int32_t& begin, int32_t& end) {
  const double center = row + 0.5;
  const double on_long = t.x0 + (center - t.y0) * t.slope_long;
  const double on_short =
      center < t.y1 ? t.x0 + (center - t.y0) * t.slope_upper : t.x1 + (center - t.y1) * t.slope_lower;
  begin = ceil_between((t.long_edge_left ? on_long : on_short) - 0.5, 0, width);
  end = ceil_between((t.long_edge_left ? on_short : on_long) - 0.5, 0, width);
}

// z/w at pixel centers of a row is row_depth + (column + ½)·dz_dx, kept within the triangle's own range.
TETRAGAN_HD double row_depth(const Spans& t, int32_t row) {
  return t.z0 + (row + 0.5 - t.y0) * t.dz_dy - t.x0 * t.dz_dx;
}

TETRAGAN_HD double depth_at(const Spans& t, double of_row, int32_t column) {
  return clamp(of_row + (column + 0.5) * t.dz_dx, t.z_min, t.z_max);
}

TETRAGAN_HD double plane_distance(const ClipVertex& p, int plane) { return plane == 0 ? p.z + p.w : p.w - kMinW; }

// Clip a triangle; polygon holds up to 5 vertices. Returns their number (0: fully clipped).
TETRAGAN_HD int clip(const ClipVertex* triangle, ClipVertex* polygon) {
  ClipVertex current[5];
  int count = 3;
  for (int i = 0; i < 3; ++i) current[i] = triangle[i];
  for (int plane = 0; plane < 2; ++plane) {
    int kept = 0;
    for (int i = 0; i < count; ++i) {
      const ClipVertex a = current[i], b = current[i + 1 == count ? 0 : i + 1];
      const double da = plane_distance(a, plane), db = plane_distance(b, plane);
      if (da >= 0) polygon[kept++] = a;
      if ((da >= 0) != (db >= 0)) {
        const ClipVertex& inner = da >= 0 ? a : b;
        const ClipVertex& outer = da >= 0 ? b : a;
        const double inner_distance = da >= 0 ? da : db, outer_distance = da >= 0 ? db : da;
        const double t = inner_distance / (inner_distance - outer_distance);
        polygon[kept++] = {inner.x + t * (outer.x - inner.x), inner.y + t * (outer.y - inner.y),
                           inner.z + t * (outer.z - inner.z), inner.w + t * (outer.w - inner.w)};
      }
    }
    count = kept;
    for (int i = 0; i < count; ++i) current[i] = polygon[i];
  }
  return count;
}

// NDC of a pixel's center along one axis.
TETRAGAN_HD double pixel_ndc(int32_t index, int32_t size) { return (2 * index + 1) / static_cast<double>(size) - 1.0; }

struct Center {
  double x, y;
};

// The width and height of a pixel in NDC.
struct PixelSize {
  double x, y;
};

TETRAGAN_HD PixelSize pixel_size(int32_t height, int32_t width) { return {2.0 / width, 2.0 / height}; }

// Perspective-correct barycentric weights at a pixel and their image-space derivatives.
//
// With p the pixel's NDC, q_k = (x_k − p.x·w_k, y_k − p.y·w_k) and e_k = q_{k+1} × q_{k+2}: u = e_0 / Σe, v = e_1 / Σe.
struct Weights {
  double qx[3], qy[3], w[3];
  double inverse_sum;  // 1 / Σe, or 0 if Σe vanishes
  double u, v;
  double e_dx[3], e_dy[3];  // derivatives of e_k by the pixel's position, in pixels
  double sum_dx, sum_dy;
};

TETRAGAN_HD Weights weights_at(const ClipVertex* p, const Center& center) {
  Weights s;
  for (int k = 0; k < 3; ++k) {
    s.qx[k] = p[k].x - center.x * p[k].w;
    s.qy[k] = p[k].y - center.y * p[k].w;
    s.w[k] = p[k].w;
  }
  double e[3];
  for (int k = 0; k < 3; ++k) {
    const int a = k == 2 ? 0 : k + 1, b = k == 0 ? 2 : k - 1;
    e[k] = s.qx[a] * s.qy[b] - s.qx[b] * s.qy[a];
  }
  const double sum = e[0] + e[1] + e[2];
  const double inverse = 1.0 / sum;
  s.inverse_sum = inverse - inverse == 0 ? inverse : 0.0;
  s.u = clamp(e[0] * s.inverse_sum, 0.0, 1.0);
  s.v = clamp(e[1] * s.inverse_sum, 0.0, 1.0 - s.u);
  return s;
}

// Fill e_dx, e_dy and return (du/dX, du/dY, dv/dX, dv/dY), X and Y in pixels.
TETRAGAN_HD void derivatives_at(Weights& s, const PixelSize& size, double* out) {
  s.sum_dx = 0;
  s.sum_dy = 0;
  for (int k = 0; k < 3; ++k) {
    const int a = k == 2 ? 0 : k + 1, b = k == 0 ? 2 : k - 1;
    s.e_dx[k] = (s.w[b] * s.qy[a] - s.w[a] * s.qy[b]) * size.x;
    s.e_dy[k] = (s.w[a] * s.qx[b] - s.w[b] * s.qx[a]) * size.y;
    s.sum_dx += s.e_dx[k];
    s.sum_dy += s.e_dy[k];
  }
  out[0] = (s.e_dx[0] - s.u * s.sum_dx) * s.inverse_sum;
  out[1] = (s.e_dy[0] - s.u * s.sum_dy) * s.inverse_sum;
  out[2] = (s.e_dx[1] - s.v * s.sum_dx) * s.inverse_sum;
  out[3] = (s.e_dy[1] - s.v * s.sum_dy) * s.inverse_sum;
}

// Gradient of one pixel's (u, v, z/w) and, with kDerivatives, of its derivatives: writes grad[12], the three vertices'
// (x, y, z, w). Nothing is added to zero, which no compiler may leave out.
template <bool kDerivatives>
TETRAGAN_HD void pixel_gradient(const ClipVertex* p, const Center& center, const PixelSize& size, const double* grad_rast,
                                const double* grad_db, double* grad) {
  Weights s = weights_at(p, center);
  const double u = s.u, v = s.v, t = 1.0 - u - v;
  double grad_u = grad_rast[0], grad_v = grad_rast[1];
  double grad_w[3], grad_z[3];

  const double w = u * p[0].w + v * p[1].w + t * p[2].w;
  const double z = u * p[0].z + v * p[1].z + t * p[2].z;
  const double inverse_w = w != 0 ? 1.0 / w : 0.0, of_z = grad_rast[2] * inverse_w, of_w = -of_z * z * inverse_w;
  const double weight[3] = {u, v, t};
  for (int k = 0; k < 3; ++k) {
    grad_z[k] = of_z * weight[k];
    grad_w[k] = of_w * weight[k];
  }
  grad_u += of_z * (p[0].z - p[2].z) + of_w * (p[0].w - p[2].w);
  grad_v += of_z * (p[1].z - p[2].z) + of_w * (p[1].w - p[2].w);

  double grad_sum = 0;
  double grad_qx[3] = {0, 0, 0}, grad_qy[3] = {0, 0, 0};
  if constexpr (kDerivatives) {
    double db[4];
    derivatives_at(s, size, db);
    double e_dx[3] = {grad_db[0], grad_db[2], 0}, e_dy[3] = {grad_db[1], grad_db[3], 0};
    const double of_sum_dx = -(u * grad_db[0] + v * grad_db[2]), of_sum_dy = -(u * grad_db[1] + v * grad_db[3]);
    grad_u -= (grad_db[0] * s.sum_dx + grad_db[1] * s.sum_dy) * s.inverse_sum;
    grad_v -= (grad_db[2] * s.sum_dx + grad_db[3] * s.sum_dy) * s.inverse_sum;
    grad_sum = -(grad_db[0] * db[0] + grad_db[1] * db[1] + grad_db[2] * db[2] + grad_db[3] * db[3]) * s.inverse_sum;
    for (int k = 0; k < 3; ++k) {
      const int a = k == 2 ? 0 : k + 1, b = k == 0 ? 2 : k - 1;
      const bool a_is_new = k == 0, b_is_new = k < 2;
      const double gx = (e_dx[k] + of_sum_dx) * s.inverse_sum * size.x;
      const double gy = (e_dy[k] + of_sum_dy) * s.inverse_sum * size.y;
      grad_w[b] += gx * s.qy[a] - gy * s.qx[a];
      grad_w[a] += gy * s.qx[b] - gx * s.qy[b];
      grad_qy[a] = a_is_new ? gx * s.w[b] : grad_qy[a] + gx * s.w[b];
      grad_qy[b] = b_is_new ? -gx * s.w[a] : grad_qy[b] - gx * s.w[a];
      grad_qx[b] = b_is_new ? gy * s.w[a] : grad_qx[b] + gy * s.w[a];
      grad_qx[a] = a_is_new ? -gy * s.w[b] : grad_qx[a] - gy * s.w[b];
    }
  }
  const double of_weights = (grad_u * u + grad_v * v) * s.inverse_sum;
  grad_sum = kDerivatives ? grad_sum - of_weights : -of_weights;
  const double grad_e[3] = {grad_u * s.inverse_sum + grad_sum, grad_v * s.inverse_sum + grad_sum, grad_sum};
  for (int k = 0; k < 3; ++k) {
    const int a = k == 2 ? 0 : k + 1, b = k == 0 ? 2 : k - 1;
    const bool a_is_new = !kDerivatives && k == 0, b_is_new = !kDerivatives && k < 2;
    grad_qx[a] = a_is_new ? grad_e[k] * s.qy[b] : grad_qx[a] + grad_e[k] * s.qy[b];
    grad_qy[b] = b_is_new ? grad_e[k] * s.qx[a] : grad_qy[b] + grad_e[k] * s.qx[a];
    grad_qx[b] = b_is_new ? -grad_e[k] * s.qy[a] : grad_qx[b] - grad_e[k] * s.qy[a];
    grad_qy[a] = a_is_new ? -grad_e[k] * s.qx[b] : grad_qy[a] - grad_e[k] * s.qx[b];
  }
  for (int k = 0; k < 3; ++k) {
    grad[4 * k + 0] = grad_qx[k];
    grad[4 * k + 1] = grad_qy[k];
    grad[4 * k + 2] = grad_z[k];
    grad[4 * k + 3] = grad_w[k] - center.x * grad_qx[k] - center.y * grad_qy[k];
  }
}

}  // namespace raster
}  // namespace tetragan
