// Arithmetic of `flexicubes`, shared by host and device.
//
// Corner k of a cube lies at offset (k & 1, k >> 1 & 1, k >> 2 & 1) along x, y, z. Edge 4·axis + o runs along an axis from the
// corner with offsets o & 1 and o >> 1 along the other two, in ascending order. Face 2·axis + side. The Python file makes the
// table of cases: `groups` [512, 12], the dual vertex that each edge of a cube belongs to, −1 for none, by sign case and, from
// row 256 on, for the cubes whose ambiguous face is resolved the other way; `ambiguous` [256], that face, −1 for none.
#pragma once
#include "common/host_device.h"

namespace tetragan {
namespace flexicubes {

constexpr int kCases = 512, kEdges = 12, kCorners = 8, kMaxGroups = 4;

// Corners at the two ends of an edge, the lower one first.
TETRAGAN_HD int edge_corner(int edge, int end) {
  const int axis = edge >> 2, first = axis == 0 ? 1 : 0, second = axis == 2 ? 1 : 2;
  return end << axis | (edge & 1) << first | (edge >> 1 & 1) << second;
}

// Sizes of a cubic grid of `cells` cubes along each side.
struct Lattice {
  int64_t cells;
  TETRAGAN_HD int64_t side() const { return cells + 1; }
  TETRAGAN_HD int64_t cubes() const { return cells * cells * cells; }
  TETRAGAN_HD int64_t vertices() const { return side() * side() * side(); }
  TETRAGAN_HD int64_t cube_step(int axis) const { return axis == 0 ? cells * cells : axis == 1 ? cells : 1; }
  TETRAGAN_HD int64_t vertex_step(int axis) const { return axis == 0 ? side() * side() : axis == 1 ? side() : 1; }
  TETRAGAN_HD int64_t cube_at(int64_t cube, int axis) const { return cube / cube_step(axis) % cells; }
  TETRAGAN_HD int64_t vertex_at(int64_t vertex, int axis) const { return vertex / vertex_step(axis) % side(); }
  // The grid vertex at corner 0 of a cube, and the step from there to corner k.
  TETRAGAN_HD int64_t first_corner(int64_t cube) const {
    return (cube_at(cube, 0) * side() + cube_at(cube, 1)) * side() + cube_at(cube, 2);
  }
  TETRAGAN_HD int64_t corner_step(int corner) const {
    return (corner & 1) * vertex_step(0) + (corner >> 1 & 1) * vertex_step(1) + (corner >> 2 & 1);
  }
};

// Bit k of a cube's sign case: corner k is inside (SDF below zero).
template <class T>
TETRAGAN_HD int sign_case(const Lattice& lattice, const T* sdf, int64_t cube) {
  const int64_t first = lattice.first_corner(cube);
  int code = 0;
  for (int k = 0; k < kCorners; ++k) code |= (sdf[first + lattice.corner_step(k)] < T(0)) << k;
  return code;
}

// The row of the table of cases for a cube: its own, or the one with the ambiguous face resolved the other way if its neighbor
// across that face would otherwise share two edges of the mesh with it. `codes` are all sign cases of the sample.
TETRAGAN_HD int resolved_case(const Lattice& lattice, const uint8_t* codes, const int32_t* ambiguous, int64_t cube) {
  const int code = codes[cube], face = ambiguous[code];
  if (face < 0) return code;
  const int axis = face >> 1, side = face & 1;
  const int64_t at = lattice.cube_at(cube, axis) + (side ? 1 : -1);
  if (at < 0 || at >= lattice.cells) return code;
  const int other = ambiguous[codes[cube + (side ? 1 : -1) * lattice.cube_step(axis)]];
  return other == (face ^ 1) ? code + 256 : code;
}

TETRAGAN_HD bool is_surface(int code) { return (code & 255) != 0 && (code & 255) != 255; }

// Dual vertices of a case, and the edges of one of them as bits.
TETRAGAN_HD int count_groups(const int32_t* groups, int which) {
  int count = 0;
  for (int e = 0; e < kEdges; ++e) count = groups[which * kEdges + e] + 1 > count ? groups[which * kEdges + e] + 1 : count;
  return count;
}

TETRAGAN_HD int32_t edges_of_group(const int32_t* groups, int which, int group) {
  int32_t edges = 0;
  for (int e = 0; e < kEdges; ++e) edges |= static_cast<int32_t>(groups[which * kEdges + e] == group) << e;
  return edges;
}

// Whether a grid vertex is a corner of a cube that the surface crosses.
TETRAGAN_HD bool is_active(const Lattice& lattice, const uint8_t* codes, int64_t vertex) {
  const int64_t x = lattice.vertex_at(vertex, 0), y = lattice.vertex_at(vertex, 1), z = lattice.vertex_at(vertex, 2);
  for (int k = 0; k < kCorners; ++k) {
    const int64_t i = x - (k & 1), j = y - (k >> 1 & 1), l = z - (k >> 2 & 1);
    if (i < 0 || j < 0 || l < 0 || i >= lattice.cells || j >= lattice.cells || l >= lattice.cells) continue;
    if (is_surface(codes[(i * lattice.cells + j) * lattice.cells + l])) return true;
  }
  return false;
}

// Whether the edge from a grid vertex along an axis has a quadrilateral: four cubes around it, and ends of different sign.
template <class T>
TETRAGAN_HD bool has_quad(const Lattice& lattice, const T* sdf, int64_t vertex, int axis) {
  const int u = axis == 0 ? 1 : 0, w = axis == 2 ? 1 : 2;
  const int64_t at = lattice.vertex_at(vertex, axis), at_u = lattice.vertex_at(vertex, u), at_w = lattice.vertex_at(vertex, w);
  if (at >= lattice.cells || at_u < 1 || at_u >= lattice.cells || at_w < 1 || at_w >= lattice.cells) return false;
  return (sdf[vertex] < T(0)) != (sdf[vertex + lattice.vertex_step(axis)] < T(0));
}

// The dual vertices around such an edge, counter-clockwise seen from outside. first: each cube's first dual vertex. cases: rows
// of the table.
TETRAGAN_HD void quad_vertices(const Lattice& lattice, const int32_t* groups, const uint16_t* cases, const int32_t* first,
                               int64_t vertex, int axis, bool lower_inside, int32_t* quad) {
  const int u = axis == 0 ? 1 : 0, w = axis == 2 ? 1 : 2;
  const int64_t cube = (lattice.vertex_at(vertex, 0) * lattice.cells + lattice.vertex_at(vertex, 1)) * lattice.cells +
                       lattice.vertex_at(vertex, 2);
  const bool forward = lower_inside != (axis == 1);  // x × z points along −y
  for (int k = 0; k < 4; ++k) {
    const int turn = forward ? k : 3 - k, back_u = turn == 1 || turn == 2, back_w = turn >= 2;
    const int64_t around = cube - back_u * lattice.cube_step(u) - back_w * lattice.cube_step(w);
    quad[k] = first[around] + groups[cases[around] * kEdges + 4 * axis + back_u + 2 * back_w];
  }
}

template <class T>
TETRAGAN_HD T length3(const T* v) {
  return std::sqrt(v[0] * v[0] + v[1] * v[1] + v[2] * v[2]);
}

// Inputs of the dual vertices of one cube. corners: rows of sdf [A] and positions [A, 3]. alpha [8], beta [12] of the cube.
template <class T>
struct CubeInput {
  const T *sdf, *positions, *alpha, *beta;
  const int64_t* corners;
};

// A dual vertex: the crossings u_e on its edges, their mean v weighted by β, and the distances between them.
template <class T>
struct DualVertex {
  T crossing[kEdges][3], t[kEdges], distance[kEdges];
  T point[3] = {0, 0, 0}, weight = 0, mean = 0, spread = 0;
  int count = 0;

