// Launcher of the CUDA kernels of `lfd_descriptor`; all pointers are on the device.
#pragma once
#include <cuda_runtime.h>

#include <cstdint>

namespace tetragan {

// At most, because each needs scratch: 0.12 MB for an image of 256².
constexpr int64_t kViewsAtOnce = 512;

struct DescriptorSize {
  int64_t fields, views;
  int32_t side;
};

// Bytes of scratch, which must begin at a multiple of 8.
int64_t lfd_descriptor_cuda_scratch(const DescriptorSize& size);

// images [fields][views][side][side / 64], basis [35][2][101 · 101]; out [fields][views][47].
void lfd_descriptor_cuda(const uint64_t* images, const double* basis, const DescriptorSize& size, void* scratch, uint8_t* out,
                         cudaStream_t stream);

}  // namespace tetragan
