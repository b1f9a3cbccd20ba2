// Binding of the CUDA kernels of `connected_vertices`.
#include "common/cuda.h"
#include "connected_vertices/connected_vertices_cuda.h"

namespace tetragan {
namespace {

Tensor connected_vertices(const Tensor& faces, int64_t count) {
  const OnDevice device(faces);
  Tensor parent = empty_like_of(faces, {count});
  Tensor labels = empty_like_of(faces, {count}, ScalarType::Long);
  connected_vertices_cuda(data<int32_t>(faces), faces.size(0), count, mutable_data<int32_t>(parent),
                          mutable_data<int64_t>(labels), device.stream);
  check_launch("connected_vertices");
  return labels;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(tetragan, CUDA, m) { m.impl("connected_vertices", TORCH_BOX(&connected_vertices)); }

}  // namespace tetragan
