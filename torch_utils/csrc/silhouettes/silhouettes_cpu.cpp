// `silhouettes` on the CPU: one bit per pixel, rows as 64-bit words; a task owns one view.
#include "silhouettes/silhouettes.h"

#include <cstring>

#include "common/cpu.h"

namespace tetragan {

namespace {

// Set bits [left, right) of a row of 64-bit words.
inline void set_bits(uint64_t* row, int32_t left, int32_t right) {
  if (left >= right) return;
  const int32_t first = left >> 6, last = (right - 1) >> 6;
  const uint64_t from = ~uint64_t{0} << (left & 63), to = ~uint64_t{0} >> (63 - ((right - 1) & 63));
  if (first == last) {
    row[first] |= from & to;
    return;
  }
  row[first] |= from;
  for (int32_t word = first + 1; word < last; ++word) row[word] = ~uint64_t{0};
  row[last] |= to;
}

template <class T>
void draw_view(const T* vertices, int64_t vertex_count, const int32_t* faces, int64_t face_count, const T* axes, int32_t side,
               uint8_t* out) {
  using silhouettes::Point;
  const int32_t words = side / 64;
  std::vector<uint64_t> image(static_cast<size_t>(side) * words, 0);
  std::vector<Point> screen(vertex_count);
  const double half = 0.5 * side;
  for (int64_t i = 0; i < vertex_count; ++i) {
    const double x = vertices[3 * i], y = vertices[3 * i + 1], z = vertices[3 * i + 2];
    screen[i] = {(axes[0] * x + axes[1] * y + axes[2] * z + 1) * half, (axes[3] * x + axes[4] * y + axes[5] * z + 1) * half};
  }
  for (int64_t f = 0; f < face_count; ++f) {
    const int32_t* id = faces + 3 * f;
    const silhouettes::Triangle triangle(screen[id[0]], screen[id[1]], screen[id[2]], side);
    for (int32_t row = triangle.begin; row < triangle.end; ++row) {
      int32_t left, right;
      triangle.span(row, side, left, right);
      set_bits(image.data() + static_cast<size_t>(row) * words, left, right);
    }
  }
  for (size_t word = 0; word < image.size(); ++word) {
    for (int byte = 0; byte < 8; ++byte) out[8 * word + byte] = static_cast<uint8_t>(image[word] >> (8 * byte));
  }
}

Tensor silhouettes_op(const Tensor& vertices, const Tensor& faces, const Tensor& axes, int64_t side) {
  const int64_t views = axes.size(0), bytes = side * side / 8;
  Tensor result = empty_like_of(vertices, {views, side, side / 8}, ScalarType::Byte);
  dispatch_floating(vertices, "silhouettes", [&](auto zero) {
    using T = decltype(zero);
    const T *points = data<T>(vertices), *directions = data<T>(axes);
    uint8_t* out = mutable_data<uint8_t>(result);
    parallel_tasks(views, [&](int64_t view) {
      draw_view(points, vertices.size(0), data<int32_t>(faces), faces.size(0), directions + 6 * view,
                static_cast<int32_t>(side), out + view * bytes);
    });
  });
  return result;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(tetragan, CPU, m) { m.impl("silhouettes", TORCH_BOX(&silhouettes_op)); }

}  // namespace tetragan
