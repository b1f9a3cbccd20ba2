// The inner loops of `triplane_sample` for one instruction set; see common/isa.h. Each texel is a run of channels, which the
// compiler turns into vector code; 8, 16 and 32 channels have loops of their own.
// build-flags: -ffp-contract=fast -fno-trapping-math -fno-math-errno
#include <cmath>
#include <cstdint>

#include "common/isa.h"
#include "triplane_sample/triplane_sample.h"
#include "triplane_sample/planes.h"


namespace tetragan::TETRAGAN_ISA {

namespace {

// kChannels 0: any number, known at run time only.
template <int kChannels>
TETRAGAN_HD int64_t count_of(int64_t channels) {
  return kChannels > 0 ? kChannels : channels;
}

template <int kChannels, class T>
inline void forward(const T* planes, const PlaneStrides& strides, int64_t channels, const T* points, int64_t count, T* out) {
  const int64_t width = count_of<kChannels>(channels);
  for (int64_t p = 0; p < count; ++p) {
    T* __restrict target = out + p * width;
    AxisLookup<T> axes[3];
    for (int a = 0; a < 3; ++a) axes[a] = look_up_axis<T>(points[3 * p + a], strides.size);
    for (int plane = 0; plane < 3; ++plane) {
      const AxisLookup<T>&u = axes[plane_width_axis(plane)], &v = axes[plane_height_axis(plane)];
      const T* base = planes + plane * strides.plane;
      const T* __restrict t00 = base + v.low * strides.row + u.low * strides.column;
      const T* __restrict t01 = base + v.low * strides.row + u.high * strides.column;
      const T* __restrict t10 = base + v.high * strides.row + u.low * strides.column;
      const T* __restrict t11 = base + v.high * strides.row + u.high * strides.column;
      const T w00 = (1 - v.fraction) * (1 - u.fraction), w01 = (1 - v.fraction) * u.fraction;
      const T w10 = v.fraction * (1 - u.fraction), w11 = v.fraction * u.fraction;
      if (plane == 0) {
        for (int64_t c = 0; c < width; ++c) target[c] = w00 * t00[c] + w01 * t01[c] + w10 * t10[c] + w11 * t11[c];
      } else {
        for (int64_t c = 0; c < width; ++c) target[c] += w00 * t00[c] + w01 * t01[c] + w10 * t10[c] + w11 * t11[c];
      }
    }
  }
}

template <int kChannels, class T>
inline void backward_points(const T* planes, const PlaneStrides& strides, int64_t channels, const T* points, int64_t count,
                            const T* grad, T* grad_points) {
  const int64_t width = count_of<kChannels>(channels);
  for (int64_t p = 0; p < count; ++p) {
    const T* __restrict g = grad + p * width;
    AxisLookup<T> axes[3];
    T sums[3] = {};
    for (int a = 0; a < 3; ++a) axes[a] = look_up_axis<T>(points[3 * p + a], strides.size);
    for (int plane = 0; plane < 3; ++plane) {
      const int along_u = plane_width_axis(plane), along_v = plane_height_axis(plane);
      const AxisLookup<T>&u = axes[along_u], &v = axes[along_v];
      const T* base = planes + plane * strides.plane;
      const T* __restrict t00 = base + v.low * strides.row + u.low * strides.column;
      const T* __restrict t01 = base + v.low * strides.row + u.high * strides.column;
      const T* __restrict t10 = base + v.high * strides.row + u.low * strides.column;
      const T* __restrict t11 = base + v.high * strides.row + u.high * strides.column;
      // Eight running sums: they vectorise, and do not depend on the instruction set's width.
      T top[8] = {}, bottom[8] = {}, left[8] = {}, right[8] = {};
      int64_t c = 0;
      for (; c + 8 <= width; c += 8) {
        for (int k = 0; k < 8; ++k) {
          const T gk = g[c + k];
          const T a = t00[c + k], b = t01[c + k], d = t10[c + k], e = t11[c + k];
          top[k] += gk * (b - a);
          bottom[k] += gk * (e - d);
          left[k] += gk * (d - a);
          right[k] += gk * (e - b);
        }
      }
      for (; c < width; ++c) {
        top[0] += g[c] * (t01[c] - t00[c]);
        bottom[0] += g[c] * (t11[c] - t10[c]);
        left[0] += g[c] * (t10[c] - t00[c]);
        right[0] += g[c] * (t11[c] - t01[c]);
      }
      T du = 0, dv = 0;
      for (int k = 0; k < 8; ++k) {
        du += (1 - v.fraction) * top[k] + v.fraction * bottom[k];
        dv += (1 - u.fraction) * left[k] + u.fraction * right[k];
      }
      sums[along_u] += du * u.slope;
      sums[along_v] += dv * v.slope;
    }
    for (int a = 0; a < 3; ++a) grad_points[3 * p + a] = sums[a];
  }
}

// One plane of one sample, `part` of its channels starting at grad and grad_plane.
template <int kPart, class T>
inline void backward_plane(const PlaneStrides& strides, int64_t channels, int64_t part, int plane, const T* points,
                           int64_t count, const T* grad, T* grad_plane) {
  const int64_t width = count_of<kPart>(part);
  for (int64_t p = 0; p < count; ++p) {
    const T* __restrict g = grad + p * channels;
    const AxisLookup<T> u = look_up_axis<T>(points[3 * p + plane_width_axis(plane)], strides.size);
    const AxisLookup<T> v = look_up_axis<T>(points[3 * p + plane_height_axis(plane)], strides.size);
    T* upper = grad_plane + v.low * strides.row;
    T* lower = grad_plane + v.high * strides.row;
    const T weights[4] = {(1 - v.fraction) * (1 - u.fraction), (1 - v.fraction) * u.fraction, v.fraction * (1 - u.fraction),
                          v.fraction * u.fraction};
    T* targets[4] = {upper + u.low * strides.column, upper + u.high * strides.column, lower + u.low * strides.column,
                     lower + u.high * strides.column};
    for (int k = 0; k < 4; ++k) {
      T* __restrict target = targets[k];
      const T w = weights[k];
      for (int64_t c = 0; c < width; ++c) target[c] += w * g[c];
    }
  }
}

}  // namespace

#define TETRAGAN_TRIPLANE(suffix, T)                                                                                      \
  void triplane_forward_##suffix(const T* planes, PlaneStrides strides, int64_t channels, const T* points, int64_t count, \
                                 T* out) {                                                                                \
    switch (channels) {                                                                                                   \
      case 8: return forward<8, T>(planes, strides, channels, points, count, out);                                        \
      case 16: return forward<16, T>(planes, strides, channels, points, count, out);                                      \
      case 32: return forward<32, T>(planes, strides, channels, points, count, out);                                      \
      default: return forward<0, T>(planes, strides, channels, points, count, out);                                       \
    }                                                                                                                     \
  }                                                                                                                       \
  void triplane_backward_points_##suffix(const T* planes, PlaneStrides strides, int64_t channels, const T* points,        \
                                         int64_t count, const T* grad, T* grad_points) {                                  \
    switch (channels) {                                                                                                   \
      case 8: return backward_points<8, T>(planes, strides, channels, points, count, grad, grad_points);                  \
      case 16: return backward_points<16, T>(planes, strides, channels, points, count, grad, grad_points);                \
      case 32: return backward_points<32, T>(planes, strides, channels, points, count, grad, grad_points);                \
      default: return backward_points<0, T>(planes, strides, channels, points, count, grad, grad_points);                 \
    }                                                                                                                     \
  }                                                                                                                       \
  void triplane_backward_plane_##suffix(PlaneStrides strides, int64_t channels, int64_t part, int plane, const T* points, \
                                        int64_t count, const T* grad, T* grad_plane) {                                    \
    switch (part) {                                                                                                       \
      case 8: return backward_plane<8, T>(strides, channels, part, plane, points, count, grad, grad_plane);               \
      case 16: return backward_plane<16, T>(strides, channels, part, plane, points, count, grad, grad_plane);             \
      default: return backward_plane<0, T>(strides, channels, part, plane, points, count, grad, grad_plane);              \
    }                                                                                                                     \
  }
TETRAGAN_TRIPLANE(f32, float)
TETRAGAN_TRIPLANE(f64, double)

}  // namespace tetragan::TETRAGAN_ISA
