// The inner loops of `triplane_sample` for one instruction set; see common/isa.h.
//
// A texel is a run of channels, processed one vector at a time; channels left over are processed one by one.
// build-flags: -ffp-contract=fast -fno-trapping-math -fno-math-errno
#include <cmath>
#include <cstdint>

#include "common/vector.h"
#include "triplane_sample/planes.h"
#include "triplane_sample/triplane_sample.h"

namespace tetragan::TETRAGAN_ISA {

namespace {

constexpr int kBlock = 32;  // points whose positions are computed together

template <class T>
TETRAGAN_INLINE T sum_lanes(typename Vector<T>::Type value) {
  T lanes[Vector<T>::lanes];
  __builtin_memcpy(lanes, &value, sizeof value);
  for (int64_t width = Vector<T>::lanes / 2; width > 0; width /= 2) {
    for (int64_t k = 0; k < width; ++k) lanes[k] += lanes[k + width];
  }
  return lanes[0];
}

// Positions of up to kBlock points along the three axes.
template <class T>
struct Positions {
  int32_t low[3][kBlock], step[3][kBlock];
  T fraction[3][kBlock], slope[3][kBlock];

  TETRAGAN_INLINE Positions(const T* points, int64_t count, int64_t size) {
    for (int a = 0; a < 3; ++a) {
      for (int64_t p = 0; p < count; ++p) {
        const AxisLookup<T> axis = look_up_axis<T>(points[3 * p + a], static_cast<int32_t>(size));
        low[a][p] = axis.low;
        step[a][p] = axis.high - axis.low;
        fraction[a][p] = axis.fraction;
        slope[a][p] = axis.slope;
      }
    }
  }
};

// The four texels around one point in one plane, and their weights.
template <class T>
struct Corners {
  int64_t offset[4];
  T u, v;

