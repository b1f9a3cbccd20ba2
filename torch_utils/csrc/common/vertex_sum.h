// Sums of per-pixel gradients over vertices without atomics: bitwise the same for any number of threads.
//
// Each image is cut into a number of row bands that depends on the batch alone. A task owns one band and adds, pixel
// by pixel, into its own buffer over the band's range of vertices; the bands of an image, then the images, are added
// in order.
#pragma once
#include "common/cpu.h"

namespace tetragan {

// The id (face + 1) stored in a pixel, or 0 for background and for anything that is not an id of `count` faces (NaN included).
template <class T>
int64_t face_id(T stored, int64_t count) {
  const double rounded = static_cast<double>(stored) + 0.5;
  return rounded >= 1 && rounded < static_cast<double>(count) + 1 ? static_cast<int64_t>(rounded) : 0;
}

struct VertexRange {
  int64_t first = INT64_MAX, last = -1;  // both inclusive; empty if last < first
  void add(int64_t vertex) {
    first = std::min(first, vertex);
    last = std::max(last, vertex);
  }
  void add(const VertexRange& other) {
    first = std::min(first, other.first);
    last = std::max(last, other.last);
  }
  int64_t size() const { return last < first ? 0 : last - first + 1; }
};

// Whether the images' ranges do not overlap (the usual case: each image has its own copy of the vertices).
inline bool disjoint(std::vector<VertexRange> ranges) {
  ranges.erase(std::remove_if(ranges.begin(), ranges.end(), [](const VertexRange& r) { return r.size() == 0; }),
               ranges.end());
  std::sort(ranges.begin(), ranges.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  for (size_t i = 1; i < ranges.size(); ++i) {
    if (ranges[i].first <= ranges[i - 1].last) return false;
  }
  return true;
}

// out[V, width] += Σ over pixels. row_range(image, row, range) adds the vertices that a row touches; row_sum(image,
// row, buffer) adds a row's gradients to `buffer`, where vertex v has its `width` numbers at buffer + v·width.
template <class T, class Range, class Sum>
void sum_on_vertices(int64_t images, int64_t rows, int64_t width, T* out, const Range& row_range, const Sum& row_sum) {
  if (images == 0 || rows == 0) return;
  const int64_t bands = std::min<int64_t>(rows, std::max<int64_t>(1, 8 / images));
  std::vector<VertexRange> ranges(images * bands);
  std::vector<std::vector<double>> buffers(images * bands);
  parallel_tasks(images * bands, [&](int64_t task) {
    const int64_t image = task / bands, band = task % bands;
    const int64_t begin = rows * band / bands, end = rows * (band + 1) / bands;
    VertexRange range;
    for (int64_t row = begin; row < end; ++row) row_range(image, row, range);
    ranges[task] = range;
    buffers[task].assign(range.size() * width, 0.0);
    double* shifted = range.size() == 0 ? nullptr : buffers[task].data() - range.first * width;
    for (int64_t row = begin; row < end; ++row) row_sum(image, row, shifted);
  });
  std::vector<VertexRange> of_images(images);
  for (int64_t task = 0; task < images * bands; ++task) of_images[task / bands].add(ranges[task]);
  const auto add_image = [&](int64_t image) {
    const VertexRange& range = of_images[image];
    if (range.size() == 0) return;
    std::vector<double>& sum = buffers[image * bands];
    if (bands > 1) {
      std::vector<double> total(range.size() * width, 0.0);
      for (int64_t task = image * bands; task < (image + 1) * bands; ++task) {
        if (ranges[task].size() == 0) continue;
        double* shifted = total.data() + (ranges[task].first - range.first) * width;
        for (size_t i = 0; i < buffers[task].size(); ++i) shifted[i] += buffers[task][i];
      }
      sum = std::move(total);
    }
    T* target = out + range.first * width;
    for (size_t i = 0; i < sum.size(); ++i) target[i] += static_cast<T>(sum[i]);
  };
  if (disjoint(of_images)) {
    parallel_tasks(images, add_image);
  } else {
    for (int64_t image = 0; image < images; ++image) add_image(image);
  }
}

}  // namespace tetragan
