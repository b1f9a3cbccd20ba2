// For bindings of kernels that read several values at once.
#pragma once
#include "common/cpu.h"

namespace tetragan {

// The tensor, or a copy of it if its memory does not begin at a multiple of `count` of its values.
inline Tensor aligned(const Tensor& tensor, int64_t count) {
  const uintptr_t bytes = static_cast<uintptr_t>(count * tensor.element_size());
  return reinterpret_cast<uintptr_t>(tensor.data_ptr()) % bytes == 0 ? tensor : torch::stable::clone(tensor);
}

}  // namespace tetragan
