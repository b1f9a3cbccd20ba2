// Binding of the CUDA kernels of `texture`.
#include "common/cuda.h"
#include "texture/texture_cuda.h"

namespace tetragan {
namespace {

TextureSettings settings_of(const Tensor& texels, const Tensor& uv, int64_t height, int64_t width, int64_t levels,
                            int64_t filter, int64_t boundary) {
  return {texels.size(0), texels.size(1), texels.size(2), uv.size(0), uv.size(1) * uv.size(2),
          static_cast<int32_t>(height), static_cast<int32_t>(width), static_cast<int32_t>(levels),
          static_cast<int32_t>(filter), static_cast<int32_t>(boundary)};
}

Tensor texture(const Tensor& texels, const Tensor& uv, const std::optional<Tensor>& uv_db, int64_t height, int64_t width,
               int64_t levels, int64_t filter, int64_t boundary) {
  const OnDevice device(texels);
  Tensor out = empty_like_of(texels, {uv.size(0), uv.size(1), uv.size(2), texels.size(2)});
  dispatch_floating(texels, "texture", [&](auto zero) {
    using T = decltype(zero);
    texture_cuda<T>(data<T>(texels), data<T>(uv), uv_db ? data<T>(*uv_db) : nullptr,
                    settings_of(texels, uv, height, width, levels, filter, boundary), mutable_data<T>(out), device.stream);
  });
  check_launch("texture");
  return out;
}

std::tuple<Tensor, Tensor, Tensor> texture_backward(const Tensor& grad_out, const Tensor& texels, const Tensor& uv,
                                                    const std::optional<Tensor>& uv_db, int64_t height, int64_t width,
                                                    int64_t levels, int64_t filter, int64_t boundary, bool of_texels) {
  const OnDevice device(texels);
  Tensor grad_texels = zeros_like_of(texels, {of_texels ? texels.size(0) : 0, texels.size(1), texels.size(2)});
  Tensor grad_uv = empty_like_of(uv, {uv.size(0), uv.size(1), uv.size(2), 2});
  Tensor grad_db = empty_like_of(uv, {uv_db ? uv.size(0) : 0, uv.size(1), uv.size(2), 4});
  dispatch_floating(texels, "texture", [&](auto zero) {
    using T = decltype(zero);
    texture_backward_cuda<T>(data<T>(grad_out), data<T>(texels), data<T>(uv), uv_db ? data<T>(*uv_db) : nullptr,
                             settings_of(texels, uv, height, width, levels, filter, boundary),
                             of_texels ? mutable_data<T>(grad_texels) : nullptr, mutable_data<T>(grad_uv),
                             uv_db ? mutable_data<T>(grad_db) : nullptr, device.stream);
  });
  check_launch("texture");
  return {grad_texels, grad_uv, grad_db};
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(tetragan, CUDA, m) {
  m.impl("texture", TORCH_BOX(&texture));
  m.impl("texture_backward", TORCH_BOX(&texture_backward));
}

}  // namespace tetragan
