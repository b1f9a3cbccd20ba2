// CUDA kernel of `upfirdn2d`: one thread per output value, in memory order; the inputs that neighboring outputs share come
// from the cache.
#include "common/cuda_launch.h"
#include "upfirdn2d/upfirdn2d_cuda.h"

namespace tetragan {
namespace {

template <class T, class F>
__global__ void upfirdn2d_kernel(const T* x, const F* filter, const T* add, const Bfloat16* narrow_add, bool flip,
                                 double gain, Upfirdn2dSize s, T* y) {
  using A = typename Accumulate<T>::type;
  const int64_t count = s.images * s.out_height * s.out_width * s.channels, taps = s.rows.taps;
  const auto tap_at = [&](int64_t tap) { return static_cast<A>(filter[flip ? tap : taps - 1 - tap]); };
  TETRAGAN_EACH(i, count) {
    const int64_t channel = i % s.channels, pixel = i / s.channels;
    const int64_t column = pixel % s.out_width, row = pixel / s.out_width % s.out_height;
    const T* image = x + pixel / (s.out_width * s.out_height) * s.rows.size * s.columns.size * s.channels + channel;
    int64_t first_row_tap, first_column_tap;
    const int64_t first_row = first_input(s.rows, row, first_row_tap);
    const int64_t first_column = first_input(s.columns, column, first_column_tap);
    A sum = 0;
    for (int64_t r = first_row, tap = first_row_tap; tap < taps && r < s.rows.size; ++r, tap += s.rows.up) {
      if (r < 0) continue;
      A along = 0;
      for (int64_t c = first_column, t = first_column_tap; t < taps && c < s.columns.size; ++c, t += s.columns.up) {
        if (c >= 0) along += tap_at(t) * load_value(image[(r * s.columns.size + c) * s.channels]);
      }
      sum += tap_at(tap) * along;
    }
    sum *= static_cast<A>(gain);
    if (add != nullptr) sum += load_value(add[i]);
    if (narrow_add != nullptr) sum += load_value(narrow_add[i]);
    store_value(y[i], sum);
  }
}

}  // namespace

template <class T, class F>
void upfirdn2d_cuda(const T* x, const F* filter, const T* add, const Bfloat16* narrow_add, bool flip, double gain,
                    const Upfirdn2dSize& size, T* y, cudaStream_t stream) {
  const int64_t count = size.images * size.out_height * size.out_width * size.channels;
  upfirdn2d_kernel<T, F><<<blocks_for(count), kBlock, 0, stream>>>(x, filter, add, narrow_add, flip, gain, size, y);
}

#define TETRAGAN_INSTANTIATE(T, F)                                                                                        \
  template void upfirdn2d_cuda<T, F>(const T*, const F*, const T*, const Bfloat16*, bool, double, const Upfirdn2dSize&, T*, \
                                     cudaStream_t);
TETRAGAN_INSTANTIATE(float, float)
TETRAGAN_INSTANTIATE(float, double)
TETRAGAN_INSTANTIATE(double, float)
TETRAGAN_INSTANTIATE(double, double)
TETRAGAN_INSTANTIATE(Bfloat16, float)
TETRAGAN_INSTANTIATE(Bfloat16, double)

}  // namespace tetragan
