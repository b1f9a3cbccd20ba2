// Binding of the CUDA kernels of `face_neighbors`.
#include "common/cuda.h"
#include "face_neighbors/face_neighbors_cuda.h"

namespace tetragan {
namespace {

Tensor face_neighbors(const Tensor& faces) {
  const OnDevice device(faces);
  const int64_t count = faces.size(0);
  Tensor out = empty_like_of(faces, {count, 3});
  Tensor scratch = empty_like_of(faces, {face_neighbors_cuda_scratch(count)}, ScalarType::Byte);
  face_neighbors_cuda(data<int32_t>(faces), count, scratch.data_ptr(), mutable_data<int32_t>(out), device.stream);
  check_launch("face_neighbors");
  return out;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(tetragan, CUDA, m) { m.impl("face_neighbors", TORCH_BOX(&face_neighbors)); }

}  // namespace tetragan
