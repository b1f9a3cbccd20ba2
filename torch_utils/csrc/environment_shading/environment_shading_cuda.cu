// CUDA kernels of `environment_shading`: one thread per point, which writes its own outputs and gradients.
#include "common/cuda_launch.h"
#include "environment_shading/environment_shading_cuda.h"

namespace tetragan {
namespace {

using shading::Directions;
using shading::Environment;
using shading::Surface;

template <class T>
__global__ void forward_kernel(Environment<T> environment, ShadingPointers<T> points, uint32_t count, T* specular,
                               T* diffuse) {
  const int64_t point = thread_index();
  if (point >= count) return;
  const Surface<T> surface = surface_at(points, point);
  const Directions<T> directions = shading::directions_of(surface.normal, surface.eye);
  const auto texels = shading::gather(environment, directions, surface.roughness);
  shading::reflect(texels, surface.base, surface.metallic, specular + 3 * point, diffuse + 3 * point);
}

template <class T>
__global__ void backward_kernel(Environment<T> environment, ShadingPointers<T> points, uint32_t count, const T* of_specular,
                                const T* of_diffuse, ShadingGradients<T> out) {
  const int64_t point = thread_index();
  if (point >= count) return;
  const Surface<T> surface = surface_at(points, point);
  const Directions<T> directions = shading::directions_of(surface.normal, surface.eye);
  const auto texels = shading::gather(environment, directions, surface.roughness);
  store(out, point, shading::reflect_gradient(directions, texels, surface, of_specular + 3 * point, of_diffuse + 3 * point));
}

}  // namespace

template <class T>
void environment_shading_cuda(const Environment<T>& environment, const ShadingPointers<T>& points, int64_t count,
                              T* specular, T* diffuse, cudaStream_t stream) {
  if (count == 0) return;
  forward_kernel<<<blocks_for(count), kBlock, 0, stream>>>(environment, points, static_cast<uint32_t>(count), specular,
                                                           diffuse);
}

template <class T>
void environment_shading_backward_cuda(const Environment<T>& environment, const ShadingPointers<T>& points, int64_t count,
                                       const T* of_specular, const T* of_diffuse, const ShadingGradients<T>& out,
                                       cudaStream_t stream) {
  if (count == 0) return;
  backward_kernel<<<blocks_for(count), kBlock, 0, stream>>>(environment, points, static_cast<uint32_t>(count), of_specular,
                                                            of_diffuse, out);
}

#define TETRAGAN_INSTANTIATE(T)                                                                                      \
  template void environment_shading_cuda(const Environment<T>&, const ShadingPointers<T>&, int64_t, T*, T*,          \
                                         cudaStream_t);                                                              \
  template void environment_shading_backward_cuda(const Environment<T>&, const ShadingPointers<T>&, int64_t,         \
                                                  const T*, const T*, const ShadingGradients<T>&, cudaStream_t);
TETRAGAN_INSTANTIATE(float)
TETRAGAN_INSTANTIATE(double)

}  // namespace tetragan
