// CUDA kernels of `bias_act`. Accesses are packs of up to 16 bytes, and channels come from a multiplication instead of a
// division. The backward writes partial sums for each run of pixels; they are added in a fixed order, so everything is bitwise
// repeatable.
#include "bias_act/bias_act_cuda.h"
#include "common/cuda_launch.h"
#include "common/cuda_vector.h"

namespace tetragan {
namespace {

constexpr int kWarp = 32, kWarps = kBlock / kWarp;
constexpr int64_t kMaxRuns = 64;       // runs of pixels that a sample is cut into, at most
constexpr int64_t kLeastRun = 1024;    // pixels of a run of a planar image, at least
constexpr int64_t kLeastRows = 4;      // pixels of a run of a channels-last image for each row of threads, at least

// The tensor as samples of `count` values, fewer than 2³¹. A value's channel is its index modulo the channels (channels
// last), or divided by the size of a plane (planar).
struct Layout {
  int32_t samples, count, channels;
  bool planar;
  Divider divider;

  explicit Layout(const BiasActSize& s)
      : samples(static_cast<int32_t>(s.samples)), count(static_cast<int32_t>(s.outer * s.channels * s.inner)),
        channels(static_cast<int32_t>(s.channels)), planar(s.inner > 1), divider(s.inner > 1 ? s.inner : s.channels) {}

