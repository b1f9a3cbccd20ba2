// Launchers of the CUDA kernels of `point_mlp`; all pointers are on the device. T is float or double.
#pragma once
#include <cuda_runtime.h>

#include "common/grouped_rows.h"
#include "point_mlp/point_mlp.h"

namespace tetragan {

// Values of scratch: hidden activations, and for the backward pass two gradients of the widest layer and the pieces' sums.
int64_t point_mlp_cuda_scratch(const MlpShape& shape, int64_t points, int64_t pieces, bool backward);

// weights: each sample's matrices one after the other, as are the biases. y [points][last width].
template <class T>
void point_mlp_cuda(const T* x, const T* weights, const T* biases, const MlpShape& shape, int64_t points,
                    const grouped::Table& rows, T slope, T gain, T* scratch, T* y, cudaStream_t stream);

// grad_x may be null.
template <class T>
void point_mlp_backward_cuda(const T* grad, const T* x, const T* weights, const T* biases, const MlpShape& shape,
                             int64_t points, const grouped::Table& rows, T slope, T gain, T* scratch, T* grad_x,
                             T* grad_weights, T* grad_biases, cudaStream_t stream);

}  // namespace tetragan
