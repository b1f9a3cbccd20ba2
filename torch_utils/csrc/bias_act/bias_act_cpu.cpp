// CPU kernel of `bias_act`: contiguous or channels-last, float, double or bfloat16, one pass each way.
//
// The work is cut into pieces whose size depends on the shape alone. Each piece sums its share of the gradients of bias and
// scale, and the shares are added in order: bitwise the same for any number of threads.
#include "bias_act/bias_act.h"

#include "common/bfloat16.h"
#include "common/cpu.h"
#include "common/isa.h"

#define TETRAGAN_DECLARE_BIAS_ACT(suffix, T, A)                                                                            \
  TETRAGAN_DECLARE(void, bias_act_forward_##suffix, (const T*, const A*, const A*, int64_t, int64_t, BiasAct<A>, T*))      \
  TETRAGAN_DECLARE(void, bias_act_forward_plane_##suffix, (const T*, A, A, int64_t, BiasAct<A>, T*))                       \
  TETRAGAN_DECLARE(void, bias_act_backward_##suffix,                                                                       \
                   (const T*, const T*, const T*, const A*, int64_t, int64_t, BiasAct<A>, T*, A*, A*))                     \
  TETRAGAN_DECLARE(void, bias_act_backward_plane_##suffix,                                                                 \
                   (const T*, const T*, const T*, A, int64_t, BiasAct<A>, T*, A*, A*))
TETRAGAN_DECLARE_BIAS_ACT(f32, float, float)
TETRAGAN_DECLARE_BIAS_ACT(f64, double, double)
TETRAGAN_DECLARE_BIAS_ACT(bf16, Bfloat16, float)

namespace tetragan {

namespace {

constexpr int64_t kPiece = 1 << 14;  // elements, roughly: small enough to balance the load, large enough for little overhead

// The tensor as [samples][outer][channels][inner]; samples matter only if each has its own scale.
struct Layout {
  int64_t samples, outer, channels, inner;
};

Layout layout_of(const Tensor& x, int64_t dim, bool scaled) {
  Layout layout{1, 1, x.size(dim), 1};
  if (x.is_contiguous()) {
    for (int64_t d = 0; d < x.dim(); ++d) {
      (d < dim ? (d == 0 && scaled ? layout.samples : layout.outer) : layout.inner) *= d == dim ? 1 : x.size(d);
    }
    return layout;
  }
  STD_TORCH_CHECK(x.dim() == 4 && dim == 1 && x.stride(1) == 1, "bias_act(): expected contiguous or channels-last");
  (scaled ? layout.samples : layout.outer) *= x.size(0);
  layout.outer *= x.size(2) * x.size(3);
  return layout;
}

// One piece of work: rows [first, last) of a sample; with inner > 1 a row is one channel's plane.
struct Piece {
  int64_t sample, first, last;
};

std::vector<Piece> pieces_of(const Layout& layout) {
  const int64_t rows = layout.inner == 1 ? layout.outer : layout.outer * layout.channels;
  const int64_t width = layout.inner == 1 ? layout.channels : layout.inner;
  const int64_t step = std::max<int64_t>(1, kPiece / std::max<int64_t>(1, width));
  std::vector<Piece> pieces;
  for (int64_t sample = 0; sample < layout.samples; ++sample) {
    for (int64_t row = 0; row < rows; row += step) pieces.push_back({sample, row, std::min(rows, row + step)});
  }
  return pieces;
}

template <class A>
std::vector<A> values_or(const std::optional<Tensor>& tensor, int64_t count, A otherwise) {
  std::vector<A> values(count, otherwise);
  if (tensor) std::copy_n(data<A>(*tensor), count, values.begin());
  return values;
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

#define TETRAGAN_FOR_TYPE(name, arguments)                                     \
  if constexpr (std::is_same_v<T, float>) TETRAGAN_CALL(name##_f32, arguments); \
  else if constexpr (std::is_same_v<T, double>) TETRAGAN_CALL(name##_f64, arguments); \
  else TETRAGAN_CALL(name##_bf16, arguments)

Tensor bias_act(const Tensor& x, const std::optional<Tensor>& bias, const std::optional<Tensor>& scale, int64_t dim,
                double slope, double gain, double clamp) {
  Tensor y = torch::stable::empty_like(x);
  const Layout layout = layout_of(x, dim, scale.has_value());
  const int64_t channels = layout.channels, inner = layout.inner;
  const std::vector<Piece> pieces = pieces_of(layout);
  dispatch(x, [&](auto zero) {
    using T = decltype(zero);
    using A = typename Accumulate<T>::type;
    const BiasAct<A> act{static_cast<A>(gain), static_cast<A>(gain * slope), static_cast<A>(clamp)};
    const std::vector<A> add = values_or<A>(bias, channels, A(0));
    const std::vector<A> factor = values_or<A>(scale, layout.samples * channels, A(1));
    const T* in = data<T>(x);
    T* out = mutable_data<T>(y);
    parallel_tasks(pieces.size(), [&](int64_t task) {
      const Piece& piece = pieces[task];
      const A* own = factor.data() + piece.sample * channels;
      const int64_t start = piece.sample * layout.outer * channels * inner;
      if (inner == 1) {
        const int64_t at = start + piece.first * channels;
        TETRAGAN_FOR_TYPE(bias_act_forward, (in + at, own, add.data(), piece.last - piece.first, channels, act, out + at));
        return;
      }
      for (int64_t row = piece.first; row < piece.last; ++row) {
        const int64_t at = start + row * inner, c = row % channels;
        TETRAGAN_FOR_TYPE(bias_act_forward_plane, (in + at, own[c], add[c], inner, act, out + at));
      }
    });
  });
  return y;
}

// Gradients of x, bias and scale from that of y. The two sums are empty unless requested.
std::tuple<Tensor, Tensor, Tensor> bias_act_backward(const Tensor& grad, const std::optional<Tensor>& x, const Tensor& y,
                                                     const std::optional<Tensor>& scale, int64_t dim, double slope,
                                                     double gain, double clamp, bool with_bias, bool with_scale) {
  const Layout layout = layout_of(grad, dim, scale.has_value());
  const int64_t channels = layout.channels, inner = layout.inner;
  Tensor grad_x = torch::stable::empty_like(grad);
  Tensor grad_bias = zeros_like_of(grad, {with_bias ? channels : 0}, sum_type(grad));
  Tensor grad_scale = zeros_like_of(grad, {with_scale ? layout.samples : 0, channels}, sum_type(grad));
  const std::vector<Piece> pieces = pieces_of(layout);
  dispatch(grad, [&](auto zero) {
    using T = decltype(zero);
    using A = typename Accumulate<T>::type;
    const BiasAct<A> act{static_cast<A>(gain), static_cast<A>(gain * slope), static_cast<A>(clamp)};
    const std::vector<A> factor = values_or<A>(scale, layout.samples * channels, A(1));
    const T *g = data<T>(grad), *in = with_scale ? data<T>(*x) : nullptr, *out = data<T>(y);
    T* target = mutable_data<T>(grad_x);
    const bool sums = with_bias || with_scale;
    std::vector<A> parts(sums ? pieces.size() * 2 * channels : 0, A(0));
    parallel_tasks(pieces.size(), [&](int64_t task) {
      const Piece& piece = pieces[task];
      const A* own = factor.data() + piece.sample * channels;
      A* bias_part = sums ? parts.data() + task * 2 * channels : nullptr;
      A* scale_part = with_scale ? bias_part + channels : nullptr;
      const int64_t start = piece.sample * layout.outer * channels * inner;
      if (inner == 1) {
        const int64_t at = start + piece.first * channels;
        TETRAGAN_FOR_TYPE(bias_act_backward, (g + at, with_scale ? in + at : nullptr, out + at, own,
                                              piece.last - piece.first, channels, act, target + at, bias_part, scale_part));
        return;
      }
      for (int64_t row = piece.first; row < piece.last; ++row) {
        const int64_t at = start + row * inner, c = row % channels;
        A unused[2] = {};
        TETRAGAN_FOR_TYPE(bias_act_backward_plane,
                          (g + at, with_scale ? in + at : nullptr, out + at, own[c], inner, act, target + at,
                           sums ? bias_part + c : unused, with_scale ? scale_part + c : unused + 1));
      }
    });
    if (!sums) return;
    std::vector<double> total(channels, 0.0), of_scale(layout.samples * channels, 0.0);
    for (size_t task = 0; task < pieces.size(); ++task) {
      const A* part = parts.data() + task * 2 * channels;
      for (int64_t c = 0; c < channels; ++c) {
        total[c] += part[c];
        of_scale[pieces[task].sample * channels + c] += part[channels + c];
      }
    }
    if (with_bias) std::copy(total.begin(), total.end(), mutable_data<A>(grad_bias));
    if (with_scale) std::copy(of_scale.begin(), of_scale.end(), mutable_data<A>(grad_scale));
  });
  return {grad_x, grad_bias, grad_scale};
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(tetragan, CPU, m) {
  m.impl("bias_act", TORCH_BOX(&bias_act));
  m.impl("bias_act_backward", TORCH_BOX(&bias_act_backward));
}

}  // namespace tetragan
