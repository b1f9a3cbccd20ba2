// What every CPU kernel needs from PyTorch's stable ABI. Not for *_simd.cpp, *.cu or the arithmetic headers.
#pragma once
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <initializer_list>
#include <optional>
#include <tuple>
#include <vector>

namespace tetragan {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

// Call f(float{}) or f(double{}) by the tensor's type.
template <class F>
void dispatch_floating(const Tensor& tensor, const char* op, F&& f) {
  switch (tensor.scalar_type()) {
    case ScalarType::Float: f(float{}); break;
    case ScalarType::Double: f(double{}); break;
    default: STD_TORCH_CHECK(false, op, "(): expected float32 or float64, got another type");
  }
}

// A new tensor like `like` (device, and type unless given); not initialized.
inline Tensor empty_like_of(const Tensor& like, std::initializer_list<int64_t> shape,
                            std::optional<ScalarType> type = std::nullopt) {
  return torch::stable::new_empty(like, {shape.begin(), shape.size()}, type ? *type : like.scalar_type());
}

inline Tensor zeros_like_of(const Tensor& like, std::initializer_list<int64_t> shape,
                            std::optional<ScalarType> type = std::nullopt) {
  return torch::stable::new_zeros(like, {shape.begin(), shape.size()}, type ? *type : like.scalar_type());
}

template <class T>
const T* data(const Tensor& tensor) {
  return static_cast<const T*>(tensor.data_ptr());
}

template <class T>
T* mutable_data(const Tensor& tensor) {
  return static_cast<T*>(tensor.data_ptr());
}

// Run f(task) for task = 0 … count − 1 on torch's threads; each free thread takes the next task. Which thread runs a
// task must not matter to the result: a task owns what it writes.
template <class F>
void parallel_tasks(int64_t count, const F& f) {
  if (count <= 0) return;
  const int64_t workers = std::min<int64_t>(count, torch::stable::get_num_threads());
  if (workers <= 1) {
    for (int64_t task = 0; task < count; ++task) f(task);
    return;
  }
  std::atomic<int64_t> next{0};
  torch::stable::parallel_for(0, workers, 1, [&](int64_t, int64_t) {
    for (int64_t task = next++; task < count; task = next++) f(task);
  });
}

}  // namespace tetragan
