// Products of a few rows with small matrices, for *_simd.cpp: included inside such a file, so everything lands in the
// namespace of the instruction set. Matrices are padded to whole vectors of 64 bytes and live in the first-level cache.
#pragma once
#include <cstdint>

#include "common/vector.h"

namespace tetragan::TETRAGAN_ISA {

namespace {

template <int kRows, int kVectors, class T>
TETRAGAN_INLINE void product_tile(const T* x, int64_t x_stride, const T* matrix, int64_t inner, int64_t width, const T* bias,
                                  T* out, int64_t out_stride) {
  constexpr int64_t kLanes = Vector<T>::lanes;
  typename Vector<T>::Type sums[kRows][kVectors];
  for (int v = 0; v < kVectors; ++v) {
    const typename Vector<T>::Type start = bias != nullptr ? load<T>(bias + v * kLanes) : typename Vector<T>::Type{};
    for (int r = 0; r < kRows; ++r) sums[r][v] = start;
  }
  for (int64_t i = 0; i < inner; ++i) {
    for (int v = 0; v < kVectors; ++v) {
      const typename Vector<T>::Type column = load<T>(matrix + i * width + v * kLanes);
      for (int r = 0; r < kRows; ++r) sums[r][v] += x[r * x_stride + i] * column;
    }
  }
  for (int r = 0; r < kRows; ++r) {
    for (int v = 0; v < kVectors; ++v) store<T>(out + r * out_stride + v * kLanes, sums[r][v]);
  }
}

template <int kRows, class T>
TETRAGAN_INLINE void product_rows(const T* x, int64_t x_stride, const T* matrix, int64_t inner, int64_t width, const T* bias,
                                  T* out, int64_t out_stride) {
  constexpr int64_t kLanes = Vector<T>::lanes;
  int64_t n = 0;
  for (; n + 2 * kLanes <= width; n += 2 * kLanes) {
    product_tile<kRows, 2, T>(x, x_stride, matrix + n, inner, width, bias == nullptr ? bias : bias + n, out + n, out_stride);
  }
  if (n < width) {
    product_tile<kRows, 1, T>(x, x_stride, matrix + n, inner, width, bias == nullptr ? bias : bias + n, out + n, out_stride);
  }
}

// out[r][:] = bias + x[r][:inner] · matrix[inner][width]; width is a multiple of a vector. bias may be null (zero).
template <class T>
TETRAGAN_INLINE void product(const T* x, int64_t x_stride, int64_t rows, const T* matrix, int64_t inner, int64_t width,
                             const T* bias, T* out, int64_t out_stride) {
  int64_t r = 0;
  for (; r + 8 <= rows; r += 8) {
    product_rows<8, T>(x + r * x_stride, x_stride, matrix, inner, width, bias, out + r * out_stride, out_stride);
  }
  for (; r < rows; ++r) {
    product_rows<1, T>(x + r * x_stride, x_stride, matrix, inner, width, bias, out + r * out_stride, out_stride);
  }
}

template <int kInner, int kVectors, class T>
TETRAGAN_INLINE void outer_tile(const T* x, int64_t x_stride, const T* g, int64_t g_stride, int64_t rows, int64_t width,
                                T* sums) {
  constexpr int64_t kLanes = Vector<T>::lanes;
  typename Vector<T>::Type total[kInner][kVectors];
  for (int i = 0; i < kInner; ++i) {
    for (int v = 0; v < kVectors; ++v) total[i][v] = load<T>(sums + i * width + v * kLanes);
  }
  for (int64_t r = 0; r < rows; ++r) {
    for (int v = 0; v < kVectors; ++v) {
      const typename Vector<T>::Type gradient = load<T>(g + r * g_stride + v * kLanes);
      for (int i = 0; i < kInner; ++i) total[i][v] += x[r * x_stride + i] * gradient;
    }
  }
  for (int i = 0; i < kInner; ++i) {
    for (int v = 0; v < kVectors; ++v) store<T>(sums + i * width + v * kLanes, total[i][v]);
  }
}

template <int kInner, class T>
TETRAGAN_INLINE void outer_rows(const T* x, int64_t x_stride, const T* g, int64_t g_stride, int64_t rows, int64_t width,
                                T* sums) {
  constexpr int64_t kLanes = Vector<T>::lanes;
  int64_t n = 0;
  for (; n + 2 * kLanes <= width; n += 2 * kLanes) {
    outer_tile<kInner, 2, T>(x, x_stride, g + n, g_stride, rows, width, sums + n);
  }
  if (n < width) outer_tile<kInner, 1, T>(x, x_stride, g + n, g_stride, rows, width, sums + n);
}

// sums[i][:] += Σ_r x[r][i] · g[r][:] for i < inner; g and sums are `width` wide, a multiple of a vector.
template <class T>
TETRAGAN_INLINE void outer(const T* x, int64_t x_stride, int64_t inner, const T* g, int64_t g_stride, int64_t rows,
                           int64_t width, T* sums) {
  int64_t i = 0;
  for (; i + 8 <= inner; i += 8) outer_rows<8, T>(x + i, x_stride, g, g_stride, rows, width, sums + i * width);
  for (; i < inner; ++i) outer_rows<1, T>(x + i, x_stride, g, g_stride, rows, width, sums + i * width);
}

}  // namespace

}  // namespace tetragan::TETRAGAN_ISA
