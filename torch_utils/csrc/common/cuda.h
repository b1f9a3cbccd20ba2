// What every CUDA binding needs: the stable ABI's tensors (common/cpu.h), the current device and its stream.
// Built with -DUSE_CUDA. Kernels (*.cu) do not include this.
#pragma once
#include <cuda_runtime.h>
#include <dlfcn.h>
#include <torch/csrc/inductor/aoti_torch/c/shim.h>
#include <torch/csrc/stable/accelerator.h>

#include "common/cpu.h"

namespace tetragan {

// The stable ABI hands out streams from torch 2.13 on. Before that, libtorch_cuda does. A CPU torch lacks it at link time, and
// Python hides its symbols from other libraries, so it is looked up in the copy that the process has loaded.
inline cudaStream_t current_stream(int32_t device) {
  using Getter = AOTITorchError (*)(int32_t, void**);
  static const Getter get = [] {
    void* loaded = dlopen("libtorch_cuda.so", RTLD_LAZY | RTLD_NOLOAD);
    return loaded == nullptr ? nullptr : reinterpret_cast<Getter>(dlsym(loaded, "aoti_torch_get_current_cuda_stream"));
  }();
  STD_TORCH_CHECK(get != nullptr, "libtorch_cuda.so: expected aoti_torch_get_current_cuda_stream, got none");
  void* handle = nullptr;
  STABLE_TORCH_ERROR_CODE_CHECK(get(device, &handle));
  return static_cast<cudaStream_t>(handle);
}

// Makes the tensor's device current during its lifetime; `stream` is that device's current stream.
struct OnDevice {
  torch::stable::accelerator::DeviceGuard guard;
  cudaStream_t stream;

  explicit OnDevice(const Tensor& tensor)
      : guard(tensor.get_device_index()), stream(current_stream(tensor.get_device_index())) {}
};

// Raises with the op's name if an earlier launch left an error.
inline void check_launch(const char* op) {
  const cudaError_t error = cudaGetLastError();
  STD_TORCH_CHECK(error == cudaSuccess, op, "(): CUDA says ", cudaGetErrorString(error));
}

}  // namespace tetragan
