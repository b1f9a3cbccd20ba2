// Launcher of the CUDA kernels of `connect_components`; all pointers are on the device. T is float or double.
#pragma once
#include <cuda_runtime.h>

#include <cstdint>

namespace tetragan {

struct ComponentsSize {
  int64_t samples, vertices, edges;
};

// Bytes of scratch.
int64_t connect_components_cuda_scratch(const ComponentsSize& size);

// sdf and out [samples][vertices]; edges [edges][2], those with an id out of range are left out.
template <class T>
void connect_components_cuda(const T* sdf, const int32_t* edges, const bool* blocked, const ComponentsSize& size, double depth,
                             double step, void* scratch, T* out, cudaStream_t stream);

}  // namespace tetragan
