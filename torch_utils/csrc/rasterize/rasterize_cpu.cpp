// CPU kernel of `rasterize`: one task per band of rows, faces in increasing order, so that the first of equal depths wins and
// the result does not depend on the threads. Barycentric weights are computed only for the visible face of a pixel.
#include "rasterize/rasterize.h"

#include "common/cpu.h"
#include "common/vertex_sum.h"

namespace tetragan {
namespace {

using raster::ClipVertex;
using raster::ScreenVertex;
using raster::Spans;

constexpr int64_t kMinBandRows = 16;
// Spans at least this long go through the loop that the compiler vectorizes.
constexpr int32_t kLongSpan = 16;

template <class T>
ClipVertex load_vertex(const T* positions, int64_t index) {
  const T* p = positions + 4 * index;
  return {static_cast<double>(p[0]), static_cast<double>(p[1]), static_cast<double>(p[2]), static_cast<double>(p[3])};
}

template <class T>
void load_face(const T* positions, const int32_t* face, ClipVertex* out) {
  for (int k = 0; k < 3; ++k) out[k] = load_vertex(positions, face[k]);
}

// One band of rows of one image: depth and visible face of each pixel. `previous` is the previous layer (same layout as the output)
// or null.
template <class T>
struct Band {
  int32_t row_begin, row_end, height, width;
  const T* previous;
  std::vector<T> depth;
  std::vector<int32_t> winner;

  Band(int32_t begin, int32_t end, int32_t height, int32_t width, const T* previous)
      : row_begin(begin), row_end(end), height(height), width(width), previous(previous),
        depth((end - begin) * static_cast<int64_t>(width), std::nextafter(T(1), T(2))),  // z/w = 1 is still inside
        winner((end - begin) * static_cast<int64_t>(width), 0) {}

  void draw(const ScreenVertex& a, const ScreenVertex& b, const ScreenVertex& c, int32_t id) {
    Spans t;
    if (!raster::prepare(a, b, c, height, width, t)) return;
    const int32_t first = std::max(t.row_begin, row_begin), last = std::min(t.row_end, row_end);
    for (int32_t row = first; row < last; ++row) {
      int32_t begin, end;
      raster::span(t, row, width, begin, end);
      if (begin >= end) continue;
      const double of_row = raster::row_depth(t, row);
      if (previous != nullptr) {
        fill_behind(t, of_row, row, begin, end, id);
      } else {
        fill(t, of_row, row, begin, end, id);
      }
    }
  }

  void fill(const Spans& t, double of_row, int32_t row, int32_t begin, int32_t end, int32_t id) {
    T* depths = depth.data() + static_cast<int64_t>(row - row_begin) * width;
    int32_t* winners = winner.data() + static_cast<int64_t>(row - row_begin) * width;
    if (end - begin < kLongSpan) {
      for (int32_t j = begin; j < end; ++j) {
        const T z = static_cast<T>(raster::depth_at(t, of_row, j));
        if (z < depths[j]) {
          depths[j] = z;
          winners[j] = id;
        }
      }
      return;
    }
    for (int32_t j = begin; j < end; ++j) {
      const T z = static_cast<T>(raster::depth_at(t, of_row, j)), old = depths[j];
      const int32_t holder = winners[j];
      depths[j] = z < old ? z : old;
      winners[j] = z < old ? id : holder;
    }
  }

