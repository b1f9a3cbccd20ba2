// Binding of the CUDA kernels of `environment_shading`.
#include "common/cuda.h"
#include "environment_shading/environment_shading_cuda.h"
#include "environment_shading/tensors.h"

namespace tetragan {
namespace {

int64_t count_of(const Tensor& normal) {
  STD_TORCH_CHECK(normal.size(0) < int64_t{1} << 31, "environment_shading(): expected fewer than 2³¹ points on CUDA");
  return normal.size(0);
}

std::tuple<Tensor, Tensor> environment_shading(const Tensor& normal, const Tensor& eye, const Tensor& base,
                                               const Tensor& metallic, const Tensor& roughness, const Tensor& mirror,
                                               const Tensor& filtered, const Tensor& irradiance, const Tensor& table,
                                               const Tensor& knots) {
  const OnDevice device(normal);
  const int64_t points = count_of(normal);
  Tensor specular = empty_like_of(normal, {points, 3}), diffuse = empty_like_of(normal, {points, 3});
  dispatch_floating(normal, "environment_shading", [&](auto zero) {
    using T = decltype(zero);
    environment_shading_cuda<T>(environment_of<T>(mirror, filtered, irradiance, table, knots),
                                points_of<T>(normal, eye, base, metallic, roughness), points, mutable_data<T>(specular),
                                mutable_data<T>(diffuse), device.stream);
  });
  check_launch("environment_shading");
  return {specular, diffuse};
}

std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor> environment_shading_backward(
    const Tensor& of_specular, const Tensor& of_diffuse, const Tensor& normal, const Tensor& eye, const Tensor& base,
    const Tensor& metallic, const Tensor& roughness, const Tensor& mirror, const Tensor& filtered, const Tensor& irradiance,
    const Tensor& table, const Tensor& knots) {
  const OnDevice device(normal);
  const int64_t points = count_of(normal);
  const ShadingTensors gradient(normal, points);
  dispatch_floating(normal, "environment_shading", [&](auto zero) {
    using T = decltype(zero);
    environment_shading_backward_cuda<T>(environment_of<T>(mirror, filtered, irradiance, table, knots),
                                         points_of<T>(normal, eye, base, metallic, roughness), points,
                                         data<T>(of_specular), data<T>(of_diffuse), gradient.from<T>(), device.stream);
  });
  check_launch("environment_shading");
  return {gradient.normal, gradient.eye, gradient.base, gradient.metallic, gradient.roughness};
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(tetragan, CUDA, m) {
  m.impl("environment_shading", TORCH_BOX(&environment_shading));
  m.impl("environment_shading_backward", TORCH_BOX(&environment_shading_backward));
}

}  // namespace tetragan
