// Binding of the CUDA kernels of `connect_components`.
#include "common/cuda.h"
#include "connect_components/connect_components_cuda.h"

namespace tetragan {
namespace {

Tensor connect_components(const Tensor& sdf, const Tensor& edges, const Tensor& blocked, double depth, double step) {
  const OnDevice device(sdf);
  const ComponentsSize size{sdf.size(0), sdf.size(1), edges.size(0)};
  STD_TORCH_CHECK(size.vertices < int64_t{1} << 22, "connect_components(): expected fewer than 4194304 vertices on CUDA, got ",
                  size.vertices);
  Tensor result = torch::stable::empty_like(sdf);
  Tensor scratch = empty_like_of(sdf, {connect_components_cuda_scratch(size)}, ScalarType::Byte);
  dispatch_floating(sdf, "connect_components", [&](auto zero) {
    using T = decltype(zero);
    connect_components_cuda<T>(data<T>(sdf), data<int32_t>(edges), data<bool>(blocked), size, depth, step, scratch.data_ptr(),
                               mutable_data<T>(result), device.stream);
  });
  check_launch("connect_components");
  return result;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(tetragan, CUDA, m) { m.impl("connect_components", TORCH_BOX(&connect_components)); }

}  // namespace tetragan