  // Depth peeling: only faces behind (depth, id) of the previous layer.
  void fill_behind(const Spans& t, double of_row, int32_t row, int32_t begin, int32_t end, int32_t id) {
    T* depths = depth.data() + static_cast<int64_t>(row - row_begin) * width;
    int32_t* winners = winner.data() + static_cast<int64_t>(row - row_begin) * width;
    const T* before = previous + static_cast<int64_t>(row) * width * 4;
    for (int32_t j = begin; j < end; ++j) {
      const T z = static_cast<T>(raster::depth_at(t, of_row, j));
      const T front = before[4 * j + 2], front_id = before[4 * j + 3];
      const bool behind = front_id > 0 && (z > front || (z == front && static_cast<T>(id) > front_id));
      if (behind && z < depths[j]) {
        depths[j] = z;
        winners[j] = id;
      }
    }
  }
};

template <class T>
void draw_face(Band<T>& band, const std::vector<ScreenVertex>& screen, const T* positions, const int32_t* face, int32_t id) {
  const ScreenVertex &a = screen[face[0]], &b = screen[face[1]], &c = screen[face[2]];
  const int32_t codes = a.code | b.code | c.code;
  if (codes == raster::kVisible) {
    band.draw(a, b, c, id);
  } else if (!(codes & raster::kBad)) {
    ClipVertex triangle[3], polygon[5];
    load_face(positions, face, triangle);
    const int count = raster::clip(triangle, polygon);
    ScreenVertex corners[5];
    for (int k = 0; k < count; ++k) corners[k] = raster::project(polygon[k], band.height, band.width);
    for (int k = 2; k < count; ++k) band.draw(corners[0], corners[k - 1], corners[k], id);
  }
}

raster::Center center_of(int32_t row, int32_t column, int32_t height, int32_t width) {
  return {raster::pixel_ndc(column, width), raster::pixel_ndc(row, height)};
}

// Visible faces to (u, v, z/w, id) and the derivatives.
template <class T>
void resolve(const Band<T>& band, const T* positions, const int32_t* faces, T* rast, T* rast_db) {
  const raster::PixelSize size = raster::pixel_size(band.height, band.width);
  for (int32_t row = band.row_begin; row < band.row_end; ++row) {
    for (int32_t column = 0; column < band.width; ++column) {
      const int64_t local = static_cast<int64_t>(row - band.row_begin) * band.width + column;
      const int64_t pixel = 4 * (static_cast<int64_t>(row) * band.width + column);
      const int32_t id = band.winner[local];
      if (id == 0) {
        for (int k = 0; k < 4; ++k) rast[pixel + k] = 0;
        for (int k = 0; rast_db != nullptr && k < 4; ++k) rast_db[pixel + k] = 0;
        continue;
      }
      ClipVertex p[3];
      load_face(positions, faces + 3 * static_cast<int64_t>(id - 1), p);
      raster::Weights s = raster::weights_at(p, center_of(row, column, band.height, band.width));
      rast[pixel] = static_cast<T>(s.u);
      rast[pixel + 1] = static_cast<T>(s.v);
      rast[pixel + 2] = band.depth[local];
      rast[pixel + 3] = static_cast<T>(id);
      if (rast_db != nullptr) {
        double db[4];
        raster::derivatives_at(s, size, db);
        for (int k = 0; k < 4; ++k) rast_db[pixel + k] = static_cast<T>(db[k]);
      }
    }
  }
}

template <class T>
std::vector<ScreenVertex> project_all(const T* positions, int64_t count, int32_t height, int32_t width) {
  std::vector<ScreenVertex> screen(count);
  torch::stable::parallel_for(0, count, 4096, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) screen[i] = raster::project(load_vertex(positions, i), height, width);
  });
  return screen;
}

