// CPU kernel of `lattice_mlp`: the first layer is applied to the planes, once for each row of the grid; the hidden layer of a
// grid point stays in registers. Every value is written by one task.
#include "lattice_mlp/lattice_mlp.h"

#include "common/cpu.h"
#include "common/isa.h"
#include "triplane_sample/planes.h"

#define TETRAGAN_DECLARE_LATTICE_MLP(suffix, T)                                                                           \
  TETRAGAN_DECLARE(void, lattice_side_##suffix,                                                                           \
                   (const T*, PlaneStrides, int64_t, const T*, int64_t, const T*, const T*, int64_t, int64_t, bool, T*, T*)) \
  TETRAGAN_DECLARE(void, lattice_row_##suffix, (const T*, const T*, const T*, const T*, int64_t, int64_t, int64_t, T, T*))
TETRAGAN_DECLARE_LATTICE_MLP(f32, float)
TETRAGAN_DECLARE_LATTICE_MLP(f64, double)

namespace tetragan {

namespace {

constexpr int64_t kRow = 32;  // as in lattice_mlp_simd.cpp

int64_t round_up(int64_t value, int64_t step) { return (value + step - 1) / step * step; }

Tensor lattice_mlp(const Tensor& planes, const Tensor& hidden, const Tensor& bias, const Tensor& output,
                   const Tensor& coordinates, double slope) {
  const int64_t batch = planes.size(0), channels = planes.size(4), width = hidden.size(2), side = coordinates.size(0);
  const PlaneStrides strides{planes.size(2), planes.stride(0), planes.stride(1), planes.stride(2), planes.stride(3)};
  Tensor out = empty_like_of(planes, {batch, side, side, side});
  dispatch_floating(planes, "lattice_mlp", [&](auto zero) {
    using T = decltype(zero);
    const int64_t padded = round_up(width, 64 / sizeof(T)), stride = round_up(side, kRow);
    const int64_t straight = side * side * padded, transposed = side * padded * stride, sample = straight + 2 * transposed;
    const T *texels = data<T>(planes), *at = data<T>(coordinates), *weights = data<T>(output);
    T* target = mutable_data<T>(out);
    std::vector<T> matrices(batch * channels * padded), start(padded), sides(batch * sample);
    std::copy_n(data<T>(bias), width, start.begin());
    for (int64_t row = 0; row < batch * channels; ++row) {
      std::copy_n(data<T>(hidden) + row * width, width, matrices.data() + row * padded);
    }
    parallel_tasks(batch * 3, [&](int64_t task) {
      const int64_t n = task / 3, plane = task % 3;
      std::vector<T> scratch(side * (channels + padded));
      const T* from = texels + n * strides.sample + plane * strides.plane;
      const T *matrix = matrices.data() + n * channels * padded, *add = plane == 0 ? start.data() : nullptr;
      T* to = sides.data() + n * sample + (plane == 0 ? 0 : straight + (plane - 1) * transposed);
      if constexpr (std::is_same_v<T, float>) {
        TETRAGAN_CALL(lattice_side_f32, (from, strides, channels, at, side, matrix, add, padded, stride, plane != 0,
                                         scratch.data(), to));
      } else {
        TETRAGAN_CALL(lattice_side_f64, (from, strides, channels, at, side, matrix, add, padded, stride, plane != 0,
                                         scratch.data(), to));
      }
    });
    parallel_tasks(batch * side, [&](int64_t task) {
      const int64_t n = task / side, i = task % side;
      const T *xy = sides.data() + n * sample + i * side * padded, *yz = sides.data() + n * sample + straight;
      const T *xz = yz + transposed + i * padded * stride, *weight = weights + n * width;
      for (int64_t j = 0; j < side; ++j) {
        T* row = target + (task * side + j) * side;
        const T *of_pixel = xy + j * padded, *of_yz = yz + j * padded * stride;
        if constexpr (std::is_same_v<T, float>) {
          TETRAGAN_CALL(lattice_row_f32, (of_pixel, of_yz, xz, weight, width, stride, side, static_cast<T>(slope), row));
        } else {
          TETRAGAN_CALL(lattice_row_f64, (of_pixel, of_yz, xz, weight, width, stride, side, static_cast<T>(slope), row));
        }
      }
    });
  });
  return out;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(tetragan, CPU, m) { m.impl("lattice_mlp", TORCH_BOX(&lattice_mlp)); }

}  // namespace tetragan