  TETRAGAN_INLINE Corners(const Positions<T>& at, const PlaneStrides& strides, int plane, int64_t p) {
    const int along_u = plane_width_axis(plane), along_v = plane_height_axis(plane);
    const int64_t right = at.step[along_u][p] * strides.column, below = at.step[along_v][p] * strides.row;
    offset[0] = at.low[along_v][p] * strides.row + at.low[along_u][p] * strides.column;
    offset[1] = offset[0] + right;
    offset[2] = offset[0] + below;
    offset[3] = offset[2] + right;
    u = at.fraction[along_u][p];
    v = at.fraction[along_v][p];
  }
  TETRAGAN_INLINE void weights(T* w) const {
    w[0] = (1 - v) * (1 - u);
    w[1] = (1 - v) * u;
    w[2] = v * (1 - u);
    w[3] = v * u;
  }
};

template <class T>
TETRAGAN_INLINE void forward(const T* planes, const PlaneStrides& strides, int64_t channels, const T* points, int64_t count,
                             T* out) {
  constexpr int64_t kLanes = Vector<T>::lanes;
  for (int64_t start = 0; start < count; start += kBlock) {
    const int64_t block = count - start < kBlock ? count - start : kBlock;
    const Positions<T> at(points + 3 * start, block, strides.size);
    for (int64_t p = 0; p < block; ++p) {
      T w[3][4];
      const T* texel[3][4];
      for (int plane = 0; plane < 3; ++plane) {
        const Corners<T> corners(at, strides, plane, p);
        corners.weights(w[plane]);
        for (int k = 0; k < 4; ++k) texel[plane][k] = planes + plane * strides.plane + corners.offset[k];
      }
      T* target = out + (start + p) * channels;
      int64_t c = 0;
      for (; c + kLanes <= channels; c += kLanes) {
        typename Vector<T>::Type sum = {};
        for (int plane = 0; plane < 3; ++plane) {
          for (int k = 0; k < 4; ++k) sum += w[plane][k] * load<T>(texel[plane][k] + c);
        }
        store<T>(target + c, sum);
      }
      for (; c < channels; ++c) {
        T sum = 0;
        for (int plane = 0; plane < 3; ++plane) {
          for (int k = 0; k < 4; ++k) sum += w[plane][k] * texel[plane][k][c];
        }
        target[c] = sum;
      }
    }
  }
}

template <class T>
TETRAGAN_INLINE void backward_points(const T* planes, const PlaneStrides& strides, int64_t channels, const T* points,
                                     int64_t count, const T* grad, T* grad_points) {
  constexpr int64_t kLanes = Vector<T>::lanes;
  using Values = typename Vector<T>::Type;
  for (int64_t start = 0; start < count; start += kBlock) {
    const int64_t block = count - start < kBlock ? count - start : kBlock;
    const Positions<T> at(points + 3 * start, block, strides.size);
    for (int64_t p = 0; p < block; ++p) {
      const T* g = grad + (start + p) * channels;
      Values vectors[3] = {};
      T rest[3] = {};
      for (int plane = 0; plane < 3; ++plane) {
        const int along_u = plane_width_axis(plane), along_v = plane_height_axis(plane);
        const Corners<T> corners(at, strides, plane, p);
        const T u = corners.u, v = corners.v, u_slope = at.slope[along_u][p], v_slope = at.slope[along_v][p];
        const T *t0 = planes + plane * strides.plane + corners.offset[0], *t1 = t0 + (corners.offset[1] - corners.offset[0]);
        const T *t2 = planes + plane * strides.plane + corners.offset[2], *t3 = t2 + (corners.offset[3] - corners.offset[2]);
        int64_t c = 0;
        for (; c + kLanes <= channels; c += kLanes) {
          const Values a = load<T>(t0 + c), b = load<T>(t1 + c), d = load<T>(t2 + c), e = load<T>(t3 + c);
          const Values top = b - a, bottom = e - d, across = d - a, gradient = load<T>(g + c);
          vectors[along_u] += gradient * ((top + v * (bottom - top)) * u_slope);
          vectors[along_v] += gradient * ((across + u * (bottom - top)) * v_slope);
        }
        for (; c < channels; ++c) {
          const T top = t1[c] - t0[c], bottom = t3[c] - t2[c], across = t2[c] - t0[c];
          rest[along_u] += g[c] * ((top + v * (bottom - top)) * u_slope);
          rest[along_v] += g[c] * ((across + u * (bottom - top)) * v_slope);
        }
      }
      for (int a = 0; a < 3; ++a) grad_points[3 * (start + p) + a] = sum_lanes<T>(vectors[a]) + rest[a];
    }
  }
}

// Planes [first, last) of one sample, `part` of its channels from grad and grad_planes on.
template <class T>
TETRAGAN_INLINE void backward_planes(const PlaneStrides& strides, int64_t channels, int64_t part, int first, int last,
                                     const T* points, int64_t count, const T* grad, T* grad_planes) {
  constexpr int64_t kLanes = Vector<T>::lanes;
  for (int64_t start = 0; start < count; start += kBlock) {
    const int64_t block = count - start < kBlock ? count - start : kBlock;
    const Positions<T> at(points + 3 * start, block, strides.size);
    for (int64_t p = 0; p < block; ++p) {
      const T* g = grad + (start + p) * channels;
      for (int plane = first; plane < last; ++plane) {
        const Corners<T> corners(at, strides, plane, p);
        T w[4];
        corners.weights(w);
        T* base = grad_planes + plane * strides.plane;
        int64_t c = 0;
        for (; c + kLanes <= part; c += kLanes) {
          const typename Vector<T>::Type gradient = load<T>(g + c);
          for (int k = 0; k < 4; ++k) {
            T* target = base + corners.offset[k] + c;
            store<T>(target, load<T>(target) + w[k] * gradient);
          }
        }
        for (; c < part; ++c) {
          for (int k = 0; k < 4; ++k) base[corners.offset[k] + c] += w[k] * g[c];
        }
      }
    }
  }
}

}  // namespace

#define TETRAGAN_TRIPLANE(suffix, T)                                                                                      \
  void triplane_forward_##suffix(const T* planes, PlaneStrides strides, int64_t channels, const T* points, int64_t count, \
                                 T* out) {                                                                                \
    forward<T>(planes, strides, channels, points, count, out);                                                            \
  }                                                                                                                       \
  void triplane_backward_points_##suffix(const T* planes, PlaneStrides strides, int64_t channels, const T* points,        \
                                         int64_t count, const T* grad, T* grad_points) {                                  \
    backward_points<T>(planes, strides, channels, points, count, grad, grad_points);                                      \
  }                                                                                                                       \
  void triplane_backward_planes_##suffix(PlaneStrides strides, int64_t channels, int64_t part, int first, int last,       \
                                         const T* points, int64_t count, const T* grad, T* grad_planes) {                 \
    backward_planes<T>(strides, channels, part, first, last, points, count, grad, grad_planes);                           \
  }
TETRAGAN_TRIPLANE(f32, float)
TETRAGAN_TRIPLANE(f64, double)

}  // namespace tetragan::TETRAGAN_ISA
