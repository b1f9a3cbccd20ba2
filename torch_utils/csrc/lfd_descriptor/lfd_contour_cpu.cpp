// The contour of a silhouette, traced from its first pixel. Several components are merged by dilation first.
#include <numeric>

#include "lfd_descriptor/bits.h"

namespace tetragan::lfd {

namespace {

int32_t root_of(std::vector<int32_t>& parent, int32_t node) {
  while (parent[node] != node) node = parent[node] = parent[parent[node]];
  return node;
}

int64_t pixels_in(const Bits& image, const Run& run) {
  int64_t count = 0;
  for (int32_t word = run.begin >> 6; word <= (run.end - 1) >> 6; ++word) {
    uint64_t bits = image.view().word(word, run.y);
    if (word == run.begin >> 6) bits &= ~uint64_t{0} << (run.begin & 63);
    if (word == (run.end - 1) >> 6) bits &= ~uint64_t{0} >> (63 - ((run.end - 1) & 63));
    count += count_bits(bits);
  }
  return count;
}

// Foreground pixels that a 4-connected flood from outside the image reaches if only the contour blocks it.
int64_t reached_foreground(const Bits& image, const std::vector<Pixel>& contour) {
  Bits wall(image.side);
  for (const Pixel& pixel : contour) wall.set(pixel.x, pixel.y);
  const std::vector<Run> runs = runs_of(wall, true);
  const int32_t outside = static_cast<int32_t>(runs.size());
  std::vector<int32_t> parent(runs.size() + 1);
  std::iota(parent.begin(), parent.end(), 0);
  size_t above = 0;
  for (size_t i = 0; i < runs.size(); ++i) {
    const Run& run = runs[i];
    const auto join = [&](int32_t other) { parent[root_of(parent, static_cast<int32_t>(i))] = root_of(parent, other); };
    if (run.y == 0 || run.y == image.side - 1 || run.begin == 0 || run.end == image.side) join(outside);
    while (above < i && (runs[above].y < run.y - 1 || (runs[above].y == run.y - 1 && runs[above].end <= run.begin))) ++above;
    for (size_t j = above; j < i && runs[j].y == run.y - 1 && runs[j].begin < run.end; ++j) join(static_cast<int32_t>(j));
  }
  int64_t reached = 0;
  for (size_t i = 0; i < runs.size(); ++i) {
    if (root_of(parent, static_cast<int32_t>(i)) == root_of(parent, outside)) reached += pixels_in(image, runs[i]);
  }
  return reached;
}

std::vector<Pixel> trace_contour(const Bits& image, int32_t first_row) {
  Tracer tracer(image.view(), first_pixel(image.view(), first_row));
  std::vector<Pixel> contour;
  do contour.push_back(tracer.at);
  while (tracer.next(image.view()));
  return contour;
}

bool is_whole(const Bits& image, const std::vector<Pixel>& contour) {
  int64_t pixels = 0;
  for (uint64_t word : image.rows) pixels += count_bits(word);
  return encloses(pixels, reached_foreground(image, contour));
}

Bits dilated(const Bits& image, int32_t reach, bool round) {
  return Bits::of_words(image.side, [&](int32_t word, int32_t y) { return dilated_bits(image.view(), word, y, reach, round); });
}

// Thin `image` to lines, peeling one side after the other, and keep every pixel of `original`.
void thin(Bits& image, const Bits& original) {
  for (bool changed = true; changed;) {
    changed = false;
    for (int32_t side = 0; side < 4; ++side) {
      const Bits gone = Bits::of_words(
          image.side, [&](int32_t word, int32_t y) { return thinned_bits(image.view(), original.view(), word, y, side); });
      for (size_t i = 0; i < gone.rows.size(); ++i) {
        image.rows[i] &= ~gone.rows[i];
        changed = changed || gone.rows[i] != 0;
      }
    }
  }
}

}  // namespace

std::vector<Pixel> whole_contour(const Bits& image, const Shape& shape) {
  const int32_t row = std::max(0, shape.low_y - kMergedReach);
  std::vector<Pixel> contour = trace_contour(image, row);
  if (is_whole(image, contour)) return contour;
  Bits merged = dilated(image, 1, false);
  if (!is_whole(merged, trace_contour(merged, row))) {
    merged = dilated(merged, 2, true);
    if (!is_whole(merged, trace_contour(merged, row))) {
      merged = Bits::of_words(image.side, [&](int32_t word, int32_t y) { return box_bits(shape, word, y); });
    }
  }
  thin(merged, image);
  return trace_contour(merged, row);
}

}  // namespace tetragan::lfd
