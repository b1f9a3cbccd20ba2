// Arithmetic of `marching_tets`, shared by host and device.
//
// Occupancy is kept as bits: word v of a group of up to 64 samples has bit s set where sample s is inside (SDF < 0) at grid
// vertex v. An edge crosses in the samples word(a) ^ word(b). A bitmap over edges with the number of set bits before each
// word of it turns an edge into its surface vertex ("rank") without sorting.
#pragma once
#include "common/host_device.h"

namespace tetragan {
namespace marching {

// Edges (columns of tet_edges: 01, 02, 03, 12, 13, 23) at the corners of the outward triangles of a sign case (bit k: vertex
// k inside), a hexadecimal digit each, first corner lowest; f pads. The Python table `CASES` says how they are ordered.
TETRAGAN_HD uint32_t case_corners(uint32_t code) {
  static constexpr uint32_t kCases[16] = {0xffffff, 0xfff210, 0xfff340, 0x341421, 0xfff531, 0x532302, 0x150540, 0xfff542,
                                          0xfff452, 0x450510, 0x523203, 0xfff351, 0x314124, 0xfff430, 0xfff120, 0xffffff};
  return kCases[code & 15];
}

// Triangles of a sign case: 0, 1, or 2 where two vertices are inside.
TETRAGAN_HD int case_triangles(uint32_t code) {
  const uint32_t corners = case_corners(code);
  return ((corners & 0xf) != 0xf) + ((corners >> 12 & 0xf) != 0xf);
}

// A word of a bitmap and the number of set bits in the words before it.
struct Rank {
  uint64_t bits;
  int64_t before;
};

// The grid point where the linear interpolant between (s_a, p_a) and (s_b, p_b) vanishes; signs differ, so 0 ≤ t ≤ 1.
template <class T>
TETRAGAN_HD void crossing(T s_a, T s_b, const T* p_a, const T* p_b, T* out) {
  const T t = s_a / (s_a - s_b);
  for (int k = 0; k < 3; ++k) out[k] = p_a[k] + t * (p_b[k] - p_a[k]);
}

// Gradients of `crossing` given that of its result. With d = s_a − s_b: ∂t/∂s_a = (1 − t) / d, ∂t/∂s_b = t / d.
template <class T>
struct CrossingGradient {
  T t;        // weight of p_b; that of p_a is 1 − t
  T s_a, s_b;
};

template <class T>
TETRAGAN_HD CrossingGradient<T> crossing_gradient(T s_a, T s_b, const T* p_a, const T* p_b, const T* grad) {
  const T d = s_a - s_b, t = s_a / d;
  const T of_t = grad[0] * (p_b[0] - p_a[0]) + grad[1] * (p_b[1] - p_a[1]) + grad[2] * (p_b[2] - p_a[2]);
  return {t, of_t * (-s_b / d) / d, of_t * t / d};
}

}  // namespace marching
}  // namespace tetragan
