// CPU kernel of `upfirdn2d` with a separable filter: contiguous or channels-last, float, double or bfloat16.
//
// Every output pixel is written by one task, so the result is bitwise the same for any number of threads. A contiguous
// tensor is B·C images of one channel.
#include "upfirdn2d/upfirdn2d.h"

#include "common/bfloat16.h"
#include "common/cpu.h"
#include "common/isa.h"

#define TETRAGAN_DECLARE_UPFIRDN2D(suffix, T, A)                                                                     \
  TETRAGAN_DECLARE(void, upfirdn2d_##suffix,                                                                         \
                   (const T*, int64_t, int64_t, int64_t, int64_t, int64_t, const Taps<A>&, const Taps<A>&,           \
                    const Line<A>*, const T*, const Bfloat16*, A*, T*))
TETRAGAN_DECLARE_UPFIRDN2D(f32, float, float)
TETRAGAN_DECLARE_UPFIRDN2D(f64, double, double)
TETRAGAN_DECLARE_UPFIRDN2D(bf16, Bfloat16, float)

namespace tetragan {

namespace {

constexpr int64_t kPiece = 1 << 14;  // output values of a task, roughly

// For each output along an axis, its inputs and their weights; inputs outside the image have weight 0.
template <class A>
struct Plan {
  std::vector<int64_t> index;
  std::vector<A> weight;
  int64_t count;
  Taps<A> taps() const { return {index.data(), weight.data(), count}; }
};

template <class A>
Plan<A> plan_axis(const ResampleAxis& axis, int64_t outputs, const std::vector<double>& taps) {
  Plan<A> plan;
  plan.count = most_inputs(axis);
  for (int64_t o = 0; o < outputs; ++o) {
    int64_t tap;
    const int64_t first = first_input(axis, o, tap);
    for (int64_t i = 0; i < plan.count; ++i, tap += axis.up) {
      const int64_t input = first + i;
      const bool inside = input >= 0 && input < axis.size && tap < axis.taps;
      plan.index.push_back(std::clamp<int64_t>(input, 0, axis.size - 1));
      plan.weight.push_back(inside ? static_cast<A>(taps[tap]) : A(0));
    }
  }
  return plan;
}

// The Line of an axis with its memory; it exists if up or down is 1 and an output has at most four inputs.
template <class A>
struct LinePlan {
  std::vector<int64_t> first;
  std::vector<A> weight;
  Line<A> line{};
  bool possible = false;

  LinePlan(const ResampleAxis& axis, int64_t outputs, const std::vector<double>& taps) {
    const int64_t inputs = most_inputs(axis), count = inputs == 3 ? 4 : inputs;
    possible = (axis.up == 1 || axis.down == 1) && count <= 4;
    if (!possible) return;
    int64_t lowest = 0, highest = axis.size - 1;
    for (int64_t phase = 0; phase < std::min(axis.up, outputs); ++phase) {
      int64_t tap;
      first.push_back(first_input(axis, phase, tap));
      for (int64_t i = 0; i < count; ++i, tap += axis.up) weight.push_back(tap < axis.taps ? static_cast<A>(taps[tap]) : A(0));
      const int64_t last_output = (outputs - 1 - phase) / axis.up;
      lowest = std::min(lowest, first.back());
      highest = std::max(highest, first.back() + axis.down * last_output + count - 1);
    }
    line = {nullptr, nullptr, count, axis.up, axis.down, -lowest, highest - (axis.size - 1)};
    for (int64_t& start : first) start -= lowest;
    line.first = first.data();
    line.weight = weight.data();
  }
};

// The taps in the order of the image (a convolution flips them), times the gain of one axis.
std::vector<double> ordered_taps(const Tensor& filter, bool flip, double gain) {
  const int64_t count = filter.size(0);
  std::vector<double> taps(count);
  dispatch_floating(filter, "upfirdn2d", [&](auto zero) {
    const auto* values = data<decltype(zero)>(filter);
    for (int64_t t = 0; t < count; ++t) taps[t] = gain * values[flip ? t : count - 1 - t];
  });
  return taps;
}

Tensor upfirdn2d(const Tensor& x, const Tensor& filter, const std::optional<Tensor>& add, int64_t up, int64_t down, int64_t left, int64_t right, int64_t top,
                 int64_t bottom, bool flip, double gain) {
  const bool planar = x.is_contiguous();
  const int64_t channels = planar ? 1 : x.size(1), images = planar ? x.size(0) * x.size(1) : x.size(0);
  const int64_t height = x.size(2), width = x.size(3), taps = filter.size(0);
  const int64_t out_height = (height * up + top + bottom - taps) / down + 1;
  const int64_t out_width = (width * up + left + right - taps) / down + 1;
  Tensor y = planar ? empty_like_of(x, {x.size(0), x.size(1), out_height, out_width})
                    : empty_like_of(x, {x.size(0), out_height, out_width, x.size(1)});
  const ResampleAxis rows{height, up, down, top, taps}, columns{width, up, down, left, taps};
  const std::vector<double> down_the_rows = ordered_taps(filter, flip, gain), along = ordered_taps(filter, flip, 1.0);
  const auto run = [&](auto zero, auto kernel) {
    using T = decltype(zero);
    using A = typename Accumulate<T>::type;
    const Plan<A> row_plan = plan_axis<A>(rows, out_height, down_the_rows);
    const Plan<A> column_plan = plan_axis<A>(columns, out_width, along);
    const LinePlan<A> line_plan(columns, out_width, along);
    const Line<A>* line = planar && line_plan.possible ? &line_plan.line : nullptr;
    const Taps<A> of_rows = row_plan.taps(), of_columns = column_plan.taps();
    const T* in = data<T>(x);
    T* out = mutable_data<T>(y);
    const bool narrow = add && add->scalar_type() != x.scalar_type();
    const T* other = add && !narrow ? data<T>(*add) : nullptr;
    const Bfloat16* narrow_other = narrow ? data<Bfloat16>(*add) : nullptr;
    const int64_t step = std::max<int64_t>(1, kPiece / (out_width * channels));
    const int64_t bands = (out_height + step - 1) / step, size = out_height * out_width * channels;
    parallel_tasks(images * bands, [&](int64_t task) {
      const int64_t image = task / bands, first = task % bands * step;
      std::vector<A> scratch(width * channels + (line ? line->lead + line->tail + out_width : 0));
      kernel(in + image * height * width * channels, width, channels, first, std::min(out_height, first + step), out_width,
             of_rows, of_columns, line, other ? other + image * size : nullptr,
             narrow_other ? narrow_other + image * size : nullptr, scratch.data(), out + image * size);
    });
  };
  switch (x.scalar_type()) {
    case ScalarType::Float: run(float{}, [](auto&&... a) { TETRAGAN_CALL(upfirdn2d_f32, (a...)); }); break;
    case ScalarType::Double: run(double{}, [](auto&&... a) { TETRAGAN_CALL(upfirdn2d_f64, (a...)); }); break;
    case ScalarType::BFloat16: run(Bfloat16{}, [](auto&&... a) { TETRAGAN_CALL(upfirdn2d_bf16, (a...)); }); break;
    default: STD_TORCH_CHECK(false, "upfirdn2d(): expected float32, float64 or bfloat16, got another type");
  }
  // Channels-last memory under the logical shape [B, C, H, W].
  return planar ? y : torch::stable::transpose(torch::stable::transpose(y, 2, 3), 1, 2);
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(tetragan, CPU, m) { m.impl("upfirdn2d", TORCH_BOX(&upfirdn2d)); }

}  // namespace tetragan
