// The inner loop of `lattice_mlp` for one instruction set; see common/isa.h.
// build-flags: -ffp-contract=fast -fno-trapping-math -fno-math-errno
#include <cmath>
#include <cstdint>

#include "common/isa.h"
#include "lattice_mlp/lattice_mlp.h"

namespace tetragan::TETRAGAN_ISA {

namespace {

constexpr int kLanes = 32;

template <class T>
inline void row(const T* xy, const T* yz, const T* xz, const T* weight, int64_t hidden, int64_t stride, int64_t count,
                T slope, T* out) {
  for (int64_t start = 0; start < count; start += kLanes) {
    T sums[kLanes] = {};
    for (int64_t h = 0; h < hidden; ++h) {
      const T *a = yz + h * stride + start, *b = xz + h * stride + start;
      const T x = xy[h], w = weight[h];
      for (int k = 0; k < kLanes; ++k) sums[k] += hidden_unit<T>(x, a[k], b[k], slope, w);
    }
    const int64_t size = count - start < kLanes ? count - start : kLanes;
    for (int64_t k = 0; k < size; ++k) out[start + k] = sums[k];
  }
}

}  // namespace

// out[k] = Σ_h weight[h] · lrelu(xy[h] + yz[h][k] + xz[h][k]) for k < count; rows of yz and xz are `stride` long, a multiple
// of 32.
void lattice_row_f32(const float* xy, const float* yz, const float* xz, const float* weight, int64_t hidden, int64_t stride,
                     int64_t count, float slope, float* out) {
  row<float>(xy, yz, xz, weight, hidden, stride, count, slope, out);
}

void lattice_row_f64(const double* xy, const double* yz, const double* xz, const double* weight, int64_t hidden,
                     int64_t stride, int64_t count, double slope, double* out) {
  row<double>(xy, yz, xz, weight, hidden, stride, count, slope, out);
}

}  // namespace tetragan::TETRAGAN_ISA
