// Binding of the CUDA kernels of `rasterize`.
#include "common/aligned.h"
#include "common/cuda.h"
#include "rasterize/rasterize_cuda.h"

namespace tetragan {
namespace {

std::tuple<Tensor, Tensor> rasterize(const Tensor& positions, const Tensor& faces, const Tensor& face_offsets, int64_t height,
                                     int64_t width, bool derivatives, const std::optional<Tensor>& previous) {
  const OnDevice device(positions);
  const int64_t images = face_offsets.size(0) - 1;
  const RasterSize size{positions.size(0), faces.size(0), images, static_cast<int32_t>(height), static_cast<int32_t>(width)};
  STD_TORCH_CHECK(images * height * width < int64_t{1} << 31, "rasterize(): expected fewer than 2³¹ pixels on CUDA");
  Tensor rast = empty_like_of(positions, {images, height, width, 4});
  Tensor rast_db = empty_like_of(positions, {derivatives ? images : 0, height, width, 4});
  Tensor offsets = empty_like_of(positions, {images + 1}, ScalarType::Long);
  // From pageable memory: returns once the few numbers are staged, without waiting for the device.
  cudaMemcpyAsync(offsets.data_ptr(), face_offsets.data_ptr(), 8 * (images + 1), cudaMemcpyHostToDevice, device.stream);
  const Tensor points = aligned(positions, 4);
  const bool wide = positions.scalar_type() == ScalarType::Double;
  Tensor scratch = empty_like_of(positions, {rasterize_cuda_scratch(size, wide)}, ScalarType::Byte);
  dispatch_floating(positions, "rasterize", [&](auto zero) {
    using T = decltype(zero);
    rasterize_cuda<T>(data<T>(points), data<int32_t>(faces), data<int64_t>(offsets), previous ? data<T>(*previous) : nullptr,
                      size, scratch.data_ptr(), mutable_data<T>(rast), derivatives ? mutable_data<T>(rast_db) : nullptr,
                      device.stream);
  });
  check_launch("rasterize");
  return {rast, rast_db};
}

Tensor rasterize_backward(const Tensor& grad_rast, const std::optional<Tensor>& grad_db, const Tensor& positions,
                          const Tensor& faces, const Tensor& rast) {
  const OnDevice device(positions);
  const RasterSize size{positions.size(0), faces.size(0), rast.size(0), static_cast<int32_t>(rast.size(1)),
                        static_cast<int32_t>(rast.size(2))};
  Tensor grad_positions = zeros_like_of(positions, {positions.size(0), 4});
  const Tensor points = aligned(positions, 4), of_rast = aligned(grad_rast, 4);
  const std::optional<Tensor> of_db = grad_db ? std::optional<Tensor>(aligned(*grad_db, 4)) : std::nullopt;
  dispatch_floating(positions, "rasterize", [&](auto zero) {
    using T = decltype(zero);
    rasterize_backward_cuda<T>(data<T>(of_rast), of_db ? data<T>(*of_db) : nullptr, data<T>(points),
                               data<int32_t>(faces), data<T>(rast), size, mutable_data<T>(grad_positions), device.stream);
  });
  check_launch("rasterize");
  return grad_positions;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(tetragan, CUDA, m) {
  m.impl("rasterize", TORCH_BOX(&rasterize));
  m.impl("rasterize_backward", TORCH_BOX(&rasterize_backward));
}

}  // namespace tetragan
