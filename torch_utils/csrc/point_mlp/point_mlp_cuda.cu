// CUDA kernels of `point_mlp`: a launch for each layer, whatever the number of samples. The backward pass computes the hidden
// activations again; sums over points are taken piece by piece in a fixed order.
#include "common/grouped_product.cuh"
#include "point_mlp/point_mlp_cuda.h"

namespace tetragan {
namespace {

int64_t weights_before(const MlpShape& s, int layer) {
  int64_t size = 0;
  for (int l = 0; l < layer; ++l) size += s.widths[l] * s.widths[l + 1];
  return size;
}

int64_t biases_before(const MlpShape& s, int layer) {
  int64_t size = 0;
  for (int l = 0; l < layer; ++l) size += s.widths[l + 1];
  return size;
}

// Layer l's output of `points` rows within the scratch; l from 0 to layers − 2.
int64_t hidden_before(const MlpShape& s, int layer, int64_t points) { return points * biases_before(s, layer); }

int64_t widest(const MlpShape& s) {
  int64_t width = 0;
  for (int l = 0; l < s.layers; ++l) width = s.widths[l] > width ? s.widths[l] : width;
  return width;
}

int64_t largest_part(const MlpShape& s) {
  int64_t size = 0;
  for (int l = 0; l < s.layers; ++l) {
    const int64_t part = (s.widths[l] + 1) * s.widths[l + 1];
    size = part > size ? part : size;
  }
  return size;
}

// Layers [0, last): activations to the scratch, those of the network's last layer to y.
template <class T>
void run_layers(const T* x, const T* weights, const T* biases, const MlpShape& s, int last, int64_t points,
                const grouped::Table& rows, T slope, T gain, T* scratch, T* y, cudaStream_t stream) {
  for (int l = 0; l < last; ++l) {
    grouped::Epilogue<T> epilogue;
    epilogue.bias = biases + biases_before(s, l);
    epilogue.activate = l + 1 < s.layers;
    epilogue.slope = slope;
    epilogue.gain = gain;
    T* out = l + 1 < s.layers ? scratch + hidden_before(s, l, points) : y;
    grouped::launch_product<false, T>(x, weights + weights_before(s, l), weights_before(s, s.layers), s.widths[l],
                                      s.widths[l + 1], rows, epilogue, out, stream);
    x = out;
  }
}

}  // namespace

int64_t point_mlp_cuda_scratch(const MlpShape& shape, int64_t points, int64_t pieces, bool backward) {
  const int64_t hidden = hidden_before(shape, shape.layers - 1, points);
  return backward ? hidden + 2 * points * widest(shape) + pieces * largest_part(shape) : hidden;
}

template <class T>
void point_mlp_cuda(const T* x, const T* weights, const T* biases, const MlpShape& s, int64_t points,
                    const grouped::Table& rows, T slope, T gain, T* scratch, T* y, cudaStream_t stream) {
  run_layers<T>(x, weights, biases, s, s.layers, points, rows, slope, gain, scratch, y, stream);
}

template <class T>
void point_mlp_backward_cuda(const T* grad, const T* x, const T* weights, const T* biases, const MlpShape& s, int64_t points,
                             const grouped::Table& rows, T slope, T gain, T* scratch, T* grad_x, T* grad_weights,
                             T* grad_biases, cudaStream_t stream) {
  run_layers<T>(x, weights, biases, s, s.layers - 1, points, rows, slope, gain, scratch, nullptr, stream);
  T* spare[2] = {scratch + hidden_before(s, s.layers - 1, points), nullptr};
  spare[1] = spare[0] + points * widest(s);
  T* parts = spare[1] + points * widest(s);
  const int64_t step = weights_before(s, s.layers);
  for (int l = s.layers - 1; l >= 0; --l) {
    const T* input = l == 0 ? x : scratch + hidden_before(s, l - 1, points);
    grouped::launch_outer<T>(input, grad, s.widths[l], s.widths[l + 1], rows, parts, grad_weights + weights_before(s, l), step,
                             grad_biases + biases_before(s, l), stream);
    if (l == 0 && grad_x == nullptr) break;
    grouped::Epilogue<T> epilogue;
    epilogue.below = l > 0 ? input : nullptr;
    epilogue.slope = slope;
    epilogue.gain = gain;
    T* below = l == 0 ? grad_x : spare[l % 2];
    grouped::launch_product<true, T>(grad, weights + weights_before(s, l), step, s.widths[l + 1], s.widths[l], rows, epilogue,
                                     below, stream);
    grad = below;
  }
}

#define TETRAGAN_INSTANTIATE(T)                                                                                            \
  template void point_mlp_cuda<T>(const T*, const T*, const T*, const MlpShape&, int64_t, const grouped::Table&, T, T, T*, \
                                  T*, cudaStream_t);                                                                       \
  template void point_mlp_backward_cuda<T>(const T*, const T*, const T*, const T*, const MlpShape&, int64_t,               \
                                           const grouped::Table&, T, T, T*, T*, T*, T*, cudaStream_t);
TETRAGAN_INSTANTIATE(float)
TETRAGAN_INSTANTIATE(double)

}  // namespace tetragan
