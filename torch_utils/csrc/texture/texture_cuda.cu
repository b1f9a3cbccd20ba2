// CUDA kernels of `texture`: one thread per pixel; the gradient of the texels is added with atomics.
#include "common/cuda_launch.h"
#include "texture/texture_cuda.h"

namespace tetragan {
namespace {

using texturing::Detail;
using texturing::Level;
using texturing::Sample;

// The one or two weighted samples of a pixel.
template <class T>
struct Lookup {
  Sample<T> sample[2];
  T share[2];
  int count;
  Detail<T> detail;
  int64_t texture;  // offset of its texture
};

template <class T>
__device__ Lookup<T> look_up(const T* uv, const T* uv_db, const TextureSettings& s, int64_t pixel) {
  Lookup<T> found;
  found.detail = {0, T(0), {T(0), T(0), T(0), T(0)}};
  if (uv_db != nullptr) found.detail = texturing::detail_at(uv_db + 4 * pixel, s.height, s.width, s.levels);
  found.count = s.filter == texturing::kTrilinear && found.detail.level + 1 < s.levels ? 2 : 1;
  for (int k = 0; k < found.count; ++k) {
    const Level level = texturing::level_of(s.height, s.width, found.detail.level + k);
    found.sample[k] = texturing::sample_at(uv[2 * pixel], uv[2 * pixel + 1], level, s.filter, s.boundary);
    found.share[k] = k == 0 ? T(1) - found.detail.fraction : found.detail.fraction;
  }
  found.texture = s.textures == 1 ? 0 : pixel / s.pixels * s.texels * s.channels;
  return found;
}

template <class T>
__global__ void forward_kernel(const T* texels, const T* uv, const T* uv_db, TextureSettings s, T* out) {
  TETRAGAN_EACH(pixel, s.images * s.pixels) {
    const Lookup<T> found = look_up(uv, uv_db, s, pixel);
    for (int64_t k = 0; k < s.channels; ++k) {
      T value = 0;
      for (int which = 0; which < found.count; ++which) {
        for (int corner = 0; corner < 4; ++corner) {
          value += found.share[which] * found.sample[which].weight[corner] *
                   texels[found.texture + found.sample[which].texel[corner] * s.channels + k];
        }
      }
      out[pixel * s.channels + k] = value;
    }
  }
}

template <class T>
__global__ void backward_kernel(const T* grad, const T* texels, const T* uv, const T* uv_db, TextureSettings s,
                                T* grad_texels, T* grad_uv, T* grad_db) {
  TETRAGAN_EACH(pixel, s.images * s.pixels) {
    const Lookup<T> found = look_up(uv, uv_db, s, pixel);
    T by_u = 0, by_v = 0, by_fraction = 0;
    for (int which = 0; which < found.count; ++which) {
      const Sample<T>& sample = found.sample[which];
      for (int corner = 0; corner < 4; ++corner) {
        const int64_t texel = found.texture + sample.texel[corner] * s.channels;
        T along = 0;
        for (int64_t k = 0; k < s.channels; ++k) {
          const T g = grad[pixel * s.channels + k];
          along += g * texels[texel + k];
          if (grad_texels != nullptr) atomicAdd(grad_texels + texel + k, found.share[which] * sample.weight[corner] * g);
        }
        by_u += found.share[which] * sample.by_u[corner] * along;
        by_v += found.share[which] * sample.by_v[corner] * along;
        by_fraction += (which == 0 ? -along : along) * sample.weight[corner];
      }
    }
    const bool smooth = s.filter != texturing::kNearest;
    grad_uv[2 * pixel] = smooth ? by_u : T(0);
    grad_uv[2 * pixel + 1] = smooth ? by_v : T(0);
    for (int k = 0; grad_db != nullptr && k < 4; ++k) grad_db[4 * pixel + k] = by_fraction * found.detail.by_db[k];
  }
}

}  // namespace

template <class T>
void texture_cuda(const T* texels, const T* uv, const T* uv_db, const TextureSettings& s, T* out, cudaStream_t stream) {
  if (s.images * s.pixels == 0) return;
  forward_kernel<<<blocks_for(s.images * s.pixels), kBlock, 0, stream>>>(texels, uv, uv_db, s, out);
}

template <class T>
void texture_backward_cuda(const T* grad, const T* texels, const T* uv, const T* uv_db, const TextureSettings& s,
                           T* grad_texels, T* grad_uv, T* grad_db, cudaStream_t stream) {
  if (s.images * s.pixels == 0) return;
  backward_kernel<<<blocks_for(s.images * s.pixels), kBlock, 0, stream>>>(grad, texels, uv, uv_db, s, grad_texels, grad_uv,
                                                                           grad_db);
}

#define TETRAGAN_INSTANTIATE(T)                                                                                      \
  template void texture_cuda(const T*, const T*, const T*, const TextureSettings&, T*, cudaStream_t);                \
  template void texture_backward_cuda(const T*, const T*, const T*, const T*, const TextureSettings&, T*, T*, T*,    \
                                      cudaStream_t);
TETRAGAN_INSTANTIATE(float)
TETRAGAN_INSTANTIATE(double)

}  // namespace tetragan
