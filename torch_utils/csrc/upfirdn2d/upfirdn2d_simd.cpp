// The inner loops of `upfirdn2d` for one instruction set; see common/isa.h. Plain loops that the compiler vectorises: each
// output row is a weighted sum of input rows, then of that row's own pixels.
// build-flags: -ffp-contract=fast -fno-trapping-math -fno-math-errno
#include <cmath>
#include <cstdint>

#include "common/bfloat16.h"
#include "common/isa.h"

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

template <int kCount, class T, class A>
inline void sum_pixels(const A* __restrict row, int64_t channels, const int64_t* index, const A* weight, int64_t width,
                       T* __restrict out) {
  for (int64_t o = 0; o < width; ++o) {
    const A* pixels[kCount];
    A w[kCount];
    for (int i = 0; i < kCount; ++i) pixels[i] = row + index[o * kCount + i] * channels, w[i] = weight[o * kCount + i];
    T* target = out + o * channels;
    for (int64_t c = 0; c < channels; ++c) {
      A sum = w[0] * pixels[0][c];
      for (int i = 1; i < kCount; ++i) sum += w[i] * pixels[i][c];
      store_value(target[c], sum);
    }
  }
}

template <class T, class A>
inline void sum_any_pixels(const A* __restrict row, int64_t channels, const int64_t* index, const A* weight, int64_t count,
                           int64_t width, T* __restrict out) {
  for (int64_t o = 0; o < width; ++o) {
    for (int64_t c = 0; c < channels; ++c) {
      A sum = 0;
      for (int64_t i = 0; i < count; ++i) sum += weight[o * count + i] * row[index[o * count + i] * channels + c];
      store_value(out[o * channels + c], sum);
    }
  }
}

template <class T, class A>
inline void resample(const T* x, int64_t width, int64_t channels, int64_t first, int64_t last, int64_t out_width,
                     const int64_t* row_index, const A* row_weight, int64_t row_count, const int64_t* column_index,
                     const A* column_weight, int64_t column_count, A* scratch, T* out) {
  const int64_t length = width * channels;
  for (int64_t o = first; o < last; ++o) {
    const int64_t* index = row_index + o * row_count;
    const A* weight = row_weight + o * row_count;
    switch (row_count) {
      case 1: sum_rows<1>(x, length, index, weight, scratch); break;
      case 2: sum_rows<2>(x, length, index, weight, scratch); break;
      case 4: sum_rows<4>(x, length, index, weight, scratch); break;
      default: sum_any_rows(x, length, index, weight, row_count, scratch);
    }
    T* target = out + o * out_width * channels;
    switch (column_count) {
      case 1: sum_pixels<1>(scratch, channels, column_index, column_weight, out_width, target); break;
      case 2: sum_pixels<2>(scratch, channels, column_index, column_weight, out_width, target); break;
      case 4: sum_pixels<4>(scratch, channels, column_index, column_weight, out_width, target); break;
      default: sum_any_pixels(scratch, channels, column_index, column_weight, column_count, out_width, target);
    }
  }
}

}  // namespace

// Output rows [first, last) of one picture [height][width][channels]. For each output row (column) `count` input rows
// (columns) and their weights. scratch: width × channels.
#define TETRAGAN_UPFIRDN2D(suffix, T, A)                                                                                 \
  void upfirdn2d_##suffix(const T* x, int64_t width, int64_t channels, int64_t first, int64_t last, int64_t out_width,   \
                          const int64_t* row_index, const A* row_weight, int64_t row_count, const int64_t* column_index, \
                          const A* column_weight, int64_t column_count, A* scratch, T* out) {                            \
    resample<T, A>(x, width, channels, first, last, out_width, row_index, row_weight, row_count, column_index,           \
                   column_weight, column_count, scratch, out);                                                           \
  }
TETRAGAN_UPFIRDN2D(f32, float, float)
TETRAGAN_UPFIRDN2D(f64, double, double)
TETRAGAN_UPFIRDN2D(bf16, Bfloat16, float)

}  // namespace tetragan::TETRAGAN_ISA
