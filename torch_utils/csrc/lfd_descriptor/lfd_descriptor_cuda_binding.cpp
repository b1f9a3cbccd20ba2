// Binding of the CUDA kernels of `lfd_descriptor`. Words are little-endian on every device that CUDA supports, so eight bytes of a
// silhouette are a word of 64 bits.
#include "common/cuda.h"
#include "lfd_descriptor/lfd_descriptor_cuda.h"

namespace tetragan {
namespace {

constexpr int64_t kDescriptorBytes = 47;

Tensor lfd_descriptor(const Tensor& silhouettes, const Tensor& basis) {
  const OnDevice device(silhouettes);
  const DescriptorSize size = {silhouettes.size(0), silhouettes.size(1), static_cast<int32_t>(silhouettes.size(2))};
  Tensor out = empty_like_of(silhouettes, {size.fields, size.views, kDescriptorBytes});
  const int64_t bytes = silhouettes.numel();
  const bool aligned = reinterpret_cast<uintptr_t>(silhouettes.data_ptr()) % sizeof(uint64_t) == 0;
  Tensor copy = empty_like_of(silhouettes, {aligned ? 0 : bytes});
  if (!aligned) cudaMemcpyAsync(copy.data_ptr(), silhouettes.data_ptr(), bytes, cudaMemcpyDeviceToDevice, device.stream);
  Tensor scratch = empty_like_of(silhouettes, {lfd_descriptor_cuda_scratch(size)});
  const void* images = aligned ? silhouettes.data_ptr() : copy.data_ptr();
  lfd_descriptor_cuda(static_cast<const uint64_t*>(images), data<double>(basis), size, scratch.data_ptr(),
                      mutable_data<uint8_t>(out), device.stream);
  check_launch("lfd_descriptor");
  return out;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(tetragan, CUDA, m) { m.impl("lfd_descriptor", TORCH_BOX(&lfd_descriptor)); }

}  // namespace tetragan
