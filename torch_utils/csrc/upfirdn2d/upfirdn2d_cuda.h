// Launcher of the CUDA kernel of `upfirdn2d`; all pointers are on the device. T is float, double or Bfloat16.
#pragma once
#include <cuda_runtime.h>

#include <cstdint>

#include "common/bfloat16.h"
#include "upfirdn2d/upfirdn2d.h"

namespace tetragan {

struct Upfirdn2dSize {
  ResampleAxis rows, columns;
  int64_t images, channels, out_height, out_width;
};

// x [images][height][width][channels], an image of fewer than 2³¹ values; filter: floats or, if it is wide, doubles. add, narrow_add: an image of the output's size that is added
// to it, or null.
template <class T>
void upfirdn2d_cuda(const T* x, const void* filter, bool wide_filter, const T* add, const Bfloat16* narrow_add, bool flip, double gain,
                    const Upfirdn2dSize& size, T* y, cudaStream_t stream);

}  // namespace tetragan
