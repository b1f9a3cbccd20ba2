// Binding of the CUDA kernels of `bias_act`.
#include "bias_act/bias_act_cuda.h"
#include "common/cuda.h"

namespace tetragan {
namespace {

BiasActSize checked(const BiasActSize& size) {
  STD_TORCH_CHECK(size.outer * size.channels * size.inner < int64_t{1} << 31,
                  "bias_act(): expected samples of fewer than 2³¹ values on CUDA");
  return size;
}

BiasActSize size_of(const Tensor& x, int64_t dim, bool scaled) {
  BiasActSize size{1, 1, x.size(dim), 1};
  if (x.is_contiguous()) {
    int64_t before = 1;
    for (int64_t d = 0; d < dim; ++d) before *= x.size(d);
    for (int64_t d = dim + 1; d < x.dim(); ++d) size.inner *= x.size(d);
    size.samples = dim > 0 && (scaled || size.inner > 1) ? x.size(0) : 1;
    // Planes count as samples; only planar and channels-last images have kernels.
    size.outer = size.samples > 0 ? before / size.samples : 0;
    if (size.inner > 1 && size.outer > 1) {
      STD_TORCH_CHECK(!scaled, "bias_act(): expected dim 1 with a scale and more dimensions after it");
      size.samples *= size.outer;
      size.outer = 1;
    }
    return checked(size);
  }
  STD_TORCH_CHECK(x.dim() == 4 && dim == 1 && x.stride(1) == 1, "bias_act(): expected contiguous or channels-last");
  size.samples = x.size(0);
  size.outer = x.size(2) * x.size(3);
  return checked(size);
}

template <class F>
void dispatch(const Tensor& tensor, F&& f) {
  switch (tensor.scalar_type()) {
    case ScalarType::Float: f(float{}); break;
    case ScalarType::Double: f(double{}); break;
    case ScalarType::BFloat16: f(Bfloat16{}); break;
    default: STD_TORCH_CHECK(false, "bias_act(): expected float32, float64 or bfloat16, got another type");
  }
}

ScalarType sum_type(const Tensor& x) {
  return x.scalar_type() == ScalarType::Double ? ScalarType::Double : ScalarType::Float;
}

Tensor bias_act(const Tensor& x, const std::optional<Tensor>& bias, const std::optional<Tensor>& scale, int64_t dim,
                double slope, double gain, double clamp) {
  const OnDevice device(x);
  Tensor y = torch::stable::empty_like(x);
  dispatch(x, [&](auto zero) {
    using T = decltype(zero);
    using A = typename Accumulate<T>::type;
    const BiasAct<A> act{static_cast<A>(gain), static_cast<A>(gain * slope), static_cast<A>(clamp)};
    bias_act_cuda<T, A>(data<T>(x), bias ? data<A>(*bias) : nullptr, scale ? data<A>(*scale) : nullptr,
                        size_of(x, dim, scale.has_value()), act, mutable_data<T>(y), device.stream);
  });
  check_launch("bias_act");
  return y;
}

std::tuple<Tensor, Tensor, Tensor> bias_act_backward(const Tensor& grad, const std::optional<Tensor>& x, const Tensor& y,
                                                     const std::optional<Tensor>& scale, int64_t dim, double slope,
                                                     double gain, double clamp, bool with_bias, bool with_scale) {
  const OnDevice device(grad);
  const BiasActSize size = size_of(grad, dim, scale.has_value());
  const int64_t samples = scale ? grad.size(0) : 1;
  Tensor grad_x = torch::stable::empty_like(grad);
  Tensor grad_bias = empty_like_of(grad, {with_bias ? size.channels : 0}, sum_type(grad));
  Tensor grad_scale = empty_like_of(grad, {with_scale ? samples : 0, size.channels}, sum_type(grad));
  Tensor scratch = empty_like_of(grad, {bias_act_cuda_scratch(size, with_bias || with_scale)}, sum_type(grad));
  dispatch(grad, [&](auto zero) {
    using T = decltype(zero);
    using A = typename Accumulate<T>::type;
    const BiasAct<A> act{static_cast<A>(gain), static_cast<A>(gain * slope), static_cast<A>(clamp)};
    bias_act_backward_cuda<T, A>(data<T>(grad), with_scale ? data<T>(*x) : nullptr, data<T>(y),
                                 scale ? data<A>(*scale) : nullptr, size, act,
                                 with_bias || with_scale ? mutable_data<A>(scratch) : nullptr, mutable_data<T>(grad_x),
                                 with_bias ? mutable_data<A>(grad_bias) : nullptr,
                                 with_scale ? mutable_data<A>(grad_scale) : nullptr, device.stream);
  });
  check_launch("bias_act");
  return {grad_x, grad_bias, grad_scale};
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(tetragan, CUDA, m) {
  m.impl("bias_act", TORCH_BOX(&bias_act));
  m.impl("bias_act_backward", TORCH_BOX(&bias_act_backward));
}

}  // namespace tetragan
