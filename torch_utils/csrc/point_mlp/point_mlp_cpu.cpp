// CPU kernel of `point_mlp`: a packed batch of points through a small network with its own weights for each sample.
//
// A task takes a piece of one sample's points; the pieces' shares of the weights' gradient are added in order, so the result
// is bitwise the same for any number of threads.
#include "point_mlp/point_mlp.h"

#include "common/cpu.h"
#include "common/isa.h"

#define TETRAGAN_DECLARE_POINT_MLP(suffix, T)                                                                            \
  TETRAGAN_DECLARE(void, point_mlp_forward_##suffix,                                                                     \
                   (const MlpShape&, const T* const*, const T* const*, T, T, const T*, int64_t, T*, T*))                 \
  TETRAGAN_DECLARE(void, point_mlp_backward_##suffix,                                                                    \
                   (const MlpShape&, const T* const*, const T* const*, const T* const*, T, T, const T*, const T*, int64_t, \
                    T*, T*, T* const*, T* const*))
TETRAGAN_DECLARE_POINT_MLP(f32, float)
TETRAGAN_DECLARE_POINT_MLP(f64, double)

namespace tetragan {

namespace {

constexpr int64_t kPiece = 2048;  // points of a task
constexpr int64_t kBlock = 64;    // as in point_mlp_simd.cpp

template <class T>
MlpShape shape_of(const std::vector<int64_t>& widths) {
  MlpShape shape{};
  shape.layers = static_cast<int>(widths.size()) - 1;
  const int64_t lanes = 64 / sizeof(T);
  for (size_t l = 0; l < widths.size(); ++l) {
    shape.widths[l] = widths[l];
    shape.padded[l] = (widths[l] + lanes - 1) / lanes * lanes;
  }
  return shape;
}

// The size of one sample's weights, packed (as given) and padded.
int64_t packed_size(const MlpShape& s) {
  int64_t size = 0;
  for (int l = 0; l < s.layers; ++l) size += s.widths[l] * s.widths[l + 1];
  return size;
}

int64_t padded_size(const MlpShape& s) {
  int64_t size = 0;
  for (int l = 0; l < s.layers; ++l) size += s.widths[l] * s.padded[l + 1];
  return size;
}

int64_t transposed_size(const MlpShape& s) {
  int64_t size = 0;
  for (int l = 0; l < s.layers; ++l) size += s.widths[l + 1] * s.padded[l];
  return size;
}

int64_t bias_size(const MlpShape& s) {
  int64_t size = 0;
  for (int l = 0; l < s.layers; ++l) size += s.padded[l + 1];
  return size;
}

int64_t scratch_size(const MlpShape& s) {
  int64_t sum = 0, widest = s.padded[0];
  for (int l = 1; l <= s.layers; ++l) {
    sum += s.padded[l];
    widest = std::max(widest, s.padded[l]);
  }
  return kBlock * (sum + 2 * widest);
}

// Weights of every sample with zeros beyond the last column, and (for the backward pass) transposed.
template <class T>
struct Padded {
  std::vector<T> straight, transposed, biases;
  int64_t straight_step, transposed_step;