  __device__ __forceinline__ uint32_t channel(uint32_t index) const {
    return planar ? divider.quotient(index) : divider.remainder(index);
  }
};

template <int kVector, bool kScaled, class T, class A>
__global__ void __launch_bounds__(kBlock) forward_kernel(const T* x, const A* bias, const A* scale, Layout layout,
                                                         BiasAct<A> act, T* y) {
  const uint32_t index = (blockIdx.x * kBlock + threadIdx.x) * kVector;
  if (index >= static_cast<uint32_t>(layout.count)) return;
  // The channels of a pack: the same for all of it (planar) or adjacent.
  const uint32_t channel = layout.channel(index), step = layout.planar ? 0 : 1;
  A add[kVector];
  for (int v = 0; v < kVector; ++v) add[v] = bias != nullptr ? bias[channel + v * step] : A(0);
  for (int32_t sample = blockIdx.y; sample < layout.samples; sample += gridDim.y) {
    const int64_t at = static_cast<int64_t>(sample) * layout.count + index;
    Pack<T, kVector> pack = load_pack<kVector>(x + at);
    for (int v = 0; v < kVector; ++v) {
      const A factor = kScaled ? scale[sample * static_cast<int64_t>(layout.channels) + channel + v * step] : A(1);
      store_value(pack.values[v], bias_act_forward<A>(load_value(pack.values[v]), factor, add[v], act));
    }
    store_pack(y + at, pack);
  }
}

// How the pixels of a sample are cut into runs.
struct Runs {
  int64_t count, length;
};

Runs runs_of(const BiasActSize& s) {
  const int64_t pixels = s.inner > 1 ? s.inner : s.outer, least = s.inner > 1 ? kLeastRun : kLeastRows * kWarps;
  const int64_t wanted = divide_up(pixels, kMaxRuns), length = wanted > least ? wanted : least;
  return {divide_up(pixels, length), length};
}

// What the backward reads and writes. scratch [samples][runs][2][channels]: sums of t and of t · x.
template <class T, class A>
struct Backward {
  const T *grad, *x, *y;
  const A* scale;
  BiasAct<A> act;
  A* scratch;
  T* grad_x;
};

// One pack: writes its gradient and adds to the sums of t and t · x.
template <int kVector, class T, class A>
__device__ __forceinline__ void backward_pack(const Backward<T, A>& w, int64_t at, const A* factor, A* sum, A* scaled) {
  const Pack<T, kVector> grad = load_pack<kVector>(w.grad + at), y = load_pack<kVector>(w.y + at);
  Pack<T, kVector> out;
  A t[kVector];
  for (int v = 0; v < kVector; ++v) {
    t[v] = load_value(grad.values[v]) * bias_act_slope<A>(load_value(y.values[v]), w.act);
    store_value(out.values[v], t[v] * factor[v]);
    sum[v] += t[v];
  }
  store_pack(w.grad_x + at, out);
  if (w.x == nullptr) return;
  const Pack<T, kVector> x = load_pack<kVector>(w.x + at);
  for (int v = 0; v < kVector; ++v) scaled[v] = multiply_add(t[v], load_value(x.values[v]), scaled[v]);
}

// Channels last. A block owns 32 groups of channels, at most, of one run; its warps take turns at the pixels.
template <int kVector, class T, class A>
__global__ void __launch_bounds__(kBlock) last_kernel(Backward<T, A> w, int32_t samples, int32_t pixels, int32_t channels,
                                                      int32_t length) {
  __shared__ A sums[kWarps][2 * kVector][kWarp];
  const int lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp;
  const int32_t channel = (blockIdx.x * kWarp + lane) * kVector, run = blockIdx.y;
  const int32_t begin = run * length, end = begin + length < pixels ? begin + length : pixels;
  for (int32_t sample = blockIdx.z; sample < samples; sample += gridDim.z) {
    A sum[kVector] = {}, scaled[kVector] = {}, factor[kVector];
    if (channel < channels) {
      for (int v = 0; v < kVector; ++v) {
        factor[v] = w.scale != nullptr ? w.scale[static_cast<int64_t>(sample) * channels + channel + v] : A(1);
      }
      for (int32_t pixel = begin + warp; pixel < end; pixel += kWarps) {
        const int64_t at = (static_cast<int64_t>(sample) * pixels + pixel) * channels + channel;
        backward_pack<kVector>(w, at, factor, sum, scaled);
      }
    }
    if (w.scratch == nullptr) continue;
    for (int v = 0; v < kVector; ++v) {
      sums[warp][v][lane] = sum[v];
      sums[warp][kVector + v][lane] = scaled[v];
    }
    __syncthreads();
    A* target = w.scratch + (static_cast<int64_t>(sample) * gridDim.y + run) * 2 * channels;
    if (warp < 2 && channel < channels) {  // the first warp adds the sums of t, the second those of t · x
      for (int v = 0; v < kVector; ++v) {
        A total = 0;
        for (int k = 0; k < kWarps; ++k) total += sums[k][warp * kVector + v][lane];
        target[warp * channels + channel + v] = total;
      }
    }
    __syncthreads();
  }
}

// Planar. A warp owns one run of one plane.
template <int kVector, class T, class A>
__global__ void __launch_bounds__(kBlock) planar_kernel(Backward<T, A> w, int64_t planes, int32_t pixels, Divider channels,
                                                        int32_t channel_count, int32_t length) {
  const int lane = threadIdx.x % kWarp;
  const int64_t plane = static_cast<int64_t>(blockIdx.x) * kWarps + threadIdx.x / kWarp;
  if (plane >= planes) return;
  const int32_t run = blockIdx.y, begin = run * length, end = begin + length < pixels ? begin + length : pixels;
  A factor[kVector], sum[kVector] = {}, scaled[kVector] = {};
  for (int v = 0; v < kVector; ++v) factor[v] = w.scale != nullptr ? w.scale[plane] : A(1);
  for (int32_t pixel = begin + lane * kVector; pixel < end; pixel += kWarp * kVector) {
    backward_pack<kVector>(w, plane * pixels + pixel, factor, sum, scaled);
  }
  if (w.scratch == nullptr) return;
  A total = 0, total_scaled = 0;
  for (int v = 0; v < kVector; ++v) total += sum[v], total_scaled += scaled[v];
  for (int step = kWarp / 2; step > 0; step /= 2) {
    total += __shfl_xor_sync(0xffffffffu, total, step);
    total_scaled += __shfl_xor_sync(0xffffffffu, total_scaled, step);
  }
  if (lane != 0) return;
  const uint32_t sample = channels.quotient(static_cast<uint32_t>(plane)), channel = channels.remainder(static_cast<uint32_t>(plane));
  A* target = w.scratch + (static_cast<int64_t>(sample) * gridDim.y + run) * 2 * channel_count + channel;
  target[0] = total;
  target[channel_count] = total_scaled;
}

// Adds the runs of each sample into the first one's place; gives grad_scale.
template <class A>
__global__ void sum_runs_kernel(int64_t samples, int64_t channels, int64_t runs, A* scratch, A* grad_scale) {
  TETRAGAN_EACH(item, samples * channels) {
    const int64_t sample = item / channels, channel = item % channels;
    A* start = scratch + sample * runs * 2 * channels + channel;
    double sum = 0, scaled = 0;
    for (int64_t run = 0; run < runs; ++run) {
      sum += start[run * 2 * channels];
      scaled += start[(run * 2 + 1) * channels];
    }
    start[0] = static_cast<A>(sum);
    if (grad_scale != nullptr) grad_scale[item] = static_cast<A>(scaled);
  }
}

template <class A>
__global__ void sum_samples_kernel(int64_t samples, int64_t channels, int64_t runs, const A* scratch, A* grad_bias) {
  TETRAGAN_EACH(channel, channels) {
    double sum = 0;
    for (int64_t sample = 0; sample < samples; ++sample) sum += scratch[sample * runs * 2 * channels + channel];
    grad_bias[channel] = static_cast<A>(sum);
  }
}

// The most values of a pack: 16 bytes, but no more than 4 of bfloat16, whose registers are as wide as a float's.
template <class T>
constexpr int kMost = sizeof(T) == 8 ? 2 : 4;

unsigned rows_of_grid(int64_t count) { return static_cast<unsigned>(count < kMaxGridRows ? count : kMaxGridRows); }

template <int kVector, class T, class A>
void run_backward(const Backward<T, A>& w, const BiasActSize& s, cudaStream_t stream) {
  const Runs runs = runs_of(s);
  const auto narrow = [](int64_t value) { return static_cast<int32_t>(value); };
  if (s.inner > 1) {
    const int64_t planes = s.samples * s.channels;
    const dim3 grid(static_cast<unsigned>(divide_up(planes, kWarps)), static_cast<unsigned>(runs.count));
    planar_kernel<kVector, T, A><<<grid, kBlock, 0, stream>>>(w, planes, narrow(s.inner), Divider(s.channels),
                                                              narrow(s.channels), narrow(runs.length));
    return;
  }
  const dim3 grid(static_cast<unsigned>(divide_up(s.channels, kWarp * kVector)), static_cast<unsigned>(runs.count),
                  rows_of_grid(s.samples));
  last_kernel<kVector, T, A><<<grid, kBlock, 0, stream>>>(w, narrow(s.samples), narrow(s.outer), narrow(s.channels),
                                                          narrow(runs.length));
}

bool is_empty(const BiasActSize& s) { return s.samples * s.outer * s.channels * s.inner == 0; }

}  // namespace

template <class T, class A>
void bias_act_cuda(const T* x, const A* bias, const A* scale, const BiasActSize& size, BiasAct<A> act, T* y,
                   cudaStream_t stream) {
  if (is_empty(size)) return;
  const Layout layout(size);
  const int64_t row = layout.planar ? size.inner : size.channels;
  const bool packs = fits_packs(x, row, kMost<T>) && fits_packs(y, row, kMost<T>);
  const dim3 grid(blocks_for(layout.count / (packs ? kMost<T> : 1)), rows_of_grid(size.samples));
  if (packs && scale != nullptr) {
    forward_kernel<kMost<T>, true, T, A><<<grid, kBlock, 0, stream>>>(x, bias, scale, layout, act, y);
  } else if (packs) {
    forward_kernel<kMost<T>, false, T, A><<<grid, kBlock, 0, stream>>>(x, bias, scale, layout, act, y);
  } else if (scale != nullptr) {
    forward_kernel<1, true, T, A><<<grid, kBlock, 0, stream>>>(x, bias, scale, layout, act, y);
  } else {
    forward_kernel<1, false, T, A><<<grid, kBlock, 0, stream>>>(x, bias, scale, layout, act, y);
  }
}

int64_t bias_act_cuda_scratch(const BiasActSize& size, bool sums) {
  return sums ? size.samples * runs_of(size).count * 2 * size.channels : 0;
}

template <class T, class A>
void bias_act_backward_cuda(const T* grad, const T* x, const T* y, const A* scale, const BiasActSize& size, BiasAct<A> act,
                            A* scratch, T* grad_x, A* grad_bias, A* grad_scale, cudaStream_t stream) {
  const int64_t row = size.inner > 1 ? size.inner : size.channels, runs = runs_of(size).count;
  const Backward<T, A> work{grad, x, y, scale, act, scratch, grad_x};
  const bool packs = fits_packs(grad, row, kMost<T>) && fits_packs(y, row, kMost<T>) && fits_packs(grad_x, row, kMost<T>) &&
                     (x == nullptr || fits_packs(x, row, kMost<T>));
  if (is_empty(size)) {
    if (grad_bias != nullptr) cudaMemsetAsync(grad_bias, 0, sizeof(A) * size.channels, stream);
    if (grad_scale != nullptr) cudaMemsetAsync(grad_scale, 0, sizeof(A) * size.samples * size.channels, stream);
    return;
  }
  if (packs) {
    run_backward<kMost<T>>(work, size, stream);
  } else {
    run_backward<1>(work, size, stream);
  }
  if (scratch == nullptr) return;
  sum_runs_kernel<A><<<blocks_for(size.samples * size.channels), kBlock, 0, stream>>>(size.samples, size.channels, runs,
                                                                                        scratch, grad_scale);
  if (grad_bias == nullptr) return;
  sum_samples_kernel<A><<<blocks_for(size.channels), kBlock, 0, stream>>>(size.samples, size.channels, runs, scratch,
                                                                          grad_bias);
}

#define TETRAGAN_INSTANTIATE(T, A)                                                                                          \
  template void bias_act_cuda<T, A>(const T*, const A*, const A*, const BiasActSize&, BiasAct<A>, T*, cudaStream_t);        \
  template void bias_act_backward_cuda<T, A>(const T*, const T*, const T*, const A*, const BiasActSize&, BiasAct<A>, A*, T*, \
                                             A*, A*, cudaStream_t);
TETRAGAN_INSTANTIATE(float, float)
TETRAGAN_INSTANTIATE(double, double)
TETRAGAN_INSTANTIATE(Bfloat16, float)

}  // namespace tetragan
