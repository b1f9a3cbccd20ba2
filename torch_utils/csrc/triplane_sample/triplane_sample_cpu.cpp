// CPU kernel of `triplane_sample`: all planes and channels of a point in one pass, forward and backward.
//
// Points are cut into pieces for the forward pass and for their own gradient. The planes' gradient has one owner: one task
// adds that of one sample in the points' order (with few samples, 16 channels of one plane), so it is bitwise the same for
// any number of threads, without atomics or buffers.
#include "triplane_sample/triplane_sample.h"

#include "common/cpu.h"
#include "common/isa.h"
#include "triplane_sample/planes.h"

#define TETRAGAN_DECLARE_TRIPLANE(suffix, T)                                                                               \
  TETRAGAN_DECLARE(void, triplane_forward_##suffix, (const T*, PlaneStrides, int64_t, const T*, int64_t, T*))              \
  TETRAGAN_DECLARE(void, triplane_backward_points_##suffix,                                                                \
                   (const T*, PlaneStrides, int64_t, const T*, int64_t, const T*, T*))                                     \
  TETRAGAN_DECLARE(void, triplane_backward_planes_##suffix,                                                                 \
                   (PlaneStrides, int64_t, int64_t, int, int, const T*, int64_t, const T*, T*))
TETRAGAN_DECLARE_TRIPLANE(f32, float)
TETRAGAN_DECLARE_TRIPLANE(f64, double)

namespace tetragan {

namespace {

constexpr int64_t kPiece = 2048;      // points of a task
constexpr int64_t kPart = 16;         // channels of a task if there are too few samples
constexpr int64_t kManySamples = 16;  // enough to keep the threads busy with one task a sample

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

PlaneStrides strides_of(const Tensor& planes) {
  return {planes.size(2), planes.stride(0), planes.stride(1), planes.stride(2), planes.stride(3)};
}

Tensor triplane_sample(const Tensor& planes, const Tensor& points, const Tensor& offsets) {
  const int64_t channels = planes.size(4);
  Tensor out = empty_like_of(planes, {points.size(0), channels});
  const PlaneStrides strides = strides_of(planes);
  const std::vector<Piece> pieces = pieces_of(offsets);
  dispatch_floating(planes, "triplane_sample", [&](auto zero) {
    using T = decltype(zero);
    const T *texels = data<T>(planes), *at = data<T>(points);
    T* target = mutable_data<T>(out);
    parallel_tasks(pieces.size(), [&](int64_t task) {
      const Piece& piece = pieces[task];
      const T* sample = texels + piece.sample * strides.sample;
      const int64_t count = piece.last - piece.first;
      if constexpr (std::is_same_v<T, float>) {
        TETRAGAN_CALL(triplane_forward_f32, (sample, strides, channels, at + 3 * piece.first, count, target + piece.first * channels));
      } else {
        TETRAGAN_CALL(triplane_forward_f64, (sample, strides, channels, at + 3 * piece.first, count, target + piece.first * channels));
      }
    });
  });
  return out;
}

template <class T>
void add_planes(const PlaneStrides& strides, int64_t samples, int64_t channels, const T* points, const int64_t* bounds,
                const T* grad, T* grad_planes) {
  const bool many = samples >= kManySamples;
  const int64_t part = many ? channels : std::min(channels, kPart), parts = (channels + part - 1) / part;
  const int64_t groups = many ? 1 : 3;
  parallel_tasks(samples * groups * parts, [&](int64_t task) {
    const int64_t sample = task / (groups * parts), group = task / parts % groups, first = task % parts * part;
    const int64_t start = bounds[sample], count = bounds[sample + 1] - start, width = std::min(part, channels - first);
    const int low = many ? 0 : static_cast<int>(group), high = many ? 3 : low + 1;
    T* target = grad_planes + sample * strides.sample + first;
    const T *g = grad + start * channels + first, *at = points + 3 * start;
    if constexpr (std::is_same_v<T, float>) {
      TETRAGAN_CALL(triplane_backward_planes_f32, (strides, channels, width, low, high, at, count, g, target));
    } else {
      TETRAGAN_CALL(triplane_backward_planes_f64, (strides, channels, width, low, high, at, count, g, target));
    }
  });
}

// Gradients of the planes (in the planes' own memory format) and of the points; either is empty unless requested.
std::tuple<Tensor, Tensor> triplane_sample_backward(const Tensor& grad, const Tensor& planes, const Tensor& points,
                                                    const Tensor& offsets, bool with_planes, bool with_points) {
  const int64_t channels = planes.size(4), samples = planes.size(0);
  const PlaneStrides strides = strides_of(planes);
  Tensor grad_planes = with_planes ? torch::stable::empty_like(planes) : empty_like_of(planes, {0});
  Tensor grad_points = empty_like_of(points, {with_points ? points.size(0) : 0, 3});
  const std::vector<Piece> pieces = pieces_of(offsets);
  dispatch_floating(planes, "triplane_sample", [&](auto zero) {
    using T = decltype(zero);
    const T *texels = data<T>(planes), *at = data<T>(points), *g = data<T>(grad);
    if (with_planes) {
      torch::stable::zero_(grad_planes);
      add_planes<T>(strides_of(grad_planes), samples, channels, at, data<int64_t>(offsets), g, mutable_data<T>(grad_planes));
    }
    if (!with_points) return;
    T* target = mutable_data<T>(grad_points);
    parallel_tasks(pieces.size(), [&](int64_t task) {
      const Piece& piece = pieces[task];
      const T* sample = texels + piece.sample * strides.sample;
      const int64_t count = piece.last - piece.first, p = piece.first;
      if constexpr (std::is_same_v<T, float>) {
        TETRAGAN_CALL(triplane_backward_points_f32, (sample, strides, channels, at + 3 * p, count, g + p * channels, target + 3 * p));
      } else {
        TETRAGAN_CALL(triplane_backward_points_f64, (sample, strides, channels, at + 3 * p, count, g + p * channels, target + 3 * p));
      }
    });
  });
  return {grad_planes, grad_points};
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(tetragan, CPU, m) {
  m.impl("triplane_sample", TORCH_BOX(&triplane_sample));
  m.impl("triplane_sample_backward", TORCH_BOX(&triplane_sample_backward));
}

}  // namespace tetragan
