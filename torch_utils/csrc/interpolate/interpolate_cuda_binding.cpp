// Binding of the CUDA kernels of `interpolate`.
#include "common/cuda.h"
#include "interpolate/interpolate_cuda.h"

namespace tetragan {
namespace {

InterpolateSize size_of(const Tensor& attributes, const Tensor& rast, const Tensor& faces) {
  return {rast.size(0) * rast.size(1) * rast.size(2), faces.size(0), attributes.size(0), attributes.size(1)};
}

std::tuple<Tensor, Tensor> interpolate(const Tensor& attributes, const Tensor& rast, const Tensor& faces,
                                       const std::optional<Tensor>& rast_db) {
  const OnDevice device(attributes);
  const int64_t images = rast.size(0), height = rast.size(1), columns = rast.size(2), width = attributes.size(1);
  Tensor out = empty_like_of(attributes, {images, height, columns, width});
  Tensor out_db = empty_like_of(attributes, {rast_db ? images : 0, height, columns, 2 * width});
  dispatch_floating(attributes, "interpolate", [&](auto zero) {
    using T = decltype(zero);
    interpolate_cuda<T>(data<T>(attributes), data<T>(rast), data<int32_t>(faces), rast_db ? data<T>(*rast_db) : nullptr,
                        size_of(attributes, rast, faces), mutable_data<T>(out), mutable_data<T>(out_db), device.stream);
  });
  check_launch("interpolate");
  return {out, out_db};
}

std::tuple<Tensor, Tensor, Tensor> interpolate_backward(const Tensor& grad_out, const std::optional<Tensor>& grad_out_db,
                                                        const Tensor& attributes, const Tensor& rast, const Tensor& faces,
                                                        const std::optional<Tensor>& rast_db, bool of_attributes) {
  const OnDevice device(attributes);
  const int64_t images = rast.size(0), height = rast.size(1), columns = rast.size(2), width = attributes.size(1);
  Tensor grad_attributes = zeros_like_of(attributes, {of_attributes ? attributes.size(0) : 0, width});
  Tensor grad_rast = empty_like_of(rast, {images, height, columns, 4});
  Tensor grad_rast_db = empty_like_of(rast, {rast_db ? images : 0, height, columns, 4});
  dispatch_floating(attributes, "interpolate", [&](auto zero) {
    using T = decltype(zero);
    const bool db = rast_db.has_value();
    interpolate_backward_cuda<T>(data<T>(grad_out), db ? data<T>(*grad_out_db) : nullptr, data<T>(attributes), data<T>(rast),
                                 data<int32_t>(faces), db ? data<T>(*rast_db) : nullptr, size_of(attributes, rast, faces),
                                 of_attributes ? mutable_data<T>(grad_attributes) : nullptr, mutable_data<T>(grad_rast),
                                 db ? mutable_data<T>(grad_rast_db) : nullptr, device.stream);
  });
  check_launch("interpolate");
  return {grad_attributes, grad_rast, grad_rast_db};
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(tetragan, CUDA, m) {
  m.impl("interpolate", TORCH_BOX(&interpolate));
  m.impl("interpolate_backward", TORCH_BOX(&interpolate_backward));
}

}  // namespace tetragan
