// CUDA kernels of `bias_act`. Each thread of the backward follows one channel through a run of pixels, writes their gradients
// and keeps the sums; partial sums are added in a fixed order, so everything is bitwise repeatable.
#include "bias_act/bias_act_cuda.h"
#include "common/cuda_launch.h"

namespace tetragan {
namespace {

constexpr int64_t kLanes = 32;     // threads that share a planar image
constexpr int64_t kMaxRuns = 512;  // runs of pixels that a channels-last sample is cut into, at most

template <class T, class A>
__global__ void forward_kernel(const T* x, const A* bias, const A* scale, BiasActSize s, BiasAct<A> act, T* y) {
  const int64_t sample_size = s.outer * s.channels * s.inner;
  TETRAGAN_EACH(i, s.samples * sample_size) {
    const int64_t channel = i / s.inner % s.channels;
    const A factor = scale != nullptr ? scale[i / sample_size * s.channels + channel] : A(1);
    const A add = bias != nullptr ? bias[channel] : A(0);
    store_value(y[i], bias_act_forward<A>(load_value(x[i]), factor, add, act));
  }
}

// How a sample's elements are shared among `runs` threads for each channel.
struct Runs {
  int64_t count, length, step;  // elements of a run and the distance between two of them
};

__host__ __device__ Runs runs_of(const BiasActSize& s) {
  if (s.inner > 1) return {kLanes, (s.inner + kLanes - 1) / kLanes, kLanes};
  const int64_t length = (s.outer + kMaxRuns - 1) / kMaxRuns;
  return {(s.outer + length - 1) / length, length, s.channels};
}

// scratch [samples][runs][2][channels]: sums of t and of t · x.
template <class T, class A>
__global__ void backward_kernel(const T* grad, const T* x, const T* y, const A* scale, BiasActSize s, BiasAct<A> act,
                                A* scratch, T* grad_x) {
  const Runs runs = runs_of(s);
  TETRAGAN_EACH(item, s.samples * runs.count * s.channels) {
    // Neighboring threads take neighboring memory: channels where they are innermost, else pixels of one channel.
    const int64_t sample = item / (runs.count * s.channels), rest = item % (runs.count * s.channels);
    const int64_t channel = s.inner > 1 ? rest / runs.count : rest % s.channels;
    const int64_t run = s.inner > 1 ? rest % runs.count : rest / s.channels;
    const int64_t base = sample * s.outer * s.channels * s.inner;
    const int64_t first = s.inner > 1 ? base + channel * s.inner + run : base + run * runs.length * s.channels + channel;
    const int64_t end = s.inner > 1 ? base + (channel + 1) * s.inner : base + s.outer * s.channels;
    const A factor = scale != nullptr ? scale[sample * s.channels + channel] : A(1);
    A sum = 0, scaled = 0;
    for (int64_t k = 0, i = first; k < runs.length && i < end; ++k, i += runs.step) {
      const A t = load_value(grad[i]) * bias_act_slope<A>(load_value(y[i]), act);
      store_value(grad_x[i], t * factor);
      sum += t;
      if (x != nullptr) scaled += t * load_value(x[i]);
    }
    if (scratch == nullptr) continue;
    A* target = scratch + ((sample * runs.count + run) * 2) * s.channels + channel;
    target[0] = sum;
    target[s.channels] = scaled;
  }
}

// Adds the runs of each sample into the first one's place; gives grad_scale.
template <class A>
__global__ void sum_runs_kernel(BiasActSize s, A* scratch, A* grad_scale) {
  const Runs runs = runs_of(s);
  TETRAGAN_EACH(item, s.samples * s.channels) {
    const int64_t sample = item / s.channels, channel = item % s.channels;
    A* start = scratch + sample * runs.count * 2 * s.channels + channel;
    double sum = 0, scaled = 0;
    for (int64_t run = 0; run < runs.count; ++run) {
      sum += start[run * 2 * s.channels];
      scaled += start[(run * 2 + 1) * s.channels];
    }
    start[0] = static_cast<A>(sum);
    if (grad_scale != nullptr) grad_scale[item] = static_cast<A>(scaled);
  }
}

template <class A>
__global__ void sum_samples_kernel(BiasActSize s, const A* scratch, A* grad_bias) {
  const Runs runs = runs_of(s);
  TETRAGAN_EACH(channel, s.channels) {
    double sum = 0;
    for (int64_t sample = 0; sample < s.samples; ++sample) sum += scratch[sample * runs.count * 2 * s.channels + channel];
    grad_bias[channel] = static_cast<A>(sum);
  }
}

}  // namespace

template <class T, class A>
void bias_act_cuda(const T* x, const A* bias, const A* scale, const BiasActSize& size, BiasAct<A> act, T* y,
                   cudaStream_t stream) {
  const int64_t count = size.samples * size.outer * size.channels * size.inner;
  forward_kernel<T, A><<<blocks_for(count), kBlock, 0, stream>>>(x, bias, scale, size, act, y);
}

int64_t bias_act_cuda_scratch(const BiasActSize& size, bool sums) {
  return sums ? size.samples * runs_of(size).count * 2 * size.channels : 0;
}

template <class T, class A>
void bias_act_backward_cuda(const T* grad, const T* x, const T* y, const A* scale, const BiasActSize& size, BiasAct<A> act,
                            A* scratch, T* grad_x, A* grad_bias, A* grad_scale, cudaStream_t stream) {
  const int64_t count = size.samples * runs_of(size).count * size.channels;
  backward_kernel<T, A><<<blocks_for(count), kBlock, 0, stream>>>(grad, x, y, scale, size, act, scratch, grad_x);
  if (scratch == nullptr) return;
  sum_runs_kernel<A><<<blocks_for(size.samples * size.channels), kBlock, 0, stream>>>(size, scratch, grad_scale);
  if (grad_bias == nullptr) return;
  sum_samples_kernel<A><<<blocks_for(size.channels), kBlock, 0, stream>>>(size, scratch, grad_bias);
}

#define TETRAGAN_INSTANTIATE(T, A)                                                                                          \
  template void bias_act_cuda<T, A>(const T*, const A*, const A*, const BiasActSize&, BiasAct<A>, T*, cudaStream_t);        \
  template void bias_act_backward_cuda<T, A>(const T*, const T*, const T*, const A*, const BiasActSize&, BiasAct<A>, A*, T*, \
                                             A*, A*, cudaStream_t);
TETRAGAN_INSTANTIATE(float, float)
TETRAGAN_INSTANTIATE(double, double)
TETRAGAN_INSTANTIATE(Bfloat16, float)

}  // namespace tetragan
