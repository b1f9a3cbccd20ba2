// The tensors of `environment_shading` as pointers, for both bindings.
#pragma once
#include "common/cpu.h"
#include "environment_shading/points.h"

namespace tetragan {

template <class T>
shading::Environment<T> environment_of(const Tensor& mirror, const Tensor& filtered, const Tensor& irradiance,
                                       const Tensor& table, const Tensor& knots) {
  for (const Tensor& image : {mirror, filtered, irradiance, table}) {
    STD_TORCH_CHECK(image.numel() < int64_t{1} << 32, "environment_shading(): expected fewer than 2³² values an image");
  }
  const auto size = [](const Tensor& tensor, int64_t dim) { return static_cast<int32_t>(tensor.size(dim)); };
  return {data<T>(mirror), data<T>(filtered), data<T>(irradiance), data<T>(table), data<T>(knots),
          size(mirror, 0) - 2, size(mirror, 1), size(filtered, 1) - 2, size(filtered, 2), size(filtered, 0),
          size(irradiance, 0) - 2, size(irradiance, 1), size(table, 0)};
}

template <class T>
ShadingPointers<T> points_of(const Tensor& normal, const Tensor& eye, const Tensor& base, const Tensor& metallic,
                             const Tensor& roughness, int64_t first = 0) {
  return {data<T>(normal) + 3 * first, data<T>(eye) + 3 * first, data<T>(base) + 3 * first, data<T>(metallic) + first,
          data<T>(roughness) + first};
}

// The gradients of a call, not written yet.
struct ShadingTensors {
  Tensor normal, eye, base, metallic, roughness;

  ShadingTensors(const Tensor& like, int64_t points)
      : normal(empty_like_of(like, {points, 3})),
        eye(empty_like_of(like, {points, 3})),
        base(empty_like_of(like, {points, 3})),
        metallic(empty_like_of(like, {points, 1})),
        roughness(empty_like_of(like, {points, 1})) {}

  template <class T>
  ShadingGradients<T> from(int64_t first = 0) const {
    return {mutable_data<T>(normal) + 3 * first, mutable_data<T>(eye) + 3 * first, mutable_data<T>(base) + 3 * first,
            mutable_data<T>(metallic) + first, mutable_data<T>(roughness) + first};
  }
};

}  // namespace tetragan
