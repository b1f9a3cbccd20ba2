// Tables of `subdivided_tets`: how a tetrahedron with its six midpoints splits into eight, by sign case.
#pragma once
#include <utility>

#include "subdivided_tets/subdivided_tets_loops.h"

namespace tetragan {
namespace subdivided {

// The number of the edge between local vertices i and j of a tetrahedron.
constexpr int edge_between(int i, int j) {
  for (int k = 0; k < 6; ++k) {
    if ((kEnds[k][0] == i && kEnds[k][1] == j) || (kEnds[k][0] == j && kEnds[k][1] == i)) return k;
  }
  return -1;
}

// Whether the ends of the last of a face's edges have one sign, and those of the others not.
inline bool last_spared(uint32_t code, int face) {
  const int *edges = kFaceEdges[face];
  const auto sign = [&](int j) { return code >> (4 + edges[j]) & 1; };
  return sign(0) == sign(1) && sign(0) != sign(2);
}

inline void fill_triangles(int split, Triangles& out) {
  constexpr int kRings[3][4] = {{5, 6, 8, 7}, {4, 7, 9, 6}, {4, 5, 9, 8}};
  int ends[kLocalEdges][2], tets[8][4], tet_edges[8][6] = {}, count = 0;
  for (int k = 0; k < 6; ++k) {
    for (int j = 0; j < 2; ++j, ++count) {
      ends[count][0] = kEnds[k][j];
      ends[count][1] = 4 + k;
    }
  }
  for (int face = 0; face < 4; ++face) {
    for (int j = 0; j < 3; ++j, ++count) {
      ends[count][0] = 4 + kFaceEdges[face][(j + 1) % 3];
      ends[count][1] = 4 + kFaceEdges[face][(j + 2) % 3];
    }
  }
  for (int j = 0; j < 2; ++j) ends[kDiagonal][j] = kDiagonals[split][j];
  for (int i = 0; i < 4; ++i) {
    for (int j = 0; j < 4; ++j) tets[i][j] = i == j ? i : 4 + edge_between(i, j);
    tets[4 + i][0] = kDiagonals[split][0];
    tets[4 + i][1] = kDiagonals[split][1];
    tets[4 + i][2] = kRings[split % 3][i];
    tets[4 + i][3] = kRings[split % 3][(i + 1) % 4];
  }
  for (int i = 0; i < 8 && split >= 3; ++i) std::swap(tets[i][2], tets[i][3]);
  for (int tet = 0; tet < 8; ++tet) {
    for (int k = 0; k < 6; ++k) {
      const int a = tets[tet][kEnds[k][0]], b = tets[tet][kEnds[k][1]];
      for (int e = 0; e < kLocalEdges; ++e) {
        if ((ends[e][0] == a && ends[e][1] == b) || (ends[e][0] == b && ends[e][1] == a)) tet_edges[tet][k] = e;
      }
    }
  }
  for (uint32_t code = 0; code < kCodes; ++code) {
    int corner = 0;
    for (int tet = 0; tet < 8; ++tet) {
      uint32_t local = 0;
      for (int k = 0; k < 4; ++k) local |= (code >> tets[tet][k] & 1) << k;
      uint32_t corners = marching::case_corners(local);
      for (int k = 3 * marching::case_triangles(local); k > 0; --k, corners >>= 4) {
        out.corners[code][corner++] = static_cast<uint8_t>(tet_edges[tet][corners & 0xf]);
      }
    }
    out.count[code] = static_cast<uint8_t>(corner / 3);
  }
}

inline Cases make_cases() {
  Cases cases = {};
  for (uint32_t code = 0; code < kCodes; ++code) {
    for (int face = 0; face < 4; ++face) cases.middle_second[code] |= static_cast<uint8_t>(last_spared(code, face) << face);
  }
  for (int split = 0; split < kSplits; ++split) fill_triangles(split, cases.triangles[split]);
  return cases;
}

}  // namespace subdivided
}  // namespace tetragan
