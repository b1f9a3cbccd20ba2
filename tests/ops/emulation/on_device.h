// Stands in for common/cuda.h: the CUDA bindings run on CPU tensors. What they allocate is poisoned.
#pragma once
#include "cuda_runtime.h"

#include "common/cpu.h"

namespace tetragan {

struct OnDevice {
  cudaStream_t stream = nullptr;
  explicit OnDevice(const Tensor&) {}
};

inline void check_launch(const char* op) {
  const cudaError_t error = cudaGetLastError();
  STD_TORCH_CHECK(error == cudaSuccess, op, "(): CUDA says ", cudaGetErrorString(error));
}

// NaN in floating point, −1 or the largest number in integers.
inline Tensor poisoned(Tensor tensor) {
  if (tensor.numel() > 0) std::memset(tensor.data_ptr(), 0xff, tensor.numel() * tensor.element_size());
  return tensor;
}
inline Tensor poisoned_empty_like_of(const Tensor& like, std::initializer_list<int64_t> shape,
                                     std::optional<ScalarType> type = std::nullopt) {
  return poisoned(empty_like_of(like, shape, type));
}
#define empty_like_of poisoned_empty_like_of
inline Tensor poisoned_like(const Tensor& like) { return poisoned(torch::stable::empty_like(like)); }

// For the tests, which hold the library: order 0 forward, 1 reverse, 2 random.
extern "C" __attribute__((visibility("default"), weak)) void emulation_configure(int order, unsigned seed, int resident,
                                                                                 int preempt) {
  emulation::machine.settings = {static_cast<emulation::Order>(order), seed, resident, preempt != 0};
  emulation::machine.random.seed(seed);
}

}  // namespace tetragan
