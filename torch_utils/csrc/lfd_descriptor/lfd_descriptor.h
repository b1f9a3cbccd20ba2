// Light-field descriptor of silhouettes: the arithmetic of one view. Host only: the steps are too irregular for a GPU.
//
// A silhouette is a bit image of side S (a multiple of 64, at most 256), rows as 64-bit words, row 0 at the bottom.
#pragma once
#include <cmath>
#include <cstdint>
#include <vector>

namespace tetragan::lfd {

constexpr int kTable = 101, kTableCenter = 50, kAngular = 12, kRadial = 3;
constexpr int kRegionCoefficients = kAngular * kRadial - 1, kContourCoefficients = 10;
constexpr int kDescriptorBytes = kRegionCoefficients + kContourCoefficients + 2;

struct Pixel {
  int32_t x, y;
};

// A bit image.
struct Bits {
  int32_t side = 0, words = 0;
  std::vector<uint64_t> rows;

  explicit Bits(int32_t side_px) : side(side_px), words(side_px / 64), rows(static_cast<size_t>(side_px) * (side_px / 64), 0) {}
  bool get(int32_t x, int32_t y) const {
    return x >= 0 && y >= 0 && x < side && y < side && (rows[static_cast<size_t>(y) * words + (x >> 6)] >> (x & 63) & 1);
  }
  void set(int32_t x, int32_t y) { rows[static_cast<size_t>(y) * words + (x >> 6)] |= uint64_t{1} << (x & 63); }
  void clear(int32_t x, int32_t y) { rows[static_cast<size_t>(y) * words + (x >> 6)] &= ~(uint64_t{1} << (x & 63)); }
  const uint64_t* row(int32_t y) const { return rows.data() + static_cast<size_t>(y) * words; }
  uint64_t* row(int32_t y) { return rows.data() + static_cast<size_t>(y) * words; }
};

// Foreground [begin, end) of one row.
struct Run {
  int32_t y, begin, end;
};

// The maximal runs of set (or, with `inverted`, of clear) pixels, row by row.
inline std::vector<Run> runs_of(const Bits& image, bool inverted = false) {
  std::vector<Run> runs;
  for (int32_t y = 0; y < image.side; ++y) {
    int32_t begin = -1;
    for (int32_t word = 0; word < image.words; ++word) {
      uint64_t bits = inverted ? ~image.row(y)[word] : image.row(y)[word];
      const int32_t base = 64 * word;
      int32_t from = 0;
      while (from < 64) {
        if (begin < 0) {
          const uint64_t rest = bits >> from;
          if (rest == 0) break;
          from += __builtin_ctzll(rest);
          begin = base + from;
        }
        const uint64_t holes = ~bits >> from;
        if (holes == 0) break;
        from += __builtin_ctzll(holes);
        runs.push_back({y, begin, base + from});
        begin = -1;
      }
    }
    if (begin >= 0) runs.push_back({y, begin, image.side});
  }
  return runs;
}

// The measures of one view: its box, size and second moments about the center of the box, all exact in integers.
struct Shape {
  int64_t pixels = 0;
  int32_t low_x = INT32_MAX, high_x = -1, low_y = INT32_MAX, high_y = -1;
  double center_x = 0, center_y = 0, radius = 0, eccentricity = 0;
};

Shape measure(const std::vector<Run>& runs);
double circularity(const Bits& image, int64_t pixels);
void region_coefficients(const std::vector<Run>& runs, const Shape& shape, double radius, double* magnitudes);
void contour_coefficients(const Bits& image, const Shape& shape, double* magnitudes);
std::vector<Pixel> trace_contour(const Bits& image);
// The contour of the whole silhouette; several components are merged first (lfd_contour_cpu.cpp).
std::vector<Pixel> whole_contour(const Bits& image, const Shape& shape);

// ⌊scale · value⌋, at most 255.
inline uint8_t to_byte(double value, double scale) {
  const double scaled = std::floor(scale * value);
  return scaled >= 255 ? 255 : scaled > 0 ? static_cast<uint8_t>(scaled) : 0;
}

}  // namespace tetragan::lfd
