// Binding of the CUDA kernels of `antialias`.
#include "antialias/antialias_cuda.h"
#include "common/aligned.h"
#include "common/cuda.h"

namespace tetragan {
namespace {

AntialiasSize size_of(const Tensor& color, const Tensor& positions, const Tensor& faces) {
  STD_TORCH_CHECK(color.size(0) * color.size(1) * color.size(2) < int64_t{1} << 31,
                  "antialias(): expected fewer than 2³¹ pixels on CUDA");
  STD_TORCH_CHECK(color.size(1) <= 1 << 16 && color.size(2) <= 1 << 16,
                  "antialias(): expected at most 65,536 rows and columns on CUDA");
  return {color.size(0), color.size(1), color.size(2), color.size(3), faces.size(0), positions.size(0)};
}

std::tuple<Tensor, Tensor, Tensor> antialias(const Tensor& color, const Tensor& rast, const Tensor& positions,
                                             const Tensor& faces, const Tensor& neighbors) {
  const OnDevice device(color);
  const AntialiasSize size = size_of(color, positions, faces);
  Tensor out = empty_like_of(color, {size.images, size.height, size.width, size.channels});
  Tensor slots = empty_like_of(faces, {size.images, size.height, size.width, 2});
  Tensor blends = empty_like_of(color, {size.images, size.height, size.width, 2});
  const Tensor seen = aligned(rast, 2), points = aligned(positions, 4);
  Tensor scratch = empty_like_of(color, {antialias_cuda_scratch(size)}, ScalarType::Byte);
  dispatch_floating(color, "antialias", [&](auto zero) {
    using T = decltype(zero);
    antialias_cuda<T>(data<T>(color), data<T>(seen), data<T>(points), data<int32_t>(faces), data<int32_t>(neighbors),
                      size, scratch.data_ptr(), mutable_data<T>(out), mutable_data<int32_t>(slots), mutable_data<T>(blends),
                      device.stream);
  });
  check_launch("antialias");
  return {out, slots, blends};
}

std::tuple<Tensor, Tensor> antialias_backward(const Tensor& grad_out, const Tensor& color, const Tensor& positions,
                                              const Tensor& faces, const Tensor& slots, const Tensor& blends,
                                              bool of_positions) {
  const OnDevice device(color);
  const AntialiasSize size = size_of(color, positions, faces);
  Tensor grad_color = empty_like_of(color, {size.images, size.height, size.width, size.channels});
  Tensor grad_positions = zeros_like_of(positions, {of_positions ? positions.size(0) : 0, 4});
  const Tensor points = aligned(positions, 4);
  dispatch_floating(color, "antialias", [&](auto zero) {
    using T = decltype(zero);
    antialias_backward_cuda<T>(data<T>(grad_out), data<T>(color), data<T>(points), data<int32_t>(faces),
                               data<int32_t>(slots), data<T>(blends), size, mutable_data<T>(grad_color),
                               of_positions ? mutable_data<T>(grad_positions) : nullptr, device.stream);
  });
  check_launch("antialias");
  return {grad_color, grad_positions};
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(tetragan, CUDA, m) {
  m.impl("antialias", TORCH_BOX(&antialias));
  m.impl("antialias_backward", TORCH_BOX(&antialias_backward));
}

}  // namespace tetragan