  TETRAGAN_HD DualVertex(const CubeInput<T>& in, int32_t edges) {
    for (int e = 0; e < kEdges; ++e) {
      if (!(edges >> e & 1)) continue;
      const int a = edge_corner(e, 0), b = edge_corner(e, 1);
      const T s_a = in.sdf[in.corners[a]] * in.alpha[a], s_b = in.sdf[in.corners[b]] * in.alpha[b];
      const T *p_a = in.positions + 3 * in.corners[a], *p_b = in.positions + 3 * in.corners[b];
      t[e] = s_a / (s_a - s_b);
      for (int k = 0; k < 3; ++k) {
        crossing[e][k] = p_a[k] + t[e] * (p_b[k] - p_a[k]);
        point[k] += in.beta[e] * crossing[e][k];
      }
      weight += in.beta[e];
      ++count;
    }
    if (count == 0) return;
    for (int k = 0; k < 3; ++k) point[k] /= weight;
    for (int e = 0; e < kEdges; ++e) {
      if (!(edges >> e & 1)) continue;
      const T apart[3] = {crossing[e][0] - point[0], crossing[e][1] - point[1], crossing[e][2] - point[2]};
      distance[e] = length3(apart);
      mean += distance[e];
    }
    mean /= count;
    for (int e = 0; e < kEdges; ++e) {
      if (edges >> e & 1) spread += std::fabs(distance[e] - mean);
    }
    spread /= count;
  }
};

// Calls add(edge, corner a, corner b, gradients of s_a, s_b, α_a, α_b, gradient of u_e, t, gradient of β_e) for each edge of a
// dual vertex, given the gradients of its point and of its spread.
template <class T, class Add>
TETRAGAN_HD void dual_vertex_gradient(const CubeInput<T>& in, int32_t edges, const T* grad_point, T grad_spread,
                                      const Add& add) {
  const DualVertex<T> dual(in, edges);
  if (dual.count == 0) return;
  T balance = 0;
  for (int e = 0; e < kEdges; ++e) {
    if (edges >> e & 1) balance += T(dual.distance[e] > dual.mean) - T(dual.distance[e] < dual.mean);
  }
  balance /= dual.count;
  // Of the spread to each distance, over that distance: times (u_e − v) it is the gradient to u_e, and its negative to v.
  T pull[kEdges], total[3] = {grad_point[0], grad_point[1], grad_point[2]};
  for (int e = 0; e < kEdges; ++e) {
    if (!(edges >> e & 1)) continue;
    const T sign = T(dual.distance[e] > dual.mean) - T(dual.distance[e] < dual.mean);
    pull[e] = dual.distance[e] > 0 ? grad_spread * (sign - balance) / (dual.count * dual.distance[e]) : T(0);
    for (int k = 0; k < 3; ++k) total[k] -= pull[e] * (dual.crossing[e][k] - dual.point[k]);
  }
  for (int e = 0; e < kEdges; ++e) {
    if (!(edges >> e & 1)) continue;
    const int a = edge_corner(e, 0), b = edge_corner(e, 1);
    const T *p_a = in.positions + 3 * in.corners[a], *p_b = in.positions + 3 * in.corners[b];
    const T s_a = in.sdf[in.corners[a]], s_b = in.sdf[in.corners[b]];
    T of_crossing[3], of_beta = 0, of_t = 0;
    for (int k = 0; k < 3; ++k) {
      const T apart = dual.crossing[e][k] - dual.point[k];
      of_crossing[k] = in.beta[e] / dual.weight * total[k] + pull[e] * apart;
      of_beta += total[k] * apart / dual.weight;
      of_t += of_crossing[k] * (p_b[k] - p_a[k]);
    }
    // t = x / (x − y) with x = s_a α_a, y = s_b α_b.
    const T d = s_a * in.alpha[a] - s_b * in.alpha[b];
    const T of_x = of_t * (-s_b * in.alpha[b] / d) / d, of_y = of_t * dual.t[e] / d;
    add(e, a, b, of_x * in.alpha[a], of_y * in.alpha[b], of_x * s_a, of_y * s_b, of_crossing, dual.t[e], of_beta);
  }
}

}  // namespace flexicubes
}  // namespace tetragan
