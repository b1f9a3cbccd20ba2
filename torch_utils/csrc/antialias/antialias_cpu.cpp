// CPU kernel of `antialias`. First, each pixel writes the silhouettes of its pairs to the right and below; then each
// pixel gathers from its four pairs. Each value is written by one pixel, so the result does not depend on the threads.
#include "antialias/antialias.h"

#include "common/cpu.h"
#include "common/vertex_sum.h"

namespace tetragan {
namespace {

using edges::Mesh;
using edges::Pair;
using edges::Point;

// An image's size and the offset from a pixel to its partner to the right (0) or below (1).
struct Grid {
  int64_t images, height, width;
  int64_t step(int direction) const { return direction == 0 ? 1 : width; }
  bool has_partner(int64_t row, int64_t column, int direction) const {
    return direction == 0 ? column + 1 < width : row + 1 < height;
  }
};

// `slots` [N, H, W, 2] int32: 0 no silhouette; else ±(3·face + edge + 1), positive if the pixel itself is the nearer.
bool nearer_is_self(int32_t slot) { return slot > 0; }
int32_t edge_of(int32_t slot) { return (slot > 0 ? slot : -slot) - 1; }

// Of all vertices, for pairs within a row and then for pairs within a column; each with kNoPoint behind it.
template <class T>
std::vector<Point> screen_points(const T* positions, int64_t count, const Grid& grid) {
  std::vector<Point> points(2 * (count + 1), edges::kNoPoint);
  torch::stable::parallel_for(0, count, 4096, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const T* p = positions + 4 * i;
      points[i] = edges::screen_point(p[0], p[1], p[3], static_cast<int32_t>(grid.height), static_cast<int32_t>(grid.width));
      points[count + 1 + i] = edges::turned(points[i]);
    }
  });
  return points;
}

template <class T>
int32_t triangle_at(const T* rast, int64_t pixel, int64_t num_faces) {
  const int64_t id = face_id(rast[4 * pixel + 3], num_faces);
  return static_cast<int32_t>(id - 1);
}

// One row's pairs: slots and blends (d − ½). meshes: by direction.
template <class T>
void find_row(const Grid& grid, const T* rast, const Mesh (&meshes)[2], int64_t line, int32_t* slots, T* blends) {
  const int64_t row = line % grid.height;
  for (int64_t column = 0; column < grid.width; ++column) {
    const int64_t pixel = line * grid.width + column;
    const int32_t here = triangle_at(rast, pixel, meshes[0].num_faces);
    for (int direction = 0; direction < 2; ++direction) {
      slots[2 * pixel + direction] = 0;
      blends[2 * pixel + direction] = 0;
      if (!grid.has_partner(row, column, direction)) continue;
      const int64_t partner = pixel + grid.step(direction);
      const int32_t there = triangle_at(rast, partner, meshes[0].num_faces);
      if (here == there) continue;
      const bool self = there < 0 || (here >= 0 && rast[4 * pixel + 2] <= rast[4 * partner + 2]);
      const Pair pair = edges::pair_at(static_cast<int32_t>(row), static_cast<int32_t>(column), direction == 1, self);
      edges::find_silhouette(meshes[direction], pair, 3 * (self ? here : there), self ? there : here,
                             [&](int32_t slot, double rest) {
                               slots[2 * pixel + direction] = self ? slot + 1 : -(slot + 1);
                               blends[2 * pixel + direction] = edges::blend_at<T>(rest);
                             });
    }
  }
}

// Call f(first, second, slot, blend) for the up to four pairs of a pixel, in a fixed order.
template <class T, class F>
void for_pairs_of(const Grid& grid, const int32_t* slots, const T* blends, int64_t row, int64_t column, int64_t pixel,
                  const F& f) {
  for (int direction = 0; direction < 2; ++direction) {
    const int64_t own = 2 * pixel + direction;
    if (slots[own] != 0) f(pixel, pixel + grid.step(direction), slots[own], blends[own]);
    if (direction == 0 ? column == 0 : row == 0) continue;
    const int64_t before = pixel - grid.step(direction), other = 2 * before + direction;
    if (slots[other] != 0) f(before, pixel, slots[other], blends[other]);
  }
}

std::tuple<Tensor, Tensor, Tensor> antialias(const Tensor& color, const Tensor& rast, const Tensor& positions,
                                             const Tensor& faces, const Tensor& neighbors) {
  const Grid grid{color.size(0), color.size(1), color.size(2)};
  const int64_t channels = color.size(3), count = faces.size(0);
  Tensor out = empty_like_of(color, {grid.images, grid.height, grid.width, channels});
  Tensor slots = empty_like_of(faces, {grid.images, grid.height, grid.width, 2});
  Tensor blends = empty_like_of(color, {grid.images, grid.height, grid.width, 2});
  dispatch_floating(color, "antialias", [&](auto zero) {
    using T = decltype(zero);
    const T *source = data<T>(color), *pixels = data<T>(rast);
    T *target = mutable_data<T>(out), *blend = mutable_data<T>(blends);
    int32_t* slot = mutable_data<int32_t>(slots);
    const auto points = screen_points(data<T>(positions), positions.size(0), grid);
    const int32_t *corners = data<int32_t>(faces), *beside = data<int32_t>(neighbors);
    const auto num_faces = static_cast<uint32_t>(count), num_vertices = static_cast<uint32_t>(positions.size(0));
    const Mesh meshes[2] = {{points.data(), corners, beside, num_faces, num_vertices},
                            {points.data() + positions.size(0) + 1, corners, beside, num_faces, num_vertices}};
    const int64_t lines = grid.images * grid.height;
    parallel_tasks(lines, [&](int64_t line) {
      find_row(grid, pixels, meshes, line, slot, blend);
    });
    parallel_tasks(lines, [&](int64_t line) {
      const int64_t first = line * grid.width;
      std::copy(source + first * channels, source + (first + grid.width) * channels, target + first * channels);
      for (int64_t column = 0; column < grid.width; ++column) {
        const int64_t pixel = first + column;
        for_pairs_of(grid, slot, blend, line % grid.height, column, pixel,
                     [&](int64_t a, int64_t b, int32_t code, T amount) {
                       const int64_t near = nearer_is_self(code) ? a : b, far = a + b - near;
                       if (pixel != (amount > 0 ? far : near)) return;
                       const T *from = source + near * channels, *to = source + far * channels;
                       for (int64_t k = 0; k < channels; ++k) target[pixel * channels + k] += amount * (from[k] - to[k]);
                     });
      }
    });
  });
  return {out, slots, blends};
}

