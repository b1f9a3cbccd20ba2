// Binding of the CUDA kernels of `chamfer`.
#include "chamfer/chamfer_cuda.h"
#include "common/cuda.h"

namespace tetragan {
namespace {

std::tuple<Tensor, Tensor, Tensor, Tensor> chamfer(const Tensor& x, const Tensor& y) {
  const OnDevice device(x);
  const int64_t batch = x.size(0), p = x.size(1), q = y.size(1);
  Tensor d_xy = empty_like_of(x, {batch, p}), d_yx = empty_like_of(x, {batch, q});
  Tensor i_xy = empty_like_of(x, {batch, p}, ScalarType::Int), i_yx = empty_like_of(x, {batch, q}, ScalarType::Int);
  dispatch_floating(x, "chamfer", [&](auto zero) {
    using T = decltype(zero);
    chamfer_nearest_cuda<T>(data<T>(x), data<T>(y), batch, p, q, mutable_data<T>(d_xy), mutable_data<int32_t>(i_xy),
                            device.stream);
    chamfer_nearest_cuda<T>(data<T>(y), data<T>(x), batch, q, p, mutable_data<T>(d_yx), mutable_data<int32_t>(i_yx),
                            device.stream);
  });
  check_launch("chamfer");
  return {d_xy, d_yx, i_xy, i_yx};
}

Tensor chamfer_matrix(const Tensor& x, const Tensor& y) {
  const OnDevice device(x);
  Tensor out = empty_like_of(x, {x.size(0), y.size(0)});
  dispatch_floating(x, "chamfer_matrix", [&](auto zero) {
    using T = decltype(zero);
    chamfer_matrix_cuda<T>(data<T>(x), data<T>(y), x.size(0), y.size(0), x.size(1), y.size(1), mutable_data<T>(out),
                           device.stream);
  });
  check_launch("chamfer_matrix");
  return out;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(tetragan, CUDA, m) {
  m.impl("chamfer", TORCH_BOX(&chamfer));
  m.impl("chamfer_matrix", TORCH_BOX(&chamfer_matrix));
}

}  // namespace tetragan
