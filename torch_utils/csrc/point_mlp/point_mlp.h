// Shapes and arithmetic of `point_mlp`, shared by the CPU and CUDA kernels.
#pragma once
#include "common/host_device.h"

namespace tetragan {

constexpr int kMaxLayers = 8;

// Layer l maps widths[l] to widths[l + 1] features. padded: rounded up to whole vectors.
struct MlpShape {
  int layers;
  int64_t widths[kMaxLayers + 1], padded[kMaxLayers + 1];
};

template <class T>
TETRAGAN_HD T hidden_activation(T v, T slope, T gain) {
  return (v < 0 ? v * slope : v) * gain;
}

// From the activation's output: it is positive where its input is.
template <class T>
TETRAGAN_HD T hidden_slope(T out, T slope, T gain) {
  return (out > 0 ? T(1) : slope) * gain;
}

}  // namespace tetragan
