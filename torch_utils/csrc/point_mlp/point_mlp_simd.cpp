// The inner loops of `point_mlp` for one instruction set; see common/isa.h. A block of points goes through all layers while
// its activations stay in the cache; the backward pass recomputes them instead of reading them back.
// build-flags: -ffp-contract=fast -fno-trapping-math -fno-math-errno
#include <cmath>
#include <cstdint>

#include "common/isa.h"
#include "common/small_matrix.h"
#include "point_mlp/point_mlp.h"

namespace tetragan::TETRAGAN_ISA {

namespace {

constexpr int64_t kBlock = 64;  // points

// Activations of a block: layer l's output at scratch + kBlock · (padded[1] + … + padded[l]); returns that of the last.
template <class T>
TETRAGAN_INLINE T* run(const MlpShape& shape, const T* const* weights, const T* const* biases, T slope, T gain, const T* x,
                       int64_t rows, T* scratch) {
  const T* in = x;
  int64_t in_stride = shape.widths[0];
  T* out = scratch;
  for (int l = 0; l < shape.layers; ++l) {
    const int64_t width = shape.padded[l + 1];
    product<T>(in, in_stride, rows, weights[l], shape.widths[l], width, biases[l], out, width);
    if (l + 1 == shape.layers) break;
    for (int64_t i = 0; i < rows * width; ++i) out[i] = hidden_activation<T>(out[i], slope, gain);
    in = out;
    in_stride = width;
    out += kBlock * width;
  }
  return out;
}

template <class T>
TETRAGAN_INLINE void forward(const MlpShape& shape, const T* const* weights, const T* const* biases, T slope, T gain,
                             const T* x, int64_t count, T* scratch, T* y) {
  const int64_t in = shape.widths[0], out = shape.widths[shape.layers], width = shape.padded[shape.layers];
  for (int64_t start = 0; start < count; start += kBlock) {
    const int64_t rows = count - start < kBlock ? count - start : kBlock;
    const T* last = run<T>(shape, weights, biases, slope, gain, x + start * in, rows, scratch);
    for (int64_t r = 0; r < rows; ++r) {
      for (int64_t c = 0; c < out; ++c) y[(start + r) * out + c] = last[r * width + c];
    }
  }
}

// Adds to the weights' and biases' gradients (padded like the weights); grad_x may be null.
template <class T>
TETRAGAN_INLINE void backward(const MlpShape& shape, const T* const* weights, const T* const* transposed, const T* const* biases,
                              T slope, T gain, const T* x, const T* grad_y, int64_t count, T* scratch, T* grad_x,
                              T* const* grad_weights, T* const* grad_biases) {
  const int64_t in = shape.widths[0], out = shape.widths[shape.layers], last_width = shape.padded[shape.layers];
  T* gradients[2];
  int64_t used = 0, widest = shape.padded[0];
  for (int l = 1; l <= shape.layers; ++l) {
    used += kBlock * shape.padded[l];
    widest = widest < shape.padded[l] ? shape.padded[l] : widest;
  }
  gradients[0] = scratch + used;
  gradients[1] = gradients[0] + kBlock * widest;
  for (int64_t start = 0; start < count; start += kBlock) {
    const int64_t rows = count - start < kBlock ? count - start : kBlock;
    run<T>(shape, weights, biases, slope, gain, x + start * in, rows, scratch);
    T* g = gradients[0];
    for (int64_t r = 0; r < rows; ++r) {
      for (int64_t c = 0; c < last_width; ++c) g[r * last_width + c] = c < out ? grad_y[(start + r) * out + c] : T(0);
    }
    int64_t activations = used;
    for (int l = shape.layers - 1; l >= 0; --l) {
      const int64_t width = shape.padded[l + 1];
      activations -= kBlock * width;
      const T* of_layer = scratch + activations;
      if (l + 1 < shape.layers) {
        for (int64_t i = 0; i < rows * width; ++i) g[i] *= hidden_slope<T>(of_layer[i], slope, gain);
      }
      const T* input = l == 0 ? x + start * in : of_layer - kBlock * shape.padded[l];
      const int64_t stride = l == 0 ? in : shape.padded[l];
      outer<T>(input, stride, shape.widths[l], g, width, rows, width, grad_weights[l]);
      for (int64_t r = 0; r < rows; ++r) {
        for (int64_t c = 0; c < width; ++c) grad_biases[l][c] += g[r * width + c];
      }
      if (l == 0 && grad_x == nullptr) break;
      T* below = g == gradients[0] ? gradients[1] : gradients[0];
      product<T>(g, width, rows, transposed[l], shape.widths[l + 1], shape.padded[l], nullptr, below, shape.padded[l]);
      g = below;
    }
    if (grad_x == nullptr) continue;
    for (int64_t r = 0; r < rows; ++r) {
      for (int64_t c = 0; c < in; ++c) grad_x[(start + r) * in + c] = g[r * shape.padded[0] + c];
    }
  }
}

}  // namespace

// weights[l]: [widths[l]][padded[l + 1]]; transposed[l]: its transpose [widths[l + 1]][padded[l]]; biases[l]: [padded[l + 1]].
// scratch: 64 · (Σ padded + 2 · widest).
#define TETRAGAN_POINT_MLP(suffix, T)                                                                                           \
  void point_mlp_forward_##suffix(const MlpShape& shape, const T* const* weights, const T* const* biases, T slope, T gain,      \
                                  const T* x, int64_t count, T* scratch, T* y) {                                                \
    forward<T>(shape, weights, biases, slope, gain, x, count, scratch, y);                                                      \
  }                                                                                                                             \
  void point_mlp_backward_##suffix(const MlpShape& shape, const T* const* weights, const T* const* transposed,                  \
                                   const T* const* biases, T slope, T gain, const T* x, const T* grad_y, int64_t count,         \
                                   T* scratch, T* grad_x, T* const* grad_weights, T* const* grad_biases) {                      \
    backward<T>(shape, weights, transposed, biases, slope, gain, x, grad_y, count, scratch, grad_x, grad_weights,               \
                grad_biases);                                                                                                   \
  }
TETRAGAN_POINT_MLP(f32, float)
TETRAGAN_POINT_MLP(f64, double)

}  // namespace tetragan::TETRAGAN_ISA