template <class T>
void color_gradient_row(const Grid& grid, const int32_t* slots, const T* blends, const T* grad, int64_t channels,
                         int64_t line, T* out) {
  const int64_t first = line * grid.width;
  std::copy(grad + first * channels, grad + (first + grid.width) * channels, out + first * channels);
  for (int64_t column = 0; column < grid.width; ++column) {
    const int64_t pixel = first + column;
    for_pairs_of(grid, slots, blends, line % grid.height, column, pixel,
                 [&](int64_t a, int64_t b, int32_t code, T amount) {
                   const int64_t near = nearer_is_self(code) ? a : b, far = a + b - near;
                   const T* of_target = grad + (amount > 0 ? far : near) * channels;
                   const T share = pixel == near ? amount : -amount;
                   for (int64_t k = 0; k < channels; ++k) out[pixel * channels + k] += share * of_target[k];
                 });
  }
}

std::tuple<Tensor, Tensor> antialias_backward(const Tensor& grad_out, const Tensor& color, const Tensor& positions,
                                              const Tensor& faces, const Tensor& slots, const Tensor& blends,
                                              bool of_positions) {
  const Grid grid{color.size(0), color.size(1), color.size(2)};
  const int64_t channels = color.size(3);
  Tensor grad_color = empty_like_of(color, {grid.images, grid.height, grid.width, channels});
  Tensor grad_positions = zeros_like_of(positions, {of_positions ? positions.size(0) : 0, 4});
  dispatch_floating(color, "antialias", [&](auto zero) {
    using T = decltype(zero);
    const T *source = data<T>(color), *grad = data<T>(grad_out), *blend = data<T>(blends), *points = data<T>(positions);
    const int32_t *slot = data<int32_t>(slots), *triangles = data<int32_t>(faces);
    T* to_color = mutable_data<T>(grad_color);
    parallel_tasks(grid.images * grid.height, [&](int64_t line) {
      color_gradient_row(grid, slot, blend, grad, channels, line, to_color);
    });
    if (!of_positions) return;
    const auto ends = [&](int32_t code, int64_t& a, int64_t& b) {
      const int32_t* f = triangles + edge_of(code) / 3 * 3;
      const int k = edge_of(code) % 3;
      a = f[edges::next_corner(k)];
      b = f[edges::last_corner(k)];
    };
    const auto row_range = [&](int64_t image, int64_t row, VertexRange& range) {
      const int64_t first = 2 * (image * grid.height + row) * grid.width;
      int64_t a, b;
      for (int64_t i = first; i < first + 2 * grid.width; ++i) {
        if (slot[i] == 0) continue;
        ends(slot[i], a, b);
        range.add(a);
        range.add(b);
      }
    };
    const auto row_sum = [&](int64_t image, int64_t row, double* buffer) {
      const int64_t first = (image * grid.height + row) * grid.width;
      for (int64_t i = 2 * first; i < 2 * (first + grid.width); ++i) {
        if (slot[i] == 0) continue;
        const int direction = i % 2;
        const int64_t pixel = i / 2, partner = pixel + grid.step(direction);
        const bool self = nearer_is_self(slot[i]);
        const int64_t near = self ? pixel : partner, far = self ? partner : pixel;
        const T* of_target = grad + (blend[i] > 0 ? far : near) * channels;
        double of_distance = 0;
        for (int64_t k = 0; k < channels; ++k) {
          of_distance += static_cast<double>(of_target[k]) * (source[near * channels + k] - source[far * channels + k]);
        }
        if (of_distance == 0) continue;
        int64_t vertex[2];
        ends(slot[i], vertex[0], vertex[1]);
        double corner[2][4], sum[8] = {};
        for (int k = 0; k < 8; ++k) corner[k / 4][k % 4] = points[4 * vertex[k / 4] + k % 4];
        const Pair pair = edges::pair_at(static_cast<int32_t>(row), static_cast<int32_t>(pixel - first), direction == 1, self);
        edges::distance_gradient(corner[0], corner[1], pair, static_cast<int32_t>(grid.height),
                                 static_cast<int32_t>(grid.width), of_distance, sum);
        for (int k = 0; k < 8; ++k) buffer[4 * vertex[k / 4] + k % 4] += sum[k];
      }
    };
    sum_on_vertices(grid.images, grid.height, 4, mutable_data<T>(grad_positions), row_range, row_sum);
  });
  return {grad_color, grad_positions};
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(tetragan, CPU, m) {
  m.impl("antialias", TORCH_BOX(&antialias));
  m.impl("antialias_backward", TORCH_BOX(&antialias_backward));
}

}  // namespace tetragan
