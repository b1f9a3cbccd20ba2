// Arithmetic of `bias_act`, shared by the CPU and CUDA kernels: y = clamp(act(x · scale + bias) · gain), act(v) = v where
// v ≥ 0, else v · slope. A NaN passes through.
#pragma once
#include "common/host_device.h"

namespace tetragan {

template <class A>
struct BiasAct {
  A gain;      // factor if the activation's input is not negative
  A negative;  // factor if it is: slope · gain
  A clamp;     // bound of |y|; infinity for none
};

template <class A>
TETRAGAN_HD A bias_act_forward(A x, A scale, A bias, const BiasAct<A>& act) {
  A v = x * scale + bias;
  v = v < 0 ? v * act.negative : v * act.gain;
  return v > act.clamp ? act.clamp : (v < -act.clamp ? -act.clamp : v);
}

// dy/d(x · scale + bias), from y alone: y is positive where the activation's input is.
template <class A>
TETRAGAN_HD A bias_act_slope(A y, const BiasAct<A>& act) {
  const A slope = y > 0 ? act.gain : act.negative;
  return y >= act.clamp || y <= -act.clamp ? A(0) : slope;
}

}  // namespace tetragan
