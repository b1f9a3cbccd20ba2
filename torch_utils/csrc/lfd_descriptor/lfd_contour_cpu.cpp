// The contour of a silhouette, traced from its first pixel. Several components are merged by dilation first.
#include "lfd_descriptor/lfd_descriptor.h"

#include <algorithm>
#include <numeric>

namespace tetragan::lfd {

namespace {

// A silhouette counts as one component if its contour encloses more than this share of it.
constexpr double kWholeShare = 0.95;
// Dilation does not change this many pixels at the image's border.
constexpr int32_t kBorder = 2;

struct Step {
  int8_t dx, dy, direction;
};
// Where to look next when heading in a direction, and the direction after each step; +y is down a row.
constexpr Step kSteps[4][3] = {{{-1, 1, 3}, {0, 1, 0}, {1, 1, 0}},
                               {{1, 1, 0}, {1, 0, 1}, {1, -1, 1}},
                               {{1, -1, 1}, {0, -1, 2}, {-1, -1, 2}},
                               {{-1, -1, 2}, {-1, 0, 3}, {-1, 1, 3}}};

bool first_pixel(const Bits& image, Pixel& found) {
  for (int32_t y = 0; y < image.side; ++y) {
    for (int32_t word = 0; word < image.words; ++word) {
      if (const uint64_t bits = image.row(y)[word]) {
        found = {64 * word + __builtin_ctzll(bits), y};
        return true;
      }
    }
  }
  return false;
}

int32_t root_of(std::vector<int32_t>& parent, int32_t node) {
  while (parent[node] != node) node = parent[node] = parent[parent[node]];
  return node;
}

int64_t count_bits(const Bits& image, const Run& run) {
  int64_t count = 0;
  for (int32_t word = run.begin >> 6; word <= (run.end - 1) >> 6; ++word) {
    uint64_t bits = image.row(run.y)[word];
    if (word == run.begin >> 6) bits &= ~uint64_t{0} << (run.begin & 63);
    if (word == (run.end - 1) >> 6) bits &= ~uint64_t{0} >> (63 - ((run.end - 1) & 63));
    count += __builtin_popcountll(bits);
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
    if (root_of(parent, static_cast<int32_t>(i)) == root_of(parent, outside)) reached += count_bits(image, runs[i]);
  }
  return reached;
}

int64_t count_all(const Bits& image) {
  int64_t count = 0;
  for (uint64_t word : image.rows) count += __builtin_popcountll(word);
  return count;
}

bool is_whole(const Bits& image, const std::vector<Pixel>& contour) {
  const int64_t pixels = count_all(image);
  return static_cast<double>(pixels - reached_foreground(image, contour)) > kWholeShare * static_cast<double>(pixels);
}

// Every pixel within a square of half-width `reach` of a set one, without the square's corners if `round`.
Bits dilated(const Bits& image, int32_t reach, bool round) {
  Bits out = image;
  for (int32_t y = kBorder; y < image.side - kBorder; ++y) {
    for (int32_t x = kBorder; x < image.side - kBorder; ++x) {
      bool hit = image.get(x, y);
      for (int32_t dy = -reach; dy <= reach && !hit; ++dy) {
        for (int32_t dx = -reach; dx <= reach && !hit; ++dx) {
          const bool corner = round && std::abs(dx) == reach && std::abs(dy) == reach;
          hit = !corner && image.get(x + dx, y + dy);
        }
      }
      if (hit) out.set(x, y);
    }
  }
  return out;
}

// Whether a pixel can be removed: the ring of its 8 neighbors, bit k in circular order from (−1, −1); odd bits are 4-neighbors.
bool removable(uint32_t ring) {
  const int neighbors = __builtin_popcount(ring);
  int components = 0;  // runs of the ring that hold a 4-neighbor: 4-connected components
  if (ring == 0xff) {
    components = 1;
  } else {
    int start = 0;
    while (ring >> start & 1) ++start;
    bool touches = false;
    for (int k = 1; k <= 8; ++k) {
      const int bit = (start + k) % 8;
      if (ring >> bit & 1) {
        touches = touches || bit % 2 == 1;
      } else {
        components += touches;
        touches = false;
      }
    }
  }
  return (components == 1 && neighbors > 1) || (components == 0 && neighbors != 1);
}

// Thin `image` to lines, peeling one side after the other, and keep every pixel of `original`.
void thin(Bits& image, const Bits& original) {
  constexpr int8_t ring_dx[8] = {-1, 0, 1, 1, 1, 0, -1, -1}, ring_dy[8] = {-1, -1, -1, 0, 1, 1, 1, 0};
  constexpr int8_t side_dx[4] = {0, 0, -1, 1}, side_dy[4] = {-1, 1, 0, 0};
  std::vector<Pixel> candidates, gone;
  for (int32_t y = 0; y < image.side; ++y) {
    for (int32_t x = 0; x < image.side; ++x) {
      if (image.get(x, y) && !original.get(x, y)) candidates.push_back({x, y});
    }
  }
  for (bool changed = true; changed;) {
    changed = false;
    for (int side = 0; side < 4; ++side) {
      gone.clear();
      for (const Pixel& p : candidates) {
        if (!image.get(p.x, p.y) || image.get(p.x + side_dx[side], p.y + side_dy[side])) continue;
        uint32_t ring = 0;
        for (int k = 0; k < 8; ++k) ring |= static_cast<uint32_t>(image.get(p.x + ring_dx[k], p.y + ring_dy[k])) << k;
        if (removable(ring)) gone.push_back(p);
      }
      for (const Pixel& p : gone) image.clear(p.x, p.y);
      changed = changed || !gone.empty();
    }
  }
}

Bits filled_box(const Shape& shape, int32_t side) {
  Bits image(side);
  for (int32_t y = shape.low_y; y <= shape.high_y; ++y) {
    for (int32_t x = shape.low_x; x <= shape.high_x; ++x) image.set(x, y);
  }
  return image;
}

}  // namespace

std::vector<Pixel> trace_contour(const Bits& image) {
  Pixel start;
  std::vector<Pixel> contour;
  if (!first_pixel(image, start)) return contour;
  // A start pixel between two branches is passed once before the contour closes.
  const bool two_sided = image.get(start.x - 1, start.y + 1) && !image.get(start.x, start.y + 1) &&
                         (image.get(start.x + 1, start.y + 1) || image.get(start.x + 1, start.y));
  Pixel at = start;
  int direction = 0;
  contour.push_back(at);
  // Each pixel can be left in four directions at most, so a longer path would be a bug; stop there.
  const size_t longest = 8 * static_cast<size_t>(image.side) * image.side;
  while (contour.size() < longest) {
    bool moved = false;
    for (int turn = 0; turn < 4 && !moved; ++turn) {
      for (const Step& step : kSteps[direction]) {
        if (image.get(at.x + step.dx, at.y + step.dy)) {
          at = {at.x + step.dx, at.y + step.dy};
          direction = step.direction;
          moved = true;
          break;
        }
      }
      if (!moved) direction = (direction + 1) % 4;
    }
    if (!moved) break;
    contour.push_back(at);
    if (at.x == start.x && at.y == start.y && !(two_sided && direction == 1)) break;
  }
  return contour;
}

std::vector<Pixel> whole_contour(const Bits& image, const Shape& shape) {
  std::vector<Pixel> contour = trace_contour(image);
  if (is_whole(image, contour)) return contour;
  Bits merged = dilated(image, 1, false);
  if (!is_whole(merged, trace_contour(merged))) {
    merged = dilated(merged, 2, true);
    if (!is_whole(merged, trace_contour(merged))) merged = filled_box(shape, image.side);
  }
  thin(merged, image);
  return trace_contour(merged);
}

}  // namespace tetragan::lfd