std::tuple<Tensor, Tensor> rasterize(const Tensor& positions, const Tensor& faces, const Tensor& face_offsets, int64_t height,
                                     int64_t width, bool derivatives, const std::optional<Tensor>& previous) {
  const int64_t images = face_offsets.size(0) - 1;
  Tensor rast = empty_like_of(positions, {images, height, width, 4});
  Tensor rast_db = empty_like_of(positions, {derivatives ? images : 0, height, width, 4});
  const int32_t* triangles = data<int32_t>(faces);
  const int64_t* offsets = data<int64_t>(face_offsets);
  const int64_t threads = torch::stable::get_num_threads();
  // More bands than images only if the batch alone cannot occupy all threads; the result does not depend on it.
  const int64_t wanted = images >= 2 * threads ? 1 : (2 * threads + images - 1) / std::max<int64_t>(images, 1);
  const int64_t bands = threads == 1 ? 1 : std::max<int64_t>(1, std::min(wanted, height / kMinBandRows));
  dispatch_floating(positions, "rasterize", [&](auto zero) {
    using T = decltype(zero);
    const T* points = data<T>(positions);
    const T* before = previous ? data<T>(*previous) : nullptr;
    T *out = mutable_data<T>(rast), *out_db = mutable_data<T>(rast_db);
    const auto screen = project_all(points, positions.size(0), height, width);
    parallel_tasks(images * bands, [&](int64_t task) {
      const int64_t image = task / bands, index = task % bands, stride = image * height * width * 4;
      Band<T> band(height * index / bands, height * (index + 1) / bands, height, width, before ? before + stride : nullptr);
      for (int64_t f = offsets[image]; f < offsets[image + 1]; ++f) {
        draw_face(band, screen, points, triangles + 3 * f, static_cast<int32_t>(f + 1));
      }
      resolve(band, points, triangles, out + stride, derivatives ? out_db + stride : nullptr);
    });
  });
  return {rast, rast_db};
}

Tensor rasterize_backward(const Tensor& grad_rast, const std::optional<Tensor>& grad_db, const Tensor& positions,
                          const Tensor& faces, const Tensor& rast) {
  const int64_t images = rast.size(0), height = rast.size(1), width = rast.size(2), count = faces.size(0);
  Tensor grad_positions = zeros_like_of(positions, {positions.size(0), 4});
  const int32_t* triangles = data<int32_t>(faces);
  const raster::PixelSize size = raster::pixel_size(height, width);
  dispatch_floating(positions, "rasterize", [&](auto zero) {
    using T = decltype(zero);
    const T *points = data<T>(positions), *pixels = data<T>(rast), *grad = data<T>(grad_rast);
    const T* gradient_db = grad_db ? data<T>(*grad_db) : nullptr;
    const auto face_of = [&](int64_t pixel) -> const int32_t* {
      const int64_t id = face_id(pixels[4 * pixel + 3], count);
      return id > 0 ? triangles + 3 * (id - 1) : nullptr;
    };
    const auto row_range = [&](int64_t image, int64_t row, VertexRange& range) {
      for (int64_t pixel = (image * height + row) * width, end = pixel + width; pixel < end; ++pixel) {
        const int32_t* face = face_of(pixel);
        for (int k = 0; face != nullptr && k < 3; ++k) range.add(face[k]);
      }
    };
    const auto row_sum = [&](int64_t image, int64_t row, double* buffer) {
      for (int64_t column = 0; column < width; ++column) {
        const int64_t pixel = (image * height + row) * width + column;
        const int32_t* face = face_of(pixel);
        if (face == nullptr) continue;
        double of_rast[3], of_db[4], sum[12];
        bool any = false;
        for (int k = 0; k < 3; ++k) any |= (of_rast[k] = grad[4 * pixel + k]) != 0;
        for (int k = 0; gradient_db != nullptr && k < 4; ++k) any |= (of_db[k] = gradient_db[4 * pixel + k]) != 0;
        if (!any) continue;
        ClipVertex p[3];
        load_face(points, face, p);
        const raster::Center center = center_of(row, column, height, width);
        if (gradient_db != nullptr) {
          raster::pixel_gradient<true>(p, center, size, of_rast, of_db, sum);
        } else {
          raster::pixel_gradient<false>(p, center, size, of_rast, nullptr, sum);
        }
        for (int k = 0; k < 12; ++k) buffer[4 * static_cast<int64_t>(face[k / 4]) + k % 4] += sum[k];
      }
    };
    sum_on_vertices(images, height, 4, mutable_data<T>(grad_positions), row_range, row_sum);
  });
  return grad_positions;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(tetragan, CPU, m) {
  m.impl("rasterize", TORCH_BOX(&rasterize));
  m.impl("rasterize_backward", TORCH_BOX(&rasterize_backward));
}

}  // namespace tetragan
