// Binding of the CUDA kernel of `upfirdn2d`.
#include "common/cuda.h"
#include "upfirdn2d/upfirdn2d_cuda.h"

namespace tetragan {
namespace {

Tensor upfirdn2d(const Tensor& x, const Tensor& filter, const std::optional<Tensor>& add, int64_t up, int64_t down,
                 int64_t left, int64_t right, int64_t top, int64_t bottom, bool flip, double gain) {
  const OnDevice device(x);
  const bool planar = x.is_contiguous();
  const int64_t height = x.size(2), width = x.size(3), taps = filter.size(0);
  const int64_t out_height = (height * up + top + bottom - taps) / down + 1;
  const int64_t out_width = (width * up + left + right - taps) / down + 1;
  const Upfirdn2dSize size{{height, up, down, top, taps},
                           {width, up, down, left, taps},
                           planar ? x.size(0) * x.size(1) : x.size(0),
                           planar ? 1 : x.size(1),
                           out_height,
                           out_width};
  constexpr int64_t kMost = int64_t{1} << 31;
  STD_TORCH_CHECK(size.channels * height * width < kMost && size.channels * out_height * out_width < kMost,
                  "upfirdn2d(): expected images of fewer than 2³¹ values on CUDA");
  Tensor y = planar ? empty_like_of(x, {x.size(0), x.size(1), out_height, out_width})
                    : empty_like_of(x, {x.size(0), out_height, out_width, x.size(1)});
  const bool narrow = add && add->scalar_type() != x.scalar_type();
  const auto run = [&](auto zero) {
    using T = decltype(zero);
    const T* other = add && !narrow ? data<T>(*add) : nullptr;
    const Bfloat16* narrow_other = narrow ? data<Bfloat16>(*add) : nullptr;
    upfirdn2d_cuda<T>(data<T>(x), filter.data_ptr(), filter.scalar_type() == ScalarType::Double, other, narrow_other, flip, gain,
                      size, mutable_data<T>(y), device.stream);
  };
  switch (x.scalar_type()) {
    case ScalarType::Float: run(float{}); break;
    case ScalarType::Double: run(double{}); break;
    case ScalarType::BFloat16: run(Bfloat16{}); break;
    default: STD_TORCH_CHECK(false, "upfirdn2d(): expected float32, float64 or bfloat16, got another type");
  }
  check_launch("upfirdn2d");
  // Channels-last memory under the logical shape [B, C, H, W].
  return planar ? y : torch::stable::transpose(torch::stable::transpose(y, 2, 3), 1, 2);
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(tetragan, CUDA, m) { m.impl("upfirdn2d", TORCH_BOX(&upfirdn2d)); }

}  // namespace tetragan
