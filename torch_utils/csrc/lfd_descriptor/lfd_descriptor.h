// Light-field descriptor of silhouettes: the arithmetic that host and device share.
//
// A silhouette is a bit image of side S, a multiple of 64: rows of 64-bit words, row 0 at the bottom; bit k of word j is column
// 64 j + k.
#pragma once
#include "common/host_device.h"

namespace tetragan::lfd {

constexpr double kPi = 3.14159265358979323846;
constexpr int kTable = 101, kTableCenter = 50, kAngular = 12, kRadial = 3;
constexpr int kRegionCoefficients = kAngular * kRadial - 1, kContourCoefficients = 10;
constexpr int kDescriptorBytes = kRegionCoefficients + kContourCoefficients + 2;
// A coefficient is a sum over the table in this many parts: the same order of addition for every vector width and device.
constexpr int kParts = 8, kWhole = kTable * kTable / kParts * kParts;
// Dilation leaves this many pixels at the image's border as they are.
constexpr int32_t kBorder = 2;
// Merged components reach this many rows below the lowest one: the two dilations.
constexpr int32_t kMergedReach = 3;

#ifdef __CUDA_ARCH__
TETRAGAN_HD int32_t count_bits(uint64_t bits) { return __popcll(bits); }
TETRAGAN_HD int32_t lowest_bit(uint64_t bits) { return __ffsll(static_cast<long long>(bits)) - 1; }
TETRAGAN_HD int32_t highest_bit(uint64_t bits) { return 63 - __clzll(static_cast<long long>(bits)); }
#else
TETRAGAN_HD int32_t count_bits(uint64_t bits) { return __builtin_popcountll(bits); }
TETRAGAN_HD int32_t lowest_bit(uint64_t bits) { return __builtin_ctzll(bits); }
TETRAGAN_HD int32_t highest_bit(uint64_t bits) { return 63 - __builtin_clzll(bits); }
#endif

struct Pixel {
  int32_t x, y;
};

// A bit image that lies elsewhere. Pixels outside it are clear.
struct Image {
  const uint64_t* rows;
  int32_t side;

  TETRAGAN_HD int32_t words() const { return side / 64; }
  TETRAGAN_HD uint64_t word(int32_t word, int32_t y) const {
    return word >= 0 && word < words() && y >= 0 && y < side ? rows[static_cast<int64_t>(y) * words() + word] : 0;
  }
  // The pixels to the left of a word's pixels, and those to the right.
  TETRAGAN_HD uint64_t left(int32_t at, int32_t y) const { return word(at, y) << 1 | word(at - 1, y) >> 63; }
  TETRAGAN_HD uint64_t right(int32_t at, int32_t y) const { return word(at, y) >> 1 | word(at + 1, y) << 63; }
  // Pixels x − 1, x and x + 1 of a row: bits 0, 1, 2.
  TETRAGAN_HD uint32_t three(int32_t x, int32_t y) const {
    const int32_t at = x >> 6, bit = x & 63;
    const uint64_t before = bit == 0 ? left(at, y) : word(at, y) >> (bit - 1);
    return static_cast<uint32_t>((before & 7) | (bit == 63 ? (word(at + 1, y) & 1) << 2 : 0));
  }
};

// The 8 neighbors of a pixel, bit k in circular order from (−1, −1); odd bits are 4-neighbors.
TETRAGAN_HD uint32_t ring_of(const Image& image, int32_t x, int32_t y) {
  const uint32_t before = image.three(x, y - 1), here = image.three(x, y), after = image.three(x, y + 1);
  return before | (here & 4) << 1 | (after & 4) << 2 | (after & 2) << 4 | (after & 1) << 6 | (here & 1) << 7;
}

// -- measures ----------------------------------------------------------------------------------------------------------

// A view's box, size, perimeter and second moments. Offsets from the box's center are counted in half pixels, so that all are
// whole numbers.
struct Shape {
  int32_t low_x, high_x, low_y, high_y;
  int64_t pixels, perimeter, xx, yy, xy;
  int64_t farthest;  // the largest squared distance to the center

  TETRAGAN_HD double center_x() const { return 0.5 * static_cast<double>(low_x + high_x); }
  TETRAGAN_HD double center_y() const { return 0.5 * static_cast<double>(low_y + high_y); }

