// Arithmetic of `environment_shading`, shared by host and device, for one surface point.
//
//   directions_of ─▶ gather (texels) ─▶ reflect, or reflect_gradient
//
// The CUDA kernels call them one after the other. The CPU kernel runs all but `gather` on vectors of points.
#pragma once
#include "common/host_device.h"

namespace tetragan {
namespace shading {

constexpr double kPi = 3.14159265358979323846;
constexpr double kDielectricF0 = 0.04, kMinCosine = 1e-4, kMinAlbedo = 1e-4, kMinLength = 1e-12;

// Equirectangular images of 3 channels, and a table of 2. rows: without the one more at each end.
template <class T>
struct Environment {
  const T *mirror, *filtered, *irradiance, *table, *knots;
  int32_t mirror_rows, mirror_columns, filtered_rows, filtered_columns, levels, irradiance_rows, irradiance_columns,
      table_side;
};

template <class T>
struct Surface {
  T normal[3], eye[3], base[3], metallic, roughness;
};

// Where a direction points in an equirectangular image, both in [0, 1].
template <class T>
struct Angles {
  T u, v;
};

// On a card, quotients and roots of floats may be off by two units in the last place. Correct rounding would take a branch for tiny
// and huge operands, which do not occur here, and a third of the instructions.
#ifdef __CUDA_ARCH__
TETRAGAN_HD float divide(float a, float b) { return __fdividef(a, b); }
TETRAGAN_HD float inverse_root(float x) { return rsqrtf(x); }
#else
TETRAGAN_HD float divide(float a, float b) { return a / b; }
TETRAGAN_HD float inverse_root(float x) { return 1 / std::sqrt(x); }
#endif
TETRAGAN_HD double divide(double a, double b) { return a / b; }
TETRAGAN_HD double inverse_root(double x) { return 1 / std::sqrt(x); }

// Within 1.1e-7 for float: a polynomial in place of a call, so that the compiler can vectorize.
TETRAGAN_HD double arc_tangent(double y, double x) { return std::atan2(y, x); }
TETRAGAN_HD float arc_tangent(float y, float x) {
  const float rise = std::fabs(y), run = std::fabs(x);
  const bool steep = rise > run;
  const float small = steep ? run : rise, large = steep ? rise : run;
  const float t = small == large ? 1.0f : divide(small, large), s = t * t;  // infinity over infinity is 1 too
  float p = 0.0024567014f;
  p = p * s - 0.0144012545f;
  p = p * s + 0.0397810321f;
  p = p * s - 0.0723483827f;
  p = p * s + 0.1049893501f;
  p = p * s - 0.1416122544f;
  p = p * s + 0.1998590606f;
  p = p * s - 0.3333259696f;
  p = p * s + 0.9999998864f;
  const float angle = p * t, turned = static_cast<float>(kPi / 2) - angle;
  const float first = steep ? turned : angle, second = static_cast<float>(kPi) - first;
  return std::copysign(x < 0 ? second : first, y);
}

template <class T>
TETRAGAN_HD bool at_pole(T flat) {
  return flat < T(2e-12);
}

template <class T>
TETRAGAN_HD Angles<T> angles_of(const T* d) {
  const T flat = d[0] * d[0] + d[2] * d[2] + T(1e-12);
  return {T(0.5) + arc_tangent(d[2], at_pole(flat) ? T(1e-6) : d[0]) * T(0.5 / kPi),
          T(0.5) - arc_tangent(d[1], std::sqrt(flat)) * T(1 / kPi)};
}

// Adds the gradient of a direction to `out`. At a pole, u has none.
template <class T>
TETRAGAN_HD void angles_gradient(const T* d, T by_u, T by_v, T* out) {
  const T plane = d[0] * d[0] + d[2] * d[2], flat = plane + T(1e-12), ring = std::sqrt(flat);
  const T around = at_pole(flat) ? T(0) : divide(by_u * T(0.5 / kPi), at_pole(flat) ? T(1) : plane);
  const T rise = divide(by_v * T(1 / kPi), flat + d[1] * d[1]), along = divide(rise * d[1], ring);
  out[0] += along * d[0] - around * d[2];
  out[1] -= rise * ring;
  out[2] += along * d[2] + around * d[0];
}

// A vector of unit length, and what the vector was multiplied with.
template <class T>
struct Unit {
  T at[3], scale;
};

template <class T>
TETRAGAN_HD Unit<T> unit_of(const T* vector) {
  const T squared = vector[0] * vector[0] + vector[1] * vector[1] + vector[2] * vector[2];
  Unit<T> unit;
  unit.scale = squared < T(kMinLength * kMinLength) ? T(1 / kMinLength) : inverse_root(squared);
  for (int k = 0; k < 3; ++k) unit.at[k] = vector[k] * unit.scale;
  return unit;
}

// Turns the gradient of the unit vector into that of the vector.
template <class T>
TETRAGAN_HD void unit_gradient(const Unit<T>& unit, T* gradient) {
  const T along = unit.at[0] * gradient[0] + unit.at[1] * gradient[1] + unit.at[2] * gradient[2];
  const T kept = unit.scale < T(1 / kMinLength) ? along : T(0);  // a vector that is too short is only multiplied
  for (int k = 0; k < 3; ++k) gradient[k] = (gradient[k] - unit.at[k] * kept) * unit.scale;
}

// A point's normal and view direction, the latter mirrored at the normal, and where this and the normal point.
template <class T>
struct Directions {
  Unit<T> normal, eye;
  T facing, mirrored[3];
  Angles<T> reflection, up;
};

template <class T>
TETRAGAN_HD Directions<T> directions_of(const T* normal, const T* eye) {
  Directions<T> d;
  d.normal = unit_of(normal);
  d.eye = unit_of(eye);
  d.facing = d.normal.at[0] * d.eye.at[0] + d.normal.at[1] * d.eye.at[1] + d.normal.at[2] * d.eye.at[2];
  for (int k = 0; k < 3; ++k) d.mirrored[k] = T(2) * d.facing * d.normal.at[k] - d.eye.at[k];
  d.reflection = angles_of(d.mirrored);
  d.up = angles_of(d.normal.at);
  return d;
}

// NaN gives index 0 and a NaN weight: the result is NaN, never an access out of bounds.
template <class T>
TETRAGAN_HD int32_t index_below(T position, int32_t last) {
  if (!(position > T(0))) return 0;
  return position < static_cast<T>(last) ? static_cast<int32_t>(position) : last;
}

// The four texels around a place in an image, and where the place lies between them. width, height: of the image in
// texels, the slopes of x and y along the image (0 where they are bounded).
template <class T, int kChannels>
struct Corners {
  T upper_left[kChannels], upper_right[kChannels], lower_left[kChannels], lower_right[kChannels], x, y, width, height;
};

// What a point's look-ups read: the images of the two roughnesses around its own, the share of the rougher one, and how
// it changes with the roughness; irradiance / π; and the table of the split sum.
template <class T>
struct Texels {
  Corners<T, 3> rougher, smoother, white;
  Corners<T, 2> table;
  T share, share_slope;
};

template <class T, int kChannels>
TETRAGAN_HD void read(const T* image, int32_t columns, int32_t left, int32_t right, int32_t upper, int32_t lower,
                      Corners<T, kChannels>& out) {
  const uint32_t above = static_cast<uint32_t>(upper) * static_cast<uint32_t>(columns);
  const uint32_t below = static_cast<uint32_t>(lower) * static_cast<uint32_t>(columns);
  const T *upper_left = image + kChannels * (above + left), *upper_right = image + kChannels * (above + right);
  const T *lower_left = image + kChannels * (below + left), *lower_right = image + kChannels * (below + right);
  for (int k = 0; k < kChannels; ++k) {
    out.upper_left[k] = upper_left[k];
    out.upper_right[k] = upper_right[k];
    out.lower_left[k] = lower_left[k];
    out.lower_right[k] = lower_right[k];
  }
}

template <class T>
TETRAGAN_HD void read_image(const T* image, int32_t rows, int32_t columns, const Angles<T>& angles, Corners<T, 3>& out) {
  const T across = angles.u * columns - T(0.5), down = angles.v * rows + T(0.5);
  const bool before = across < T(0);
  const int32_t left = before ? columns - 1 : index_below(across, columns - 1), upper = index_below(down, rows);
  read(image, columns, left, left + 1 == columns ? 0 : left + 1, upper, upper + 1, out);
  out.x = before ? across + T(1) : across - left;
  out.y = down - upper;
  out.width = static_cast<T>(columns);
  out.height = static_cast<T>(rows);
}

template <class T>
TETRAGAN_HD void read_table(const Environment<T>& e, T facing, T roughness, Corners<T, 2>& out) {
  const T cosine = facing < T(kMinCosine) ? T(kMinCosine) : facing;  // NaN stays
  const T last = static_cast<T>(e.table_side - 1), across = cosine * last, down = roughness * last;
  const T column = across <= T(0) ? T(0) : across >= last ? last : across;
  const T row = down <= T(0) ? T(0) : down >= last ? last : down;
  const int32_t left = index_below(column, e.table_side - 2), upper = index_below(row, e.table_side - 2);
  read(e.table, e.table_side, left, left + 1, upper, upper + 1, out);
  out.x = column - left;
  out.y = row - upper;
  out.width = facing >= T(kMinCosine) && across < last ? last : T(0);
  out.height = down > T(0) && down < last ? last : T(0);
}

template <class T>
TETRAGAN_HD Texels<T> gather(const Environment<T>& e, const Directions<T>& d, T roughness) {
  Texels<T> texels;
  int32_t upper = 1;
  TETRAGAN_ROLLED
  for (int32_t k = 1; k < e.levels; ++k) upper += roughness > e.knots[k] ? 1 : 0;  // no branch that is hard to predict
  const T lower = e.knots[upper - 1], higher = e.knots[upper], step = divide(T(1), higher - lower);
  const T position = (roughness - lower) * step;
  texels.share = position < T(0) ? T(0) : position > T(1) ? T(1) : position;
  texels.share_slope = roughness >= lower && roughness <= higher ? step : T(0);  // at a knot, `position` may round beyond 1
  const int64_t size = (static_cast<int64_t>(e.filtered_rows) + 2) * e.filtered_columns * 3;
  const bool sharp = upper == 1;
  read_image(e.filtered + (upper - 1) * size, e.filtered_rows, e.filtered_columns, d.reflection, texels.rougher);
  read_image(sharp ? e.mirror : e.filtered + (upper - 2) * size, sharp ? e.mirror_rows : e.filtered_rows,
             sharp ? e.mirror_columns : e.filtered_columns, d.reflection, texels.smoother);
  read_image(e.irradiance, e.irradiance_rows, e.irradiance_columns, d.up, texels.white);
  read_table(e, d.facing, roughness, texels.table);
  return texels;
}

// Bilinear values, and their slopes along the image.
template <class T, int kChannels>
struct Blend {
  T value[kChannels], by_x[kChannels], by_y[kChannels];
};

template <class T, int kChannels>
TETRAGAN_HD Blend<T, kChannels> blend(const Corners<T, kChannels>& c) {
  Blend<T, kChannels> out;
  const T left = T(1) - c.x, above = T(1) - c.y;
  for (int k = 0; k < kChannels; ++k) {
    const T p = c.upper_left[k], q = c.upper_right[k], r = c.lower_left[k], s = c.lower_right[k];
    out.value[k] = above * (left * p + c.x * q) + c.y * (left * r + c.x * s);
    out.by_x[k] = (above * (q - p) + c.y * (s - r)) * c.width;
    out.by_y[k] = (left * (r - p) + c.x * (s - q)) * c.height;
  }
  return out;
}

// What the look-ups of a point give: radiance around the mirrored direction, filtered by the lobe of the roughness;
// irradiance / π; and the split sum, of which the layer reflects f0·value[0] + value[1].
template <class T>
struct Found {
  Blend<T, 3> around, white;
  Blend<T, 2> sum;
  T around_by_roughness[3];
};

template <class T>
TETRAGAN_HD Found<T> blend_all(const Texels<T>& texels) {
  Found<T> found;
  const Blend<T, 3> rougher = blend(texels.rougher), smoother = blend(texels.smoother);
  for (int k = 0; k < 3; ++k) {
    const T rise = rougher.value[k] - smoother.value[k];
    found.around.value[k] = smoother.value[k] + rise * texels.share;
    found.around.by_x[k] = smoother.by_x[k] + (rougher.by_x[k] - smoother.by_x[k]) * texels.share;
    found.around.by_y[k] = smoother.by_y[k] + (rougher.by_y[k] - smoother.by_y[k]) * texels.share;
    found.around_by_roughness[k] = rise * texels.share_slope;
  }
  found.white = blend(texels.white);
  found.sum = blend(texels.table);
  return found;
}

// What a point reflects of uniform light, before the colors come in.
template <class T>
struct Layer {
  T loss, loss_slope;    // what single scattering loses, and how that changes with the split sum (0 where it is bounded)
  T dielectric, clear;  // what the dielectric layer reflects once, and what it lets through
};

template <class T>
TETRAGAN_HD Layer<T> layer_of(const T* sum) {
  Layer<T> layer;
  const T single = sum[0] + sum[1];
  const T inverse = divide(T(1), single < T(kMinAlbedo) ? T(kMinAlbedo) : single);
  layer.loss = inverse - T(1);
  layer.loss_slope = single < T(kMinAlbedo) ? T(0) : -inverse * inverse;
  layer.dielectric = T(kDielectricF0) * sum[0] + sum[1];
  layer.clear = T(1) - layer.dielectric * (T(1) + T(kDielectricF0) * layer.loss);
  return layer;
}

template <class T>
TETRAGAN_HD T f0_of(T base, T metallic) {
  return T(kDielectricF0) + (base - T(kDielectricF0)) * metallic;
}

// specular, diffuse [3]: radiance towards the eye.
template <class T>
TETRAGAN_HD void reflect(const Texels<T>& texels, const T* base, T metallic, T* specular, T* diffuse) {
  const Found<T> found = blend_all(texels);
  const Layer<T> layer = layer_of(found.sum.value);
  for (int k = 0; k < 3; ++k) {
    const T f0 = f0_of(base[k], metallic);
    specular[k] = found.around.value[k] * ((f0 * found.sum.value[0] + found.sum.value[1]) * (T(1) + f0 * layer.loss));
    diffuse[k] = found.white.value[k] * (base[k] * (T(1) - metallic) * layer.clear);
  }
}

// The gradient of a point from those of its two radiances.
template <class T>
TETRAGAN_HD Surface<T> reflect_gradient(const Directions<T>& d, const Texels<T>& texels, const Surface<T>& s,
                                        const T* of_specular, const T* of_diffuse) {
  const Found<T> found = blend_all(texels);
  const T* sum = found.sum.value;
  const Layer<T> layer = layer_of(sum);
  const T rest = T(1) - s.metallic;
  Surface<T> g;
  g.metallic = g.roughness = 0;
  T of_scale = 0, of_bias = 0, of_loss = 0, of_clear = 0;
  Angles<T> of_reflection = {0, 0}, of_normal = {0, 0};
  for (int k = 0; k < 3; ++k) {
    const T f0 = f0_of(s.base[k], s.metallic), single = f0 * sum[0] + sum[1], factor = T(1) + f0 * layer.loss;
    const T of_around = of_specular[k] * single * factor, of_albedo = of_specular[k] * found.around.value[k];
    of_reflection.u += of_around * found.around.by_x[k];
    of_reflection.v += of_around * found.around.by_y[k];
    g.roughness += of_around * found.around_by_roughness[k];
    const T of_white = of_diffuse[k] * s.base[k] * rest, of_base = of_diffuse[k] * found.white.value[k];
    of_normal.u += of_white * layer.clear * found.white.by_x[k];
    of_normal.v += of_white * layer.clear * found.white.by_y[k];
    of_clear += of_white * found.white.value[k];
    const T of_f0 = of_albedo * (sum[0] * factor + single * layer.loss);
    of_scale += of_albedo * factor * f0;
    of_bias += of_albedo * factor;
    of_loss += of_albedo * single * f0;
    g.base[k] = of_f0 * s.metallic + of_base * rest * layer.clear;
    g.metallic += of_f0 * (s.base[k] - T(kDielectricF0)) - of_base * s.base[k] * layer.clear;
  }
  // clear = 1 − (F·scale + bias)·(1 + F·loss), loss = 1 / (scale + bias) − 1
  const T through = of_clear * (T(1) + T(kDielectricF0) * layer.loss);
  of_loss -= of_clear * layer.dielectric * T(kDielectricF0);
  of_scale += of_loss * layer.loss_slope - through * T(kDielectricF0);
  of_bias += of_loss * layer.loss_slope - through;
  g.roughness += of_scale * found.sum.by_y[0] + of_bias * found.sum.by_y[1];
  // The mirrored direction is 2 (n·e) n − e.
  T of_mirrored[3] = {0, 0, 0};
  angles_gradient(d.mirrored, of_reflection.u, of_reflection.v, of_mirrored);
  T of_facing = of_scale * found.sum.by_x[0] + of_bias * found.sum.by_x[1];
  for (int k = 0; k < 3; ++k) of_facing += T(2) * of_mirrored[k] * d.normal.at[k];
  for (int k = 0; k < 3; ++k) {
    g.normal[k] = T(2) * d.facing * of_mirrored[k] + of_facing * d.eye.at[k];
    g.eye[k] = of_facing * d.normal.at[k] - of_mirrored[k];
  }
  angles_gradient(d.normal.at, of_normal.u, of_normal.v, g.normal);
  unit_gradient(d.normal, g.normal);
  unit_gradient(d.eye, g.eye);
  return g;
}

}  // namespace shading
}  // namespace tetragan
