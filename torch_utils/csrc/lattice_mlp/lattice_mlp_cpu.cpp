// CPU kernel of `lattice_mlp`: the hidden layer lives in registers, never in memory.
#include "lattice_mlp/lattice_mlp.h"

#include "common/cpu.h"
#include "common/isa.h"

TETRAGAN_DECLARE(void, lattice_row_f32,
                 (const float*, const float*, const float*, const float*, int64_t, int64_t, int64_t, float, float*))
TETRAGAN_DECLARE(void, lattice_row_f64,
                 (const double*, const double*, const double*, const double*, int64_t, int64_t, int64_t, double, double*))

namespace tetragan {

namespace {

constexpr int64_t kLanes = 32;

// side [first][last][hidden] → [first][hidden][stride], zero beyond last: the innermost axis becomes the vector.
template <class T>
void turn(const T* side, int64_t first, int64_t last, int64_t hidden, int64_t stride, T* out) {
  for (int64_t i = 0; i < first; ++i) {
    for (int64_t h = 0; h < hidden; ++h) {
      T* row = out + (i * hidden + h) * stride;
      for (int64_t k = 0; k < last; ++k) row[k] = side[(i * last + k) * hidden + h];
      std::fill(row + last, row + stride, T(0));
    }
  }
}

Tensor lattice_mlp(const Tensor& xy, const Tensor& yz, const Tensor& xz, const Tensor& weight, double slope) {
  const int64_t batch = xy.size(0), nx = xy.size(1), ny = xy.size(2), nz = yz.size(2), hidden = xy.size(3);
  const int64_t stride = (nz + kLanes - 1) / kLanes * kLanes;
  Tensor out = empty_like_of(xy, {batch, nx, ny, nz});
  dispatch_floating(xy, "lattice_mlp", [&](auto zero) {
    using T = decltype(zero);
    const T *a = data<T>(xy), *b = data<T>(yz), *c = data<T>(xz), *w = data<T>(weight);
    T* target = mutable_data<T>(out);
    std::vector<T> turned_yz(batch * ny * hidden * stride), turned_xz(batch * nx * hidden * stride);
    parallel_tasks(batch, [&](int64_t n) {
      turn(b + n * ny * nz * hidden, ny, nz, hidden, stride, turned_yz.data() + n * ny * hidden * stride);
      turn(c + n * nx * nz * hidden, nx, nz, hidden, stride, turned_xz.data() + n * nx * hidden * stride);
    });
    parallel_tasks(batch * nx, [&](int64_t task) {
      const int64_t n = task / nx;
      for (int64_t j = 0; j < ny; ++j) {
        const T* of_pixel = a + (task * ny + j) * hidden;
        const T* of_yz = turned_yz.data() + (n * ny + j) * hidden * stride;
        const T* of_xz = turned_xz.data() + task * hidden * stride;
        T* row = target + (task * ny + j) * nz;
        if constexpr (std::is_same_v<T, float>) {
          TETRAGAN_CALL(lattice_row_f32, (of_pixel, of_yz, of_xz, w + n * hidden, hidden, stride, nz, slope, row));
        } else {
          TETRAGAN_CALL(lattice_row_f64, (of_pixel, of_yz, of_xz, w + n * hidden, hidden, stride, nz, slope, row));
        }
      }
    });
  });
  return out;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(tetragan, CPU, m) { m.impl("lattice_mlp", TORCH_BOX(&lattice_mlp)); }

}  // namespace tetragan
