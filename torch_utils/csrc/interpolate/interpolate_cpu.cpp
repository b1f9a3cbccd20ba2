// CPU kernel of `interpolate`: every pixel writes its own output; gradients of the vertices as in common/vertex_sum.h.
#include "interpolate/interpolate.h"

#include "common/cpu.h"
#include "common/vertex_sum.h"

namespace tetragan {
namespace {

// The inputs that locate a pixel's triangle.
template <class T>
struct Raster {
  const T* rast;
  const int32_t* faces;
  int64_t num_faces;

  // The three vertex ids, or null for background and ids out of range.
  const int32_t* face(int64_t pixel) const {
    const int64_t id = face_id(rast[4 * pixel + 3], num_faces);
    return id > 0 ? faces + 3 * (id - 1) : nullptr;
  }
};

template <class T>
void interpolate_pixels(const Raster<T>& raster, const T* attributes, const T* rast_db, int64_t width, int64_t begin,
                        int64_t end, T* out, T* out_db) {
  for (int64_t pixel = begin; pixel < end; ++pixel) {
    T* target = out + pixel * width;
    T* target_db = rast_db != nullptr ? out_db + pixel * 2 * width : nullptr;
    const int32_t* face = raster.face(pixel);
    if (face == nullptr) {
      for (int64_t k = 0; k < width; ++k) target[k] = 0;
      for (int64_t k = 0; target_db != nullptr && k < 2 * width; ++k) target_db[k] = 0;
      continue;
    }
    const T *a0 = attributes + face[0] * width, *a1 = attributes + face[1] * width, *a2 = attributes + face[2] * width;
    for (int64_t k = 0; k < width; ++k) target[k] = interpolation::value(raster.rast + 4 * pixel, a0[k], a1[k], a2[k]);
    for (int64_t k = 0; target_db != nullptr && k < width; ++k) {
      interpolation::derivative(rast_db + 4 * pixel, a0[k], a1[k], a2[k], target_db + 2 * k);
    }
  }
}

std::tuple<Tensor, Tensor> interpolate(const Tensor& attributes, const Tensor& rast, const Tensor& faces,
                                       const std::optional<Tensor>& rast_db) {
  const int64_t images = rast.size(0), height = rast.size(1), columns = rast.size(2), width = attributes.size(1);
  Tensor out = empty_like_of(attributes, {images, height, columns, width});
  Tensor out_db = empty_like_of(attributes, {rast_db ? images : 0, height, columns, 2 * width});
  dispatch_floating(attributes, "interpolate", [&](auto zero) {
    using T = decltype(zero);
    const Raster<T> raster{data<T>(rast), data<int32_t>(faces), faces.size(0)};
    const T* db = rast_db ? data<T>(*rast_db) : nullptr;
    const T* values = data<T>(attributes);
    T *target = mutable_data<T>(out), *target_db = mutable_data<T>(out_db);
    torch::stable::parallel_for(0, images * height * columns, 8192, [&](int64_t begin, int64_t end) {
      interpolate_pixels(raster, values, db, width, begin, end, target, target_db);
    });
  });
  return {out, out_db};
}

// All gradients of one pixel; those of the vertices are added to `buffer`.
template <class T>
void pixel_gradient(const Raster<T>& raster, const T* attributes, const T* rast_db, const T* grad, const T* grad_db,
                    int64_t width, int64_t pixel, T* of_rast, T* of_db, double* buffer) {
  const int32_t* face = raster.face(pixel);
  T uv[2] = {0, 0}, db[4] = {0, 0, 0, 0}, vertex[3];
  for (int64_t k = 0; face != nullptr && k < width; ++k) {
    const T g = grad[pixel * width + k];
    const T* g_db = rast_db != nullptr ? grad_db + (pixel * width + k) * 2 : nullptr;
    interpolation::gradient(raster.rast + 4 * pixel, rast_db != nullptr ? rast_db + 4 * pixel : nullptr,
                            attributes[face[0] * width + k], attributes[face[1] * width + k],
                            attributes[face[2] * width + k], g, g_db, uv, db, vertex);
    for (int corner = 0; buffer != nullptr && corner < 3; ++corner) {
      buffer[static_cast<int64_t>(face[corner]) * width + k] += vertex[corner];
    }
  }
  of_rast[4 * pixel] = uv[0];
  of_rast[4 * pixel + 1] = uv[1];
  of_rast[4 * pixel + 2] = of_rast[4 * pixel + 3] = 0;
  for (int k = 0; of_db != nullptr && k < 4; ++k) of_db[4 * pixel + k] = db[k];
}

std::tuple<Tensor, Tensor, Tensor> interpolate_backward(const Tensor& grad_out, const std::optional<Tensor>& grad_out_db,
                                                        const Tensor& attributes, const Tensor& rast, const Tensor& faces,
                                                        const std::optional<Tensor>& rast_db, bool of_attributes) {
  const int64_t images = rast.size(0), height = rast.size(1), columns = rast.size(2), width = attributes.size(1);
  Tensor grad_attributes = zeros_like_of(attributes, {of_attributes ? attributes.size(0) : 0, width});
  Tensor grad_rast = empty_like_of(rast, {images, height, columns, 4});
  Tensor grad_rast_db = empty_like_of(rast, {rast_db ? images : 0, height, columns, 4});
  dispatch_floating(attributes, "interpolate", [&](auto zero) {
    using T = decltype(zero);
    const Raster<T> raster{data<T>(rast), data<int32_t>(faces), faces.size(0)};
    const T* db = rast_db ? data<T>(*rast_db) : nullptr;
    const T *values = data<T>(attributes), *grad = data<T>(grad_out), *grad_db = db ? data<T>(*grad_out_db) : nullptr;
    T *to_rast = mutable_data<T>(grad_rast), *to_db = db ? mutable_data<T>(grad_rast_db) : nullptr;
    const auto row_sum = [&](int64_t image, int64_t row, double* buffer) {
      const int64_t first = (image * height + row) * columns;
      for (int64_t pixel = first; pixel < first + columns; ++pixel) {
        pixel_gradient(raster, values, db, grad, grad_db, width, pixel, to_rast, to_db, buffer);
      }
    };
    if (!of_attributes) {
      parallel_tasks(images * height, [&](int64_t line) { row_sum(line / height, line % height, nullptr); });
      return;
    }
    const auto row_range = [&](int64_t image, int64_t row, VertexRange& range) {
      const int64_t first = (image * height + row) * columns;
      for (int64_t pixel = first; pixel < first + columns; ++pixel) {
        const int32_t* face = raster.face(pixel);
        for (int k = 0; face != nullptr && k < 3; ++k) range.add(face[k]);
      }
    };
    sum_on_vertices(images, height, width, mutable_data<T>(grad_attributes), row_range, row_sum);
  });
  return {grad_attributes, grad_rast, grad_rast_db};
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(tetragan, CPU, m) {
  m.impl("interpolate", TORCH_BOX(&interpolate));
  m.impl("interpolate_backward", TORCH_BOX(&interpolate_backward));
}

}  // namespace tetragan
