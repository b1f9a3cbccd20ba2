// Binding of the CUDA kernel of `lfd_distance`.
#include "common/cuda.h"
#include "lfd_distance/lfd_distance_cuda.h"

namespace tetragan {
namespace {

Tensor lfd_distance(const Tensor& a, const Tensor& b, const Tensor& alignments) {
  const OnDevice device(a);
  Tensor out = empty_like_of(a, {a.size(0), b.size(0)}, ScalarType::Int);
  lfd_distance_cuda(data<uint8_t>(a), data<uint8_t>(b), data<uint8_t>(alignments), alignments.size(0), a.size(0), b.size(0),
                    mutable_data<int32_t>(out), device.stream);
  check_launch("lfd_distance");
  return out;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(tetragan, CUDA, m) { m.impl("lfd_distance", TORCH_BOX(&lfd_distance)); }

}  // namespace tetragan
