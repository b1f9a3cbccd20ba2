// Launchers of the CUDA kernels of `bias_act`; all pointers are on the device. T is float, double or Bfloat16.
#pragma once
#include <cuda_runtime.h>

#include <cstdint>

#include "bias_act/bias_act.h"
#include "common/bfloat16.h"

namespace tetragan {

// The tensor as [samples][outer][channels][inner]; outer or inner is 1.
struct BiasActSize {
  int64_t samples, outer, channels, inner;
};

// bias [channels] and scale [samples][channels] may be null.
template <class T, class A = typename Accumulate<T>::type>
void bias_act_cuda(const T* x, const A* bias, const A* scale, const BiasActSize& size, BiasAct<A> act, T* y,
                   cudaStream_t stream);

// Numbers of type A of scratch that the backward needs, 0 if no sums are needed.
int64_t bias_act_cuda_scratch(const BiasActSize& size, bool sums);

// x: only for grad_scale. grad_bias [channels] and grad_scale [samples][channels] may be null.
template <class T, class A = typename Accumulate<T>::type>
void bias_act_backward_cuda(const T* grad, const T* x, const T* y, const A* scale, const BiasActSize& size, BiasAct<A> act,
                            A* scratch, T* grad_x, A* grad_bias, A* grad_scale, cudaStream_t stream);

}  // namespace tetragan