  TETRAGAN_HD double eccentricity() const {
    const double difference = static_cast<double>(xx - yy), mixed = static_cast<double>(xy);
    const double total = static_cast<double>(xx + yy);
    return total > 0 ? (difference * difference + 4 * mixed * mixed) / (total * total) : 0;
  }
  TETRAGAN_HD double circularity() const {
    const double length = static_cast<double>(perimeter);
    return perimeter > 0 ? 4 * kPi * static_cast<double>(pixels) / (length * length) : 0;
  }
};

TETRAGAN_HD Shape no_pixels() { return {INT32_MAX, -1, INT32_MAX, -1, 0, 0, 0, 0, 0, 0}; }

// The radius in pixels that the views of a light field share. A single pixel has no extent: the center of the table represents it.
TETRAGAN_HD double radius_of(int64_t farthest) { return farthest > 0 ? 0.5 * std::sqrt(static_cast<double>(farthest)) : 1; }

// Pixels of a word whose neighbors in their row are set too, as are those beyond the image.
TETRAGAN_HD uint64_t surrounded_in_row(const Image& image, int32_t at, int32_t y) {
  if (y < 0 || y >= image.side) return ~uint64_t{0};
  const uint64_t first = at == 0 ? 1 : 0, last = at + 1 == image.words() ? uint64_t{1} << 63 : 0;
  return image.word(at, y) & (image.left(at, y) | first) & (image.right(at, y) | last);
}

// Pixels of a word that belong to the perimeter: of their neighbors in the image, one is clear.
TETRAGAN_HD uint64_t perimeter_bits(const Image& image, int32_t at, int32_t y) {
  const uint64_t above_and_below = surrounded_in_row(image, at, y - 1) & surrounded_in_row(image, at, y + 1);
  return image.word(at, y) & ~(above_and_below & surrounded_in_row(image, at, y));
}

// -- region ------------------------------------------------------------------------------------------------------------

// Position in the table of the basis: cell and the share of the next one.
struct Place {
  double next;
  int32_t cell;
};

TETRAGAN_HD Place place_of(double offset, double radius) {
  const double at = kTableCenter + offset * kTableCenter / radius;
  const int32_t below = static_cast<int32_t>(std::floor(at)), cell = below < kTable - 2 ? below : kTable - 2;
  return {at - cell, cell};
}

// -- contour -----------------------------------------------------------------------------------------------------------

// The first pixel in raster order, from a row on that no pixel lies below.
TETRAGAN_HD Pixel first_pixel(const Image& image, int32_t row) {
  for (int32_t y = row; y < image.side; ++y) {
    for (int32_t at = 0; at < image.words(); ++at) {
      if (const uint64_t bits = image.word(at, y)) return {64 * at + lowest_bit(bits), y};
    }
  }
  return {0, 0};
}

// Walks along the contour from its first pixel, which comes at both ends.
struct Tracer {
  Pixel start, at;
  int32_t direction;
  int64_t count, longest;  // pixels so far, and at most
  bool passes_start, ended;

  TETRAGAN_HD Tracer(const Image& image, Pixel first) : start(first), at(first), direction(0), count(1), ended(false) {
    // Each pixel can be left in four directions at most, so a longer path would be a bug.
    longest = 8 * static_cast<int64_t>(image.side) * image.side;
    // A start between two branches is passed once before the contour closes.
    const uint32_t below = image.three(start.x, start.y + 1), here = image.three(start.x, start.y);
    passes_start = (below & 1) != 0 && (below & 2) == 0 && ((below & 4) != 0 || (here & 4) != 0);
  }

