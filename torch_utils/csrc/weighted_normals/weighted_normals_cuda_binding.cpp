// Binding of the CUDA kernels of `weighted_normals`.
#include "common/cuda.h"
#include "weighted_normals/weighted_normals_cuda.h"

namespace tetragan {
namespace {

Tensor weighted_normals(const Tensor& vertices, const Tensor& faces) {
  const OnDevice device(vertices);
  const int64_t count = vertices.size(0);
  Tensor out = empty_like_of(vertices, {count, 3});
  Tensor scratch = empty_like_of(vertices, {weighted_normals_cuda_scratch(count)}, ScalarType::Byte);
  dispatch_floating(vertices, "weighted_normals", [&](auto zero) {
    using T = decltype(zero);
    weighted_normals_cuda<T>(data<T>(vertices), data<int32_t>(faces), count, faces.size(0), scratch.data_ptr(),
                             mutable_data<T>(out), device.stream);
  });
  check_launch("weighted_normals");
  return out;
}

Tensor weighted_normals_backward(const Tensor& grad, const Tensor& vertices, const Tensor& faces) {
  const OnDevice device(vertices);
  const int64_t count = vertices.size(0);
  Tensor out = empty_like_of(vertices, {count, 3});
  Tensor scratch = empty_like_of(vertices, {weighted_normals_cuda_scratch(count)}, ScalarType::Byte);
  dispatch_floating(vertices, "weighted_normals", [&](auto zero) {
    using T = decltype(zero);
    weighted_normals_backward_cuda<T>(data<T>(grad), data<T>(vertices), data<int32_t>(faces), count, faces.size(0),
                                      scratch.data_ptr(), mutable_data<T>(out), device.stream);
  });
  check_launch("weighted_normals");
  return out;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(tetragan, CUDA, m) {
  m.impl("weighted_normals", TORCH_BOX(&weighted_normals));
  m.impl("weighted_normals_backward", TORCH_BOX(&weighted_normals_backward));
}

}  // namespace tetragan
