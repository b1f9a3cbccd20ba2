// CPU kernel of `environment_shading`: every point writes its own outputs and gradients.
#include <type_traits>

#include "common/isa.h"
#include "environment_shading/tensors.h"

#define TETRAGAN_DECLARE_SHADING(suffix, T)                                                                              \
  TETRAGAN_DECLARE(void, shading_forward_##suffix,                                                                       \
                   (const tetragan::shading::Environment<T>&, const tetragan::ShadingPointers<T>&, int64_t, T*, T*))     \
  TETRAGAN_DECLARE(void, shading_backward_##suffix,                                                                      \
                   (const tetragan::shading::Environment<T>&, const tetragan::ShadingPointers<T>&, int64_t, const T*,    \
                    const T*, const tetragan::ShadingGradients<T>&))
TETRAGAN_DECLARE_SHADING(f32, float)
TETRAGAN_DECLARE_SHADING(f64, double)

namespace tetragan {
namespace {

constexpr int64_t kGrain = 1024;

std::tuple<Tensor, Tensor> environment_shading(const Tensor& normal, const Tensor& eye, const Tensor& base,
                                               const Tensor& metallic, const Tensor& roughness, const Tensor& mirror,
                                               const Tensor& filtered, const Tensor& irradiance, const Tensor& table,
                                               const Tensor& knots) {
  const int64_t points = normal.size(0);
  Tensor specular = empty_like_of(normal, {points, 3}), diffuse = empty_like_of(normal, {points, 3});
  dispatch_floating(normal, "environment_shading", [&](auto zero) {
    using T = decltype(zero);
    const auto environment = environment_of<T>(mirror, filtered, irradiance, table, knots);
    T *to_specular = mutable_data<T>(specular), *to_diffuse = mutable_data<T>(diffuse);
    torch::stable::parallel_for(0, points, kGrain, [&](int64_t begin, int64_t end) {
      const auto from = points_of<T>(normal, eye, base, metallic, roughness, begin);
      if constexpr (std::is_same_v<T, float>) {
        TETRAGAN_CALL(shading_forward_f32, (environment, from, end - begin, to_specular + 3 * begin, to_diffuse + 3 * begin));
      } else {
        TETRAGAN_CALL(shading_forward_f64, (environment, from, end - begin, to_specular + 3 * begin, to_diffuse + 3 * begin));
      }
    });
  });
  return {specular, diffuse};
}

std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor> environment_shading_backward(
    const Tensor& of_specular, const Tensor& of_diffuse, const Tensor& normal, const Tensor& eye, const Tensor& base,
    const Tensor& metallic, const Tensor& roughness, const Tensor& mirror, const Tensor& filtered, const Tensor& irradiance,
    const Tensor& table, const Tensor& knots) {
  const int64_t points = normal.size(0);
  const ShadingTensors gradient(normal, points);
  dispatch_floating(normal, "environment_shading", [&](auto zero) {
    using T = decltype(zero);
    const auto environment = environment_of<T>(mirror, filtered, irradiance, table, knots);
    const T *s = data<T>(of_specular), *d = data<T>(of_diffuse);
    torch::stable::parallel_for(0, points, kGrain, [&](int64_t begin, int64_t end) {
      const auto from = points_of<T>(normal, eye, base, metallic, roughness, begin);
      const auto to = gradient.from<T>(begin);
      if constexpr (std::is_same_v<T, float>) {
        TETRAGAN_CALL(shading_backward_f32, (environment, from, end - begin, s + 3 * begin, d + 3 * begin, to));
      } else {
        TETRAGAN_CALL(shading_backward_f64, (environment, from, end - begin, s + 3 * begin, d + 3 * begin, to));
      }
    });
  });
  return {gradient.normal, gradient.eye, gradient.base, gradient.metallic, gradient.roughness};
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(tetragan, CPU, m) {
  m.impl("environment_shading", TORCH_BOX(&environment_shading));
  m.impl("environment_shading_backward", TORCH_BOX(&environment_shading_backward));
}

}  // namespace tetragan
