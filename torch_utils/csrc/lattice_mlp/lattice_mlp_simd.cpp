// The inner loops of `lattice_mlp` for one instruction set; see common/isa.h.
// build-flags: -ffp-contract=fast -fno-trapping-math -fno-math-errno
#include <cmath>
#include <cstdint>

#include "common/isa.h"
#include "common/small_matrix.h"
#include "lattice_mlp/lattice_mlp.h"
#include "triplane_sample/planes.h"
#include "triplane_sample/triplane_sample.h"

namespace tetragan::TETRAGAN_ISA {

namespace {

constexpr int64_t kRow = 32;  // points of a row that are summed together

// Features of one plane at (first, coordinates[j]) for every j: [side][channels].
template <class T>
TETRAGAN_INLINE void feature_row(const T* plane, const PlaneStrides& strides, int64_t channels, T first, const T* coordinates,
                                 int64_t side, T* out) {
  const AxisLookup<T> u = look_up_axis<T>(first, static_cast<int32_t>(strides.size));
  for (int64_t j = 0; j < side; ++j) {
    const AxisLookup<T> v = look_up_axis<T>(coordinates[j], static_cast<int32_t>(strides.size));
    const T* upper = plane + v.low * strides.row;
    const T* lower = plane + v.high * strides.row;
    const T *a = upper + u.low * strides.column, *b = upper + u.high * strides.column;
    const T *c = lower + u.low * strides.column, *d = lower + u.high * strides.column;
    const T wa = (1 - v.fraction) * (1 - u.fraction), wb = (1 - v.fraction) * u.fraction;
    const T wc = v.fraction * (1 - u.fraction), wd = v.fraction * u.fraction;
    T* __restrict target = out + j * channels;
    for (int64_t k = 0; k < channels; ++k) target[k] = wa * a[k] + wb * b[k] + wc * c[k] + wd * d[k];
  }
}

// The first layer on one plane: [i][j][padded] or, transposed, [i][padded][stride].
template <class T>
TETRAGAN_INLINE void side_of_plane(const T* plane, const PlaneStrides& strides, int64_t channels, const T* coordinates,
                                   int64_t side, const T* matrix, const T* bias, int64_t padded, int64_t stride, bool transposed,
                                   T* scratch, T* out) {
  T* features = scratch;
  T* sums = scratch + side * channels;
  for (int64_t i = 0; i < side; ++i) {
    feature_row<T>(plane, strides, channels, coordinates[i], coordinates, side, features);
    if (!transposed) {
      product<T>(features, channels, side, matrix, channels, padded, bias, out + i * side * padded, padded);
      continue;
    }
    product<T>(features, channels, side, matrix, channels, padded, bias, sums, padded);
    T* target = out + i * padded * stride;
    for (int64_t h = 0; h < padded; ++h) {
      for (int64_t j = 0; j < stride; ++j) target[h * stride + j] = j < side ? sums[j * padded + h] : T(0);
    }
  }
}

template <class T>
TETRAGAN_INLINE void row(const T* xy, const T* yz, const T* xz, const T* weight, int64_t hidden, int64_t stride,
                         int64_t count, T slope, T* out) {
  for (int64_t start = 0; start < count; start += kRow) {
    T sums[kRow] = {};
    for (int64_t h = 0; h < hidden; ++h) {
      const T *a = yz + h * stride + start, *b = xz + h * stride + start;
      const T x = xy[h], w = weight[h];
      for (int64_t k = 0; k < kRow; ++k) sums[k] += hidden_unit<T>(x, a[k], b[k], slope, w);
    }
    const int64_t size = count - start < kRow ? count - start : kRow;
    for (int64_t k = 0; k < size; ++k) out[start + k] = sums[k];
  }
}

}  // namespace

// side: the first layer's pre-activations that one plane gives. matrix [channels][padded], bias [padded] or null.
// scratch: side × (channels + padded). row: out[k] = Σ_h weight[h] · lrelu(xy[h] + yz[h][k] + xz[h][k]) for k < count; rows
// of yz and xz are `stride` long, a multiple of 32.
#define TETRAGAN_LATTICE_MLP(suffix, T)                                                                                         \
  void lattice_side_##suffix(const T* plane, PlaneStrides strides, int64_t channels, const T* coordinates, int64_t side,        \
                             const T* matrix, const T* bias, int64_t padded, int64_t stride, bool transposed, T* scratch,       \
                             T* out) {                                                                                          \
    side_of_plane<T>(plane, strides, channels, coordinates, side, matrix, bias, padded, stride, transposed, scratch, out);      \
  }                                                                                                                             \
  void lattice_row_##suffix(const T* xy, const T* yz, const T* xz, const T* weight, int64_t hidden, int64_t stride,             \
                            int64_t count, T slope, T* out) {                                                                   \
    row<T>(xy, yz, xz, weight, hidden, stride, count, slope, out);                                                              \
  }
TETRAGAN_LATTICE_MLP(f32, float)
TETRAGAN_LATTICE_MLP(f64, double)

}  // namespace tetragan::TETRAGAN_ISA
