// Launcher of the CUDA kernels of `lattice_mlp`; all pointers are on the device. T is float or double.
#pragma once
#include <cuda_runtime.h>

#include "common/grouped_rows.h"
#include "triplane_sample/planes.h"

namespace tetragan {

struct LatticeSize {
  int64_t samples, channels, hidden, side;
};

// rows: each sample's 3 · side² pixels. features [samples][3][side][side][channels] and sides [… hidden]: scratch.
template <class T>
void lattice_mlp_cuda(const T* planes, const PlaneStrides& strides, const T* hidden, const T* bias, const T* output,
                      const T* coordinates, const LatticeSize& size, const grouped::Table& rows, T slope, T* features,
                      T* sides, T* out, cudaStream_t stream);

}  // namespace tetragan
