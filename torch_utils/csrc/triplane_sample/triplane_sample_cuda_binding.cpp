// Binding of the CUDA kernels of `triplane_sample`.
#include "common/cuda.h"
#include "triplane_sample/triplane_sample_cuda.h"

namespace tetragan {
namespace {

PlaneStrides strides_of(const Tensor& planes) {
  return {planes.size(2), planes.stride(0), planes.stride(1), planes.stride(2), planes.stride(3)};
}

// offsets: on the device.
Tensor triplane_sample(const Tensor& planes, const Tensor& points, const Tensor& offsets) {
  const OnDevice device(planes);
  const TriplaneSize size{planes.size(0), points.size(0), planes.size(4)};
  Tensor out = empty_like_of(planes, {size.points, size.channels});
  dispatch_floating(planes, "triplane_sample", [&](auto zero) {
    using T = decltype(zero);
    triplane_sample_cuda<T>(data<T>(planes), strides_of(planes), data<T>(points), data<int64_t>(offsets), size,
                            mutable_data<T>(out), device.stream);
  });
  check_launch("triplane_sample");
  return out;
}

std::tuple<Tensor, Tensor> triplane_sample_backward(const Tensor& grad, const Tensor& planes, const Tensor& points,
                                                    const Tensor& offsets, bool with_planes, bool with_points) {
  const OnDevice device(planes);
  const TriplaneSize size{planes.size(0), points.size(0), planes.size(4)};
  Tensor grad_planes = with_planes ? torch::stable::empty_like(planes) : empty_like_of(planes, {0});
  Tensor grad_points = empty_like_of(points, {with_points ? points.size(0) : 0, 3});
  if (with_planes) torch::stable::zero_(grad_planes);
  dispatch_floating(planes, "triplane_sample", [&](auto zero) {
    using T = decltype(zero);
    triplane_sample_backward_cuda<T>(data<T>(grad), data<T>(planes), strides_of(planes), data<T>(points),
                                     data<int64_t>(offsets), size, with_planes ? strides_of(grad_planes) : PlaneStrides{},
                                     with_planes ? mutable_data<T>(grad_planes) : nullptr,
                                     with_points ? mutable_data<T>(grad_points) : nullptr, device.stream);
  });
  check_launch("triplane_sample");
  return {grad_planes, grad_points};
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(tetragan, CUDA, m) {
  m.impl("triplane_sample", TORCH_BOX(&triplane_sample));
  m.impl("triplane_sample_backward", TORCH_BOX(&triplane_sample_backward));
}

}  // namespace tetragan
