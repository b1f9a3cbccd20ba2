// What every CUDA binding needs: the stable ABI's tensors (common/cpu.h), the current device and its stream.
// Built with -DUSE_CUDA. Kernels (*.cu) do not include this.
#pragma once
#include <cuda_runtime.h>
#include <torch/csrc/inductor/aoti_torch/c/shim.h>
#include <torch/csrc/stable/accelerator.h>

#include "common/cpu.h"

namespace tetragan {

// Makes the tensor's device current while it lives; `stream` is that device's current stream.
struct OnDevice {
  torch::stable::accelerator::DeviceGuard guard;
  cudaStream_t stream;

  explicit OnDevice(const Tensor& tensor) : guard(tensor.get_device_index()), stream(nullptr) {
    void* handle = nullptr;
    STABLE_TORCH_ERROR_CODE_CHECK(aoti_torch_get_current_cuda_stream(tensor.get_device_index(), &handle));
    stream = static_cast<cudaStream_t>(handle);
  }
};

// Raises with the op's name if the launches before left an error.
inline void check_launch(const char* op) {
  const cudaError_t error = cudaGetLastError();
  STD_TORCH_CHECK(error == cudaSuccess, op, "(): CUDA says ", cudaGetErrorString(error));
}

}  // namespace tetragan