  // Goes on to the next pixel; false at the end.
  TETRAGAN_HD bool next(const Image& image) {
    if (ended || count >= longest) return false;
    const uint32_t ring = ring_of(image, at.x, at.y);
    if (ring == 0) return false;
    // Neighbors are tried from bit 6 − 2·direction downwards, around the ring; this is the highest bit once that one is bit 7.
    const uint32_t begin = (6 - 2 * direction) & 7, turn = 7 - begin;
    const uint32_t turned = (ring << turn | ring >> (8 - turn)) & 255;
    const uint32_t bit = (static_cast<uint32_t>(highest_bit(turned)) + 8 - turn) & 7;
    at.x += bit >= 2 && bit <= 4 ? 1 : bit == 1 || bit == 5 ? 0 : -1;
    at.y += bit <= 2 ? -1 : bit == 3 || bit == 7 ? 0 : 1;
    direction = (2 - static_cast<int32_t>(bit / 2)) & 3;
    ++count;
    ended = at.x == start.x && at.y == start.y && !(passes_start && direction == 1);
    return true;
  }
};

// A silhouette counts as one component if its contour encloses more than 95 % of it. outside: its pixels that a 4-connected
// flood from beyond the image reaches if only the contour stops it.
TETRAGAN_HD bool encloses(int64_t pixels, int64_t outside) {
  return static_cast<double>(pixels - outside) > 0.95 * static_cast<double>(pixels);
}

TETRAGAN_HD uint64_t spread_in_row(const Image& image, int32_t at, int32_t y, int32_t reach) {
  const uint64_t bits = image.word(at, y), before = image.word(at - 1, y), after = image.word(at + 1, y);
  uint64_t out = bits;
  for (int32_t k = 1; k <= reach; ++k) out |= bits << k | before >> (64 - k) | bits >> k | after << (64 - k);
  return out;
}

// A word of the dilated image: every pixel within a square of half-width `reach` of a set one, without the corners if `round`.
TETRAGAN_HD uint64_t dilated_bits(const Image& image, int32_t at, int32_t y, int32_t reach, bool round) {
  if (y < kBorder || y >= image.side - kBorder) return image.word(at, y);
  uint64_t out = 0;
  for (int32_t dy = -reach; dy <= reach; ++dy) {
    const bool edge = dy == -reach || dy == reach;
    out |= spread_in_row(image, at, y + dy, round && edge ? reach - 1 : reach);
  }
  if (at == 0) out &= ~uint64_t{0} << kBorder;
  if (at + 1 == image.words()) out &= ~uint64_t{0} >> kBorder;
  return out | image.word(at, y);
}

// A word of the filled box.
TETRAGAN_HD uint64_t box_bits(const Shape& shape, int32_t at, int32_t y) {
  const int32_t begin = shape.low_x - 64 * at, end = shape.high_x + 1 - 64 * at;
  if (y < shape.low_y || y > shape.high_y || begin >= 64 || end <= 0) return 0;
  return (~uint64_t{0} << (begin > 0 ? begin : 0)) & (~uint64_t{0} >> (end < 64 ? 64 - end : 0));
}

// Whether a pixel can be removed without cutting or shortening a line.
TETRAGAN_HD bool removable(uint32_t ring) {
  if (ring == 255) return true;
  int32_t start = 0, components = 0;  // runs of the ring that hold a 4-neighbor: 4-connected components
  while ((ring >> start & 1) != 0) ++start;
  bool touches = false;
  for (int32_t k = 1; k <= 8; ++k) {
    const int32_t bit = (start + k) & 7;
    if ((ring >> bit & 1) != 0) {
      touches = touches || (bit & 1) == 1;
    } else {
      components += touches ? 1 : 0;
      touches = false;
    }
  }
  const int32_t neighbors = count_bits(ring);
  return (components == 1 && neighbors > 1) || (components == 0 && neighbors != 1);
}

// The pixels of a word that a pass of thinning removes: removable ones that are not in `original` and have no neighbor on that
// side (0, 1: before and after in y; 2, 3: in x).
TETRAGAN_HD uint64_t thinned_bits(const Image& image, const Image& original, int32_t at, int32_t y, int32_t side) {
  const uint64_t in_column = image.word(at, side == 0 ? y - 1 : y + 1), in_row = side == 2 ? image.left(at, y) : image.right(at, y);
  const uint64_t covered = side < 2 ? in_column : in_row;
  uint64_t gone = 0;
  for (uint64_t left = image.word(at, y) & ~original.word(at, y) & ~covered; left != 0; left &= left - 1) {
    const int32_t bit = lowest_bit(left);
    if (removable(ring_of(image, 64 * at + bit, y))) gone |= uint64_t{1} << bit;
  }
  return gone;
}

// ⌊scale · value⌋, at most 255.
TETRAGAN_HD uint8_t to_byte(double value, double scale) {
  const double scaled = std::floor(scale * value);
  return scaled >= 255 ? 255 : scaled > 0 ? static_cast<uint8_t>(scaled) : 0;
}

}  // namespace tetragan::lfd
