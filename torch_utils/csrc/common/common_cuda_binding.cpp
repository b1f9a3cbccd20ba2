// What a built CUDA library says about itself to `torch_utils/ops/loading.py`.
#include <cuda_runtime.h>

// Compute capabilities that the library has code for, times ten, separated by commas; for the last one also PTX.
#ifndef TETRAGAN_CUDA_ARCHITECTURES
#define TETRAGAN_CUDA_ARCHITECTURES ""
#endif

extern "C" {

__attribute__((visibility("default"))) const char* tetragan_cuda_architectures() { return TETRAGAN_CUDA_ARCHITECTURES; }

// 1000 · major + 10 · minor, of the runtime that is linked in and of what the installed driver supports (0: no driver).
__attribute__((visibility("default"))) int tetragan_cuda_runtime_version() { return CUDART_VERSION; }

__attribute__((visibility("default"))) int tetragan_cuda_driver_version() {
  int version = 0;
  return cudaDriverGetVersion(&version) == cudaSuccess ? version : 0;
}

}  // extern "C"
