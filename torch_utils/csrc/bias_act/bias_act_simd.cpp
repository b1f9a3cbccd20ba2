// The inner loops of `bias_act` for one instruction set; see common/isa.h. Plain loops that the compiler vectorizes.
// build-flags: -ffp-contract=fast -fno-trapping-math -fno-math-errno
#include <cmath>
#include <cstdint>

#include "bias_act/bias_act.h"
#include "common/bfloat16.h"
#include "common/isa.h"

namespace tetragan::TETRAGAN_ISA {

namespace {

template <class T, class A>
inline void forward(const T* __restrict x, const A* __restrict scale, const A* __restrict bias, int64_t rows,
                    int64_t channels, BiasAct<A> act, T* __restrict y) {
  for (int64_t row = 0; row < rows; ++row) {
    const T* source = x + row * channels;
    T* target = y + row * channels;
    for (int64_t c = 0; c < channels; ++c) {
      store_value(target[c], bias_act_forward<A>(load_value(source[c]), scale[c], bias[c], act));
    }
  }
}

template <class T, class A>
inline void forward_plane(const T* __restrict x, A scale, A bias, int64_t count, BiasAct<A> act, T* __restrict y) {
  for (int64_t i = 0; i < count; ++i) store_value(y[i], bias_act_forward<A>(load_value(x[i]), scale, bias, act));
}

template <class T, class A>
inline void backward(const T* __restrict grad, const T* __restrict x, const T* __restrict y, const A* __restrict scale,
                     int64_t rows, int64_t channels, BiasAct<A> act, T* __restrict grad_x, A* __restrict grad_bias,
                     A* __restrict grad_scale) {
  for (int64_t row = 0; row < rows; ++row) {
    const T *g = grad + row * channels, *out = y + row * channels;
    T* target = grad_x + row * channels;
    if (grad_scale != nullptr) {
      const T* in = x + row * channels;
      for (int64_t c = 0; c < channels; ++c) {
        const A t = load_value(g[c]) * bias_act_slope<A>(load_value(out[c]), act);
        store_value(target[c], t * scale[c]);
        grad_bias[c] += t;
        grad_scale[c] += t * load_value(in[c]);
      }
    } else if (grad_bias != nullptr) {
      for (int64_t c = 0; c < channels; ++c) {
        const A t = load_value(g[c]) * bias_act_slope<A>(load_value(out[c]), act);
        store_value(target[c], t * scale[c]);
        grad_bias[c] += t;
      }
    } else {
      for (int64_t c = 0; c < channels; ++c) {
        store_value(target[c], load_value(g[c]) * bias_act_slope<A>(load_value(out[c]), act) * scale[c]);
      }
    }
  }
}

// The sums run over sixteen lanes, so that they vectorize and do not depend on the instruction set's width.
template <bool kScaled, class T, class A>
inline void backward_plane(const T* __restrict grad, const T* __restrict x, const T* __restrict y, A scale, int64_t count,
                           BiasAct<A> act, T* __restrict grad_x, A* grad_bias, A* grad_scale) {
  constexpr int kLanes = 16;
  A bias_sums[kLanes] = {}, scale_sums[kLanes] = {};
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    A t[kLanes];
    for (int k = 0; k < kLanes; ++k) t[k] = load_value(grad[i + k]) * bias_act_slope<A>(load_value(y[i + k]), act);
    for (int k = 0; k < kLanes; ++k) store_value(grad_x[i + k], t[k] * scale);
    for (int k = 0; k < kLanes; ++k) bias_sums[k] += t[k];
    if constexpr (kScaled) {
      for (int k = 0; k < kLanes; ++k) scale_sums[k] += t[k] * load_value(x[i + k]);
    }
  }
  for (; i < count; ++i) {
    const A t = load_value(grad[i]) * bias_act_slope<A>(load_value(y[i]), act);
    store_value(grad_x[i], t * scale);
    bias_sums[0] += t;
    if constexpr (kScaled) scale_sums[0] += t * load_value(x[i]);
  }
  for (int k = 0; k < kLanes; ++k) {
    *grad_bias += bias_sums[k];
    *grad_scale += scale_sums[k];
  }
}

}  // namespace

// rows × channels, channels-last; scale and bias [channels]. backward adds to grad_bias and grad_scale; either may be null.
#define TETRAGAN_BIAS_ACT(suffix, T, A)                                                                                  \
  void bias_act_forward_##suffix(const T* x, const A* scale, const A* bias, int64_t rows, int64_t channels,              \
                                 BiasAct<A> act, T* y) {                                                                 \
    forward<T, A>(x, scale, bias, rows, channels, act, y);                                                               \
  }                                                                                                                      \
  void bias_act_forward_plane_##suffix(const T* x, A scale, A bias, int64_t count, BiasAct<A> act, T* y) {               \
    forward_plane<T, A>(x, scale, bias, count, act, y);                                                                  \
  }                                                                                                                      \
  void bias_act_backward_##suffix(const T* grad, const T* x, const T* y, const A* scale, int64_t rows, int64_t channels, \
                                  BiasAct<A> act, T* grad_x, A* grad_bias, A* grad_scale) {                              \
    backward<T, A>(grad, x, y, scale, rows, channels, act, grad_x, grad_bias, grad_scale);                               \
  }                                                                                                                      \
  void bias_act_backward_plane_##suffix(const T* grad, const T* x, const T* y, A scale, int64_t count, BiasAct<A> act,   \
                                        T* grad_x, A* grad_bias, A* grad_scale) {                                        \
    if (x != nullptr) {                                                                                                  \
      backward_plane<true, T, A>(grad, x, y, scale, count, act, grad_x, grad_bias, grad_scale);                          \
    } else {                                                                                                             \
      backward_plane<false, T, A>(grad, x, y, scale, count, act, grad_x, grad_bias, grad_scale);                         \
    }                                                                                                                    \
  }
TETRAGAN_BIAS_ACT(f32, float, float)
TETRAGAN_BIAS_ACT(f64, double, double)
TETRAGAN_BIAS_ACT(bf16, Bfloat16, float)

}  // namespace tetragan::TETRAGAN_ISA
