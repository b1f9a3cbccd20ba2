// Binding of the CUDA kernels of `lattice_mlp`.
#include "common/cuda.h"
#include "common/grouped_table.h"
#include "lattice_mlp/lattice_mlp_cuda.h"

namespace tetragan {
namespace {

Tensor lattice_mlp(const Tensor& planes, const Tensor& hidden, const Tensor& bias, const Tensor& output,
                   const Tensor& coordinates, double slope) {
  const OnDevice device(planes);
  const LatticeSize size{planes.size(0), planes.size(4), hidden.size(2), coordinates.size(0)};
  const PlaneStrides strides{planes.size(2), planes.stride(0), planes.stride(1), planes.stride(2), planes.stride(3)};
  const int64_t pixels = 3 * size.side * size.side;
  std::vector<int64_t> offsets;
  for (int64_t n = 0; n <= size.samples; ++n) offsets.push_back(n * pixels);
  const grouped::DeviceTable rows(planes, offsets.data(), size.samples, device.stream);
  Tensor features = empty_like_of(planes, {size.samples * pixels, size.channels});
  Tensor sides = empty_like_of(planes, {size.samples * pixels, size.hidden});
  Tensor out = empty_like_of(planes, {size.samples, size.side, size.side, size.side});
  dispatch_floating(planes, "lattice_mlp", [&](auto zero) {
    using T = decltype(zero);
    lattice_mlp_cuda<T>(data<T>(planes), strides, data<T>(hidden), data<T>(bias), data<T>(output), data<T>(coordinates), size,
                        rows.table, static_cast<T>(slope), mutable_data<T>(features), mutable_data<T>(sides),
                        mutable_data<T>(out), device.stream);
  });
  check_launch("lattice_mlp");
  return out;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(tetragan, CUDA, m) { m.impl("lattice_mlp", TORCH_BOX(&lattice_mlp)); }

}  // namespace tetragan
