// Binding of the CUDA kernels of `face_neighbours`.
#include "common/cuda.h"
#include "face_neighbours/face_neighbours_cuda.h"

namespace tetragan {
namespace {

Tensor face_neighbours(const Tensor& faces) {
  const OnDevice device(faces);
  const int64_t count = faces.size(0);
  Tensor out = empty_like_of(faces, {count, 3});
  Tensor scratch = empty_like_of(faces, {face_neighbours_cuda_scratch(count)}, ScalarType::Byte);
  face_neighbours_cuda(data<int32_t>(faces), count, scratch.data_ptr(), mutable_data<int32_t>(out), device.stream);
  check_launch("face_neighbours");
  return out;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(tetragan, CUDA, m) { m.impl("face_neighbours", TORCH_BOX(&face_neighbours)); }

}  // namespace tetragan
