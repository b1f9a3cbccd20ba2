// The inner loops of `upfirdn2d` for one instruction set; see common/isa.h. Plain loops that the compiler vectorizes: each
// output row is a weighted sum of input rows, then of that row's own pixels.
// build-flags: -ffp-contract=fast -fno-trapping-math -fno-math-errno
#include <cmath>
#include <cstdint>

#include "common/bfloat16.h"
#include "common/isa.h"
#include "upfirdn2d/upfirdn2d.h"

namespace tetragan::TETRAGAN_ISA {

namespace {

template <int kCount, class T, class A>
inline void sum_rows(const T* __restrict x, int64_t length, const int64_t* index, const A* weight, A* __restrict out) {
  const T* rows[kCount];
  A w[kCount];
  for (int i = 0; i < kCount; ++i) rows[i] = x + index[i] * length, w[i] = weight[i];
  for (int64_t j = 0; j < length; ++j) {
    A sum = w[0] * load_value(rows[0][j]);
    for (int i = 1; i < kCount; ++i) sum += w[i] * load_value(rows[i][j]);
    out[j] = sum;
  }
}

template <class T, class A>
inline void sum_any_rows(const T* __restrict x, int64_t length, const int64_t* index, const A* weight, int64_t count,
                         A* __restrict out) {
  for (int64_t j = 0; j < length; ++j) out[j] = weight[0] * load_value(x[index[0] * length + j]);
  for (int64_t i = 1; i < count; ++i) {
    const T* row = x + index[i] * length;
    for (int64_t j = 0; j < length; ++j) out[j] += weight[i] * load_value(row[j]);
  }
}

// What is added to the output of a pixel before it is stored.
struct Nothing {};
template <class A>
TETRAGAN_HD A joined(A sum, const Nothing*, int64_t) {
  return sum;
}
template <class A, class S>
TETRAGAN_HD A joined(A sum, const S* add, int64_t i) {
  return sum + load_value(add[i]);
}

TETRAGAN_HD const Nothing* offset(const Nothing* add, int64_t) { return add; }
template <class S>
TETRAGAN_HD const S* offset(const S* add, int64_t i) {
  return add + i;
}

template <int kCount, class T, class A, class S>
inline void sum_pixels(const A* __restrict row, int64_t channels, const int64_t* index, const A* weight, int64_t width,
                       const S* __restrict add, T* __restrict out) {
  for (int64_t o = 0; o < width; ++o) {
    const A* pixels[kCount];
    A w[kCount];
    for (int i = 0; i < kCount; ++i) pixels[i] = row + index[o * kCount + i] * channels, w[i] = weight[o * kCount + i];
    T* target = out + o * channels;
    const S* other = offset(add, o * channels);
    for (int64_t c = 0; c < channels; ++c) {
      A sum = w[0] * pixels[0][c];
      for (int i = 1; i < kCount; ++i) sum += w[i] * pixels[i][c];
      store_value(target[c], joined(sum, other, c));
    }
  }
}

template <class T, class A, class S>
inline void sum_any_pixels(const A* __restrict row, int64_t channels, const int64_t* index, const A* weight, int64_t count,
                           int64_t width, const S* __restrict add, T* __restrict out) {
  for (int64_t o = 0; o < width; ++o) {
    for (int64_t c = 0; c < channels; ++c) {
      A sum = 0;
      for (int64_t i = 0; i < count; ++i) sum += weight[o * count + i] * row[index[o * count + i] * channels + c];
      store_value(out[o * channels + c], joined(sum, add, o * channels + c));
    }
  }
}

template <class T, class A, class S>
inline void sum_columns(const A* row, int64_t channels, const Taps<A>& columns, int64_t width, const S* add, T* out) {
  switch (columns.count) {
    case 1: sum_pixels<1>(row, channels, columns.index, columns.weight, width, add, out); break;
    case 2: sum_pixels<2>(row, channels, columns.index, columns.weight, width, add, out); break;
    case 4: sum_pixels<4>(row, channels, columns.index, columns.weight, width, add, out); break;
    default: sum_any_pixels(row, channels, columns.index, columns.weight, columns.count, width, add, out);
  }
}

// One channel, so that neighbors in memory are neighbors in the image: `line` is the row with zeros around it. Each of
// the `up` phases is a convolution of its own, over whole vectors if no output is skipped (down = 1).
template <int kCount, class T, class A>
inline void sum_line(const A* __restrict line, const Line<A>& plan, int64_t phase, int64_t outputs, A* __restrict sums,
                     T* __restrict out) {
  const A* start = line + plan.first[phase];
  const A* w = plan.weight + phase * plan.count;
  if (plan.down == 1) {
    for (int64_t k = 0; k < outputs; ++k) {
      A sum = w[0] * start[k];
      for (int i = 1; i < kCount; ++i) sum += w[i] * start[k + i];
      sums[k] = sum;
    }
  } else if (plan.down == 2) {
    for (int64_t k = 0; k < outputs; ++k) {
      A sum = w[0] * start[2 * k];
      for (int i = 1; i < kCount; ++i) sum += w[i] * start[2 * k + i];
      sums[k] = sum;
    }
  } else {
    for (int64_t k = 0; k < outputs; ++k) {
      A sum = w[0] * start[plan.down * k];
      for (int i = 1; i < kCount; ++i) sum += w[i] * start[plan.down * k + i];
      sums[k] = sum;
    }
  }
  if (plan.up == 1) {
    for (int64_t k = 0; k < outputs; ++k) store_value(out[k], sums[k]);
  } else if (plan.up == 2) {
    for (int64_t k = 0; k < outputs; ++k) store_value(out[2 * k + phase], sums[k]);
  } else {
    for (int64_t k = 0; k < outputs; ++k) store_value(out[plan.up * k + phase], sums[k]);
  }
}

template <class T, class A>
inline void sum_lines(const A* line, const Line<A>& plan, int64_t width, A* sums, T* out) {
  for (int64_t phase = 0; phase < plan.up && phase < width; ++phase) {
    const int64_t outputs = (width - phase + plan.up - 1) / plan.up;
    switch (plan.count) {
      case 1: sum_line<1>(line, plan, phase, outputs, sums, out); break;
      case 2: sum_line<2>(line, plan, phase, outputs, sums, out); break;
      default: sum_line<4>(line, plan, phase, outputs, sums, out);
    }
  }
}

template <class T, class A>
inline void resample(const T* x, int64_t width, int64_t channels, int64_t first, int64_t last, int64_t out_width,
                     const Taps<A>& rows, const Taps<A>& columns, const Line<A>* line, const T* add,
                     const Bfloat16* narrow_add, A* scratch, T* out) {
  const int64_t length = width * channels;
  A* row = line != nullptr ? scratch + line->lead : scratch;
  if (line != nullptr) {
    for (int64_t i = 0; i < line->lead; ++i) scratch[i] = 0;
    for (int64_t i = 0; i < line->tail; ++i) row[width + i] = 0;
  }
  for (int64_t o = first; o < last; ++o) {
    const int64_t* index = rows.index + o * rows.count;
    const A* weight = rows.weight + o * rows.count;
    switch (rows.count) {
      case 1: sum_rows<1>(x, length, index, weight, row); break;
      case 2: sum_rows<2>(x, length, index, weight, row); break;
      case 4: sum_rows<4>(x, length, index, weight, row); break;
      default: sum_any_rows(x, length, index, weight, rows.count, row);
    }
    T* target = out + o * out_width * channels;
    if (line != nullptr) {
      sum_lines<T, A>(scratch, *line, out_width, row + width + line->tail, target);
      continue;
    }
    if (add != nullptr) {
      sum_columns(row, channels, columns, out_width, add + o * out_width * channels, target);
    } else if (narrow_add != nullptr) {
      sum_columns(row, channels, columns, out_width, narrow_add + o * out_width * channels, target);
    } else {
      sum_columns(row, channels, columns, out_width, static_cast<const Nothing*>(nullptr), target);
    }
  }
}

}  // namespace

// Output rows [first, last) of one image [height][width][channels]. line: for one channel, or null. add, narrow_add: an
// image of the output's size that is added to it (not to lines), or null.
// scratch: width × channels, and with a line its lead, its tail and out_width more.
#define TETRAGAN_UPFIRDN2D(suffix, T, A)                                                                                 \
  void upfirdn2d_##suffix(const T* x, int64_t width, int64_t channels, int64_t first, int64_t last, int64_t out_width,   \
                          const Taps<A>& rows, const Taps<A>& columns, const Line<A>* line, const T* add,                \
                          const Bfloat16* narrow_add, A* scratch, T* out) {                                              \
    resample<T, A>(x, width, channels, first, last, out_width, rows, columns, line, add, narrow_add, scratch, out);      \
  }
TETRAGAN_UPFIRDN2D(f32, float, float)
TETRAGAN_UPFIRDN2D(f64, double, double)
TETRAGAN_UPFIRDN2D(bf16, Bfloat16, float)

}  // namespace tetragan::TETRAGAN_ISA
