// What the CPU kernel of `lfd_descriptor` keeps of a silhouette: the image, and its runs of pixels.
#pragma once
#include <algorithm>
#include <vector>

#include "lfd_descriptor/lfd_descriptor.h"

namespace tetragan::lfd {

// A bit image.
struct Bits {
  int32_t side;
  std::vector<uint64_t> rows;

  explicit Bits(int32_t side_px) : side(side_px), rows(static_cast<size_t>(side_px) * (side_px / 64), 0) {}
  Image view() const { return {rows.data(), side}; }
  void set(int32_t x, int32_t y) { rows[static_cast<size_t>(y) * (side / 64) + (x >> 6)] |= uint64_t{1} << (x & 63); }

  // A new image whose words are f(word, row).
  template <class F>
  static Bits of_words(int32_t side, const F& f) {
    Bits bits(side);
    const int32_t words = side / 64;
    for (size_t i = 0; i < bits.rows.size(); ++i) {
      bits.rows[i] = f(static_cast<int32_t>(i) % words, static_cast<int32_t>(i) / words);
    }
    return bits;
  }
};

// Pixels [begin, end) of one row.
struct Run {
  int32_t y, begin, end;
};

// The maximal runs of set (or, with `inverted`, of clear) pixels, row by row.
inline std::vector<Run> runs_of(const Bits& image, bool inverted = false) {
  std::vector<Run> runs;
  const int32_t words = image.side / 64;
  for (int32_t y = 0; y < image.side; ++y) {
    int32_t begin = -1;
    for (int32_t word = 0; word < words; ++word) {
      const uint64_t stored = image.rows[static_cast<size_t>(y) * words + word], bits = inverted ? ~stored : stored;
      const int32_t base = 64 * word;
      int32_t from = 0;
      while (from < 64) {
        if (begin < 0) {
          const uint64_t rest = bits >> from;
          if (rest == 0) break;
          from += lowest_bit(rest);
          begin = base + from;
        }
        const uint64_t holes = ~bits >> from;
        if (holes == 0) break;
        from += lowest_bit(holes);
        runs.push_back({y, begin, base + from});
        begin = -1;
      }
    }
    if (begin >= 0) runs.push_back({y, begin, image.side});
  }
  return runs;
}

// The contour of the whole silhouette; several components are merged first (lfd_contour_cpu.cpp).
std::vector<Pixel> whole_contour(const Bits& image, const Shape& shape);

}  // namespace tetragan::lfd
