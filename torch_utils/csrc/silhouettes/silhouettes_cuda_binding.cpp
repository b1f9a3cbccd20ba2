// Binding of the CUDA kernel of `silhouettes`. Words are little-endian on every device that CUDA supports, so a word of 32
// bits is four bytes of the result, in order.
#include "common/cuda.h"
#include "silhouettes/silhouettes_cuda.h"

namespace tetragan {
namespace {

Tensor silhouettes_op(const Tensor& vertices, const Tensor& faces, const Tensor& axes, int64_t side) {
  const OnDevice device(vertices);
  const int64_t views = axes.size(0);
  Tensor result = empty_like_of(vertices, {views, side, side / 8}, ScalarType::Byte);
  dispatch_floating(vertices, "silhouettes", [&](auto zero) {
    using T = decltype(zero);
    silhouettes_cuda<T>(data<T>(vertices), vertices.size(0), data<int32_t>(faces), faces.size(0), data<T>(axes), views,
                        static_cast<int32_t>(side), reinterpret_cast<uint32_t*>(result.data_ptr()), device.stream);
  });
  check_launch("silhouettes");
  return result;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(tetragan, CUDA, m) { m.impl("silhouettes", TORCH_BOX(&silhouettes_op)); }

}  // namespace tetragan
