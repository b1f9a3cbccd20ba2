// CPU kernel of `texture`. Every pixel writes its own output and gradient of uv. For the gradient of the texels, a task owns a
// range of texels and visits all pixels in order, so the result does not depend on the threads.
#include "texture/texture.h"

#include "common/cpu.h"

namespace tetragan {
namespace {

using texturing::Detail;
using texturing::Level;
using texturing::Sample;

constexpr int32_t kMaxLevels = 16;

struct Settings {
  int64_t textures, texels, channels;  // of the texture
  int64_t images, pixels;              // of the output: pixels of one image
  int32_t levels, filter, boundary;
  Level level[kMaxLevels];

  // Offset of the texture that an image samples.
  int64_t texture(int64_t image) const { return textures == 1 ? 0 : image * texels * channels; }
};

Settings settings_of(const Tensor& texels, const Tensor& uv, int64_t height, int64_t width, int64_t levels, int64_t filter,
                     int64_t boundary) {
  STD_TORCH_CHECK(levels >= 1 && levels <= kMaxLevels, "texture(): expected at most 16 mip levels, got ", levels);
  Settings s{texels.size(0), texels.size(1), texels.size(2), uv.size(0), uv.size(1) * uv.size(2),
             static_cast<int32_t>(levels), static_cast<int32_t>(filter), static_cast<int32_t>(boundary), {}};
  for (int32_t l = 0; l < s.levels; ++l) {
    s.level[l] = texturing::level_of(static_cast<int32_t>(height), static_cast<int32_t>(width), l);
  }
  return s;
}

template <class T>
Detail<T> detail_of(const Settings& s, const T* uv_db, int64_t pixel) {
  if (uv_db == nullptr) return {0, T(0), {T(0), T(0), T(0), T(0)}};
  return texturing::detail_at(uv_db + 4 * pixel, s.level[0].height, s.level[0].width, s.levels);
}

// Call f(sample, share, which) for the one or two levels that a pixel samples: which = 0 the finer, 1 the coarser.
template <class T, class F>
void for_levels(const Settings& s, const T* uv, const Detail<T>& detail, int64_t pixel, const F& f) {
  const T u = uv[2 * pixel], v = uv[2 * pixel + 1];
  f(texturing::sample_at(u, v, s.level[detail.level], s.filter, s.boundary), T(1) - detail.fraction, 0);
  if (s.filter == texturing::kTrilinear && detail.level + 1 < s.levels) {
    f(texturing::sample_at(u, v, s.level[detail.level + 1], s.filter, s.boundary), detail.fraction, 1);
  }
}

Tensor texture(const Tensor& texels, const Tensor& uv, const std::optional<Tensor>& uv_db, int64_t height, int64_t width,
               int64_t levels, int64_t filter, int64_t boundary) {
  const Settings s = settings_of(texels, uv, height, width, levels, filter, boundary);
  Tensor out = empty_like_of(texels, {s.images, uv.size(1), uv.size(2), s.channels});
  dispatch_floating(texels, "texture", [&](auto zero) {
    using T = decltype(zero);
    const T *source = data<T>(texels), *where = data<T>(uv), *db = uv_db ? data<T>(*uv_db) : nullptr;
    T* target = mutable_data<T>(out);
    torch::stable::parallel_for(0, s.images * s.pixels, 4096, [&](int64_t begin, int64_t end) {
      for (int64_t pixel = begin; pixel < end; ++pixel) {
        const T* texture = source + s.texture(pixel / s.pixels);
        T* value = target + pixel * s.channels;
        for (int64_t k = 0; k < s.channels; ++k) value[k] = 0;
        const Detail<T> detail = detail_of(s, db, pixel);
        for_levels(s, where, detail, pixel, [&](const Sample<T>& sample, T share, int) {
          for (int corner = 0; corner < 4; ++corner) {
            const T weight = share * sample.weight[corner];
            const T* texel = texture + sample.texel[corner] * s.channels;
            for (int64_t k = 0; k < s.channels; ++k) value[k] += weight * texel[k];
          }
        });
      }
    });
  });
  return out;
}

// Gradients of one pixel's uv and footprint.
template <class T>
void coordinate_gradient(const Settings& s, const T* source, const T* uv, const T* uv_db, const T* grad, int64_t pixel,
                         T* of_uv, T* of_db) {
  const T* texture = source + s.texture(pixel / s.pixels);
  const Detail<T> detail = detail_of(s, uv_db, pixel);
  T by_u = 0, by_v = 0, by_fraction = 0;
  for_levels(s, uv, detail, pixel, [&](const Sample<T>& sample, T share, int which) {
    for (int corner = 0; corner < 4; ++corner) {
      const T* texel = texture + sample.texel[corner] * s.channels;
      T along = 0;
      for (int64_t k = 0; k < s.channels; ++k) along += grad[pixel * s.channels + k] * texel[k];
      by_u += share * sample.by_u[corner] * along;
      by_v += share * sample.by_v[corner] * along;
      by_fraction += (which == 0 ? -along : along) * sample.weight[corner];
    }
  });
  const bool smooth = s.filter != texturing::kNearest;
  of_uv[2 * pixel] = smooth ? by_u : T(0);
  of_uv[2 * pixel + 1] = smooth ? by_v : T(0);
  for (int k = 0; of_db != nullptr && k < 4; ++k) of_db[4 * pixel + k] = by_fraction * detail.by_db[k];
}

// Adds the gradients of the texels [first, last) of one texture.
template <class T>
void texel_gradient(const Settings& s, const T* uv, const T* uv_db, const T* grad, int64_t texture, int64_t first,
                    int64_t last, T* out) {
  const int64_t begin = s.textures == 1 ? 0 : texture * s.pixels;
  const int64_t end = s.textures == 1 ? s.images * s.pixels : begin + s.pixels;
  T* target = out + texture * s.texels * s.channels;
  for (int64_t pixel = begin; pixel < end; ++pixel) {
    const T* g = grad + pixel * s.channels;
    for_levels(s, uv, detail_of(s, uv_db, pixel), pixel, [&](const Sample<T>& sample, T share, int) {
      for (int corner = 0; corner < 4; ++corner) {
        const int64_t texel = sample.texel[corner];
        if (texel < first || texel >= last) continue;
        const T weight = share * sample.weight[corner];
        for (int64_t k = 0; k < s.channels; ++k) target[texel * s.channels + k] += weight * g[k];
      }
    });
  }
}

std::tuple<Tensor, Tensor, Tensor> texture_backward(const Tensor& grad_out, const Tensor& texels, const Tensor& uv,
                                                    const std::optional<Tensor>& uv_db, int64_t height, int64_t width,
                                                    int64_t levels, int64_t filter, int64_t boundary, bool of_texels) {
  const Settings s = settings_of(texels, uv, height, width, levels, filter, boundary);
  Tensor grad_texels = zeros_like_of(texels, {of_texels ? s.textures : 0, s.texels, s.channels});
  Tensor grad_uv = empty_like_of(uv, {s.images, uv.size(1), uv.size(2), 2});
  Tensor grad_db = empty_like_of(uv, {uv_db ? s.images : 0, uv.size(1), uv.size(2), 4});
  dispatch_floating(texels, "texture", [&](auto zero) {
    using T = decltype(zero);
    const T *source = data<T>(texels), *where = data<T>(uv), *db = uv_db ? data<T>(*uv_db) : nullptr;
    const T* grad = data<T>(grad_out);
    T *to_uv = mutable_data<T>(grad_uv), *to_db = uv_db ? mutable_data<T>(grad_db) : nullptr;
    torch::stable::parallel_for(0, s.images * s.pixels, 4096, [&](int64_t begin, int64_t end) {
      for (int64_t pixel = begin; pixel < end; ++pixel) {
        coordinate_gradient(s, source, where, db, grad, pixel, to_uv, to_db);
      }
    });
    if (!of_texels) return;
    const int64_t threads = torch::stable::get_num_threads();
    const int64_t parts = s.textures >= threads ? 1 : (threads + s.textures - 1) / std::max<int64_t>(s.textures, 1);
    T* to_texels = mutable_data<T>(grad_texels);
    parallel_tasks(s.textures * parts, [&](int64_t task) {
      const int64_t part = task % parts;
      texel_gradient(s, where, db, grad, task / parts, s.texels * part / parts, s.texels * (part + 1) / parts, to_texels);
    });
  });
  return {grad_texels, grad_uv, grad_db};
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(tetragan, CPU, m) {
  m.impl("texture", TORCH_BOX(&texture));
  m.impl("texture_backward", TORCH_BOX(&texture_backward));
}

}  // namespace tetragan
