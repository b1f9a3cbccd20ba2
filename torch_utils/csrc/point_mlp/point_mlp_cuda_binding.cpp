// Binding of the CUDA kernels of `point_mlp`. The offsets stay on the host, which needs them for the launches.
#include "common/cuda.h"
#include "common/grouped_table.h"
#include "point_mlp/point_mlp_cuda.h"

namespace tetragan {
namespace {

MlpShape shape_of(const std::vector<int64_t>& widths) {
  MlpShape shape{};
  shape.layers = static_cast<int>(widths.size()) - 1;
  for (size_t l = 0; l < widths.size(); ++l) shape.widths[l] = widths[l];
  return shape;
}

Tensor point_mlp(const Tensor& x, const Tensor& weights, const Tensor& biases, const Tensor& offsets,
                 std::vector<int64_t> widths, double slope, double gain) {
  const OnDevice device(x);
  const MlpShape shape = shape_of(widths);
  const int64_t points = x.size(0);
  Tensor y = empty_like_of(x, {points, widths.back()});
  const grouped::DeviceTable rows(x, data<int64_t>(offsets), weights.size(0), device.stream);
  Tensor scratch = empty_like_of(x, {point_mlp_cuda_scratch(shape, points, rows.table.pieces, false)});
  dispatch_floating(x, "point_mlp", [&](auto zero) {
    using T = decltype(zero);
    point_mlp_cuda<T>(data<T>(x), data<T>(weights), data<T>(biases), shape, points, rows.table, static_cast<T>(slope),
                      static_cast<T>(gain), mutable_data<T>(scratch), mutable_data<T>(y), device.stream);
  });
  check_launch("point_mlp");
  return y;
}

std::tuple<Tensor, Tensor, Tensor> point_mlp_backward(const Tensor& grad, const Tensor& x, const Tensor& weights,
                                                      const Tensor& biases, const Tensor& offsets,
                                                      std::vector<int64_t> widths, double slope, double gain,
                                                      bool with_x) {
  const OnDevice device(x);
  const MlpShape shape = shape_of(widths);
  const int64_t points = x.size(0);
  Tensor grad_x = empty_like_of(x, {with_x ? points : 0, widths.front()});
  Tensor grad_weights = torch::stable::empty_like(weights), grad_biases = torch::stable::empty_like(biases);
  const grouped::DeviceTable rows(x, data<int64_t>(offsets), weights.size(0), device.stream);
  Tensor scratch = empty_like_of(x, {point_mlp_cuda_scratch(shape, points, rows.table.pieces, true)});
  dispatch_floating(x, "point_mlp", [&](auto zero) {
    using T = decltype(zero);
    point_mlp_backward_cuda<T>(data<T>(grad), data<T>(x), data<T>(weights), data<T>(biases), shape, points, rows.table,
                               static_cast<T>(slope), static_cast<T>(gain), mutable_data<T>(scratch),
                               with_x ? mutable_data<T>(grad_x) : nullptr, mutable_data<T>(grad_weights),
                               mutable_data<T>(grad_biases), device.stream);
  });
  check_launch("point_mlp");
  return {grad_x, grad_weights, grad_biases};
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(tetragan, CUDA, m) {
  m.impl("point_mlp", TORCH_BOX(&point_mlp));
  m.impl("point_mlp_backward", TORCH_BOX(&point_mlp_backward));
}

}  // namespace tetragan