  Padded(const MlpShape& s, const T* weights, const T* bias, int64_t samples, bool with_transposed)
      : straight(samples * padded_size(s)), transposed(with_transposed ? samples * transposed_size(s) : 0),
        biases(bias_size(s)), straight_step(padded_size(s)), transposed_step(transposed_size(s)) {
    const int64_t step = packed_size(s);
    for (int64_t n = 0; n < samples; ++n) {
      const T* source = weights + n * step;
      T *target = straight.data() + n * straight_step, *transposed_target = transposed.data() + n * transposed_step;
      for (int l = 0; l < s.layers; ++l) {
        for (int64_t i = 0; i < s.widths[l]; ++i) {
          std::copy_n(source + i * s.widths[l + 1], s.widths[l + 1], target + i * s.padded[l + 1]);
          for (int64_t o = 0; with_transposed && o < s.widths[l + 1]; ++o) {
            transposed_target[o * s.padded[l] + i] = source[i * s.widths[l + 1] + o];
          }
        }
        source += s.widths[l] * s.widths[l + 1];
        target += s.widths[l] * s.padded[l + 1];
        transposed_target += s.widths[l + 1] * s.padded[l];
      }
    }
    T* target = biases.data();
    for (int l = 0; l < s.layers; ++l, target += s.padded[l]) {
      std::copy_n(bias, s.widths[l + 1], target);
      bias += s.widths[l + 1];
    }
  }
};

// Pointers to each layer's matrix (rows[l] × columns[l]) in a run of matrices.
template <class T>
struct Layers {
  T* pointers[kMaxLayers];
};

template <class T>
Layers<T> straight_layers(const MlpShape& s, T* start) {
  Layers<T> layers{};
  for (int l = 0; l < s.layers; ++l) {
    layers.pointers[l] = start;
    start += s.widths[l] * s.padded[l + 1];
  }
  return layers;
}

template <class T>
Layers<T> transposed_layers(const MlpShape& s, T* start) {
  Layers<T> layers{};
  for (int l = 0; l < s.layers; ++l) {
    layers.pointers[l] = start;
    start += s.widths[l + 1] * s.padded[l];
  }
  return layers;
}

template <class T>
Layers<T> bias_layers(const MlpShape& s, T* start) {
  Layers<T> layers{};
  for (int l = 0; l < s.layers; ++l) {
    layers.pointers[l] = start;
    start += s.padded[l + 1];
  }
  return layers;
}

struct Piece {
  int64_t sample, first, last;
};

std::vector<Piece> pieces_of(const Tensor& offsets) {
  std::vector<Piece> pieces;
  const int64_t* bounds = data<int64_t>(offsets);
  for (int64_t sample = 0; sample + 1 < offsets.size(0); ++sample) {
    for (int64_t p = bounds[sample]; p < bounds[sample + 1]; p += kPiece) {
      pieces.push_back({sample, p, std::min(bounds[sample + 1], p + kPiece)});
    }
  }
  return pieces;
}

Tensor point_mlp(const Tensor& x, const Tensor& weights, const Tensor& biases, const Tensor& offsets,
                 std::vector<int64_t> widths, double slope, double gain) {
  Tensor y = empty_like_of(x, {x.size(0), widths.back()});
  const std::vector<Piece> pieces = pieces_of(offsets);
  dispatch_floating(x, "point_mlp", [&](auto zero) {
    using T = decltype(zero);
    const MlpShape shape = shape_of<T>(widths);
    Padded<T> padded(shape, data<T>(weights), data<T>(biases), weights.size(0), false);
    const Layers<const T> of_biases = bias_layers<const T>(shape, padded.biases.data());
    const T* in = data<T>(x);
    T* out = mutable_data<T>(y);
    parallel_tasks(pieces.size(), [&](int64_t task) {
      const Piece& piece = pieces[task];
      std::vector<T> scratch(scratch_size(shape));
      const Layers<const T> own = straight_layers<const T>(shape, padded.straight.data() + piece.sample * padded.straight_step);
      const int64_t first = piece.first, count = piece.last - first;
      const T* from = in + first * widths.front();
      T* to = out + first * widths.back();
      const T s = static_cast<T>(slope), g = static_cast<T>(gain);
      if constexpr (std::is_same_v<T, float>) {
        TETRAGAN_CALL(point_mlp_forward_f32, (shape, own.pointers, of_biases.pointers, s, g, from, count, scratch.data(), to));
      } else {
        TETRAGAN_CALL(point_mlp_forward_f64, (shape, own.pointers, of_biases.pointers, s, g, from, count, scratch.data(), to));
      }
    });
  });
  return y;
}

// Adds the pieces' padded gradients, in order, into the packed tensors.
template <class T>
void add_parts(const MlpShape& s, const std::vector<Piece>& pieces, const std::vector<T>& parts, int64_t step, int64_t samples,
               T* grad_weights, T* grad_biases) {
  const int64_t size = padded_size(s), packed = packed_size(s);
  std::vector<double> total(step), of_biases(bias_size(s), 0.0);
  size_t task = 0;
  for (int64_t n = 0; n < samples; ++n) {
    std::fill(total.begin(), total.end(), 0.0);
    for (; task < pieces.size() && pieces[task].sample == n; ++task) {
      for (int64_t i = 0; i < step; ++i) total[i] += parts[task * step + i];
    }
    const double* source = total.data();
    T* target = grad_weights + n * packed;
    for (int l = 0; l < s.layers; ++l) {
      for (int64_t i = 0; i < s.widths[l]; ++i, source += s.padded[l + 1], target += s.widths[l + 1]) {
        std::copy_n(source, s.widths[l + 1], target);
      }
    }
    for (size_t i = 0; i < of_biases.size(); ++i) of_biases[i] += total[size + i];
  }
  const double* source = of_biases.data();
  for (int l = 0; l < s.layers; ++l, source += s.padded[l], grad_biases += s.widths[l]) {
    std::copy_n(source, s.widths[l + 1], grad_biases);
  }
}

std::tuple<Tensor, Tensor, Tensor> point_mlp_backward(const Tensor& grad, const Tensor& x, const Tensor& weights,
                                                      const Tensor& biases, const Tensor& offsets,
                                                      std::vector<int64_t> widths, double slope, double gain,
                                                      bool with_x) {
  Tensor grad_x = empty_like_of(x, {with_x ? x.size(0) : 0, widths.front()});
  Tensor grad_weights = torch::stable::empty_like(weights), grad_biases = torch::stable::empty_like(biases);
  const std::vector<Piece> pieces = pieces_of(offsets);
  dispatch_floating(x, "point_mlp", [&](auto zero) {
    using T = decltype(zero);
    const MlpShape shape = shape_of<T>(widths);
    Padded<T> padded(shape, data<T>(weights), data<T>(biases), weights.size(0), true);
    const Layers<const T> of_biases = bias_layers<const T>(shape, padded.biases.data());
    const int64_t step = padded_size(shape) + bias_size(shape);
    std::vector<T> parts(pieces.size() * step, T(0));
    const T *in = data<T>(x), *of_y = data<T>(grad);
    T* of_x = mutable_data<T>(grad_x);
    parallel_tasks(pieces.size(), [&](int64_t task) {
      const Piece& piece = pieces[task];
      std::vector<T> scratch(scratch_size(shape));
      const Layers<const T> own = straight_layers<const T>(shape, padded.straight.data() + piece.sample * padded.straight_step);
      const T* start = padded.transposed.data() + piece.sample * padded.transposed_step;
      const Layers<const T> transposed = transposed_layers<const T>(shape, start);
      const Layers<T> part = straight_layers<T>(shape, parts.data() + task * step);
      const Layers<T> bias_part = bias_layers<T>(shape, parts.data() + task * step + padded_size(shape));
      const int64_t first = piece.first, count = piece.last - first;
      const T *from = in + first * widths.front(), *g = of_y + first * widths.back();
      T* target = with_x ? of_x + first * widths.front() : nullptr;
      const T s = static_cast<T>(slope), k = static_cast<T>(gain);
      if constexpr (std::is_same_v<T, float>) {
        TETRAGAN_CALL(point_mlp_backward_f32, (shape, own.pointers, transposed.pointers, of_biases.pointers, s, k, from, g, count,
                                               scratch.data(), target, part.pointers, bias_part.pointers));
      } else {
        TETRAGAN_CALL(point_mlp_backward_f64, (shape, own.pointers, transposed.pointers, of_biases.pointers, s, k, from, g, count,
                                               scratch.data(), target, part.pointers, bias_part.pointers));
      }
    });
    add_parts<T>(shape, pieces, parts, step, weights.size(0), mutable_data<T>(grad_weights), mutable_data<T>(grad_biases));
  });
  return {grad_x, grad_weights, grad_biases};
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(tetragan, CPU, m) {
  m.impl("point_mlp", TORCH_BOX(&point_mlp));
  m.impl("point_mlp_backward", TORCH_BOX(&point_mlp_backward));
}

}  // namespace tetragan
