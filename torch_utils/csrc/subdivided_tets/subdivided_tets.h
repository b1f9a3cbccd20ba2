// Tables of `subdivided_tets`: how a tetrahedron with its six midpoints splits into eight, by sign case.
#pragma once
#include "subdivided_tets/subdivided_tets_loops.h"

namespace tetragan {
namespace subdivided {

constexpr int kEnds[6][2] = {{0, 1}, {0, 2}, {0, 3}, {1, 2}, {1, 3}, {2, 3}};

// The number of the edge between local vertices i and j of a tetrahedron.
constexpr int edge_between(int i, int j) {
  for (int k = 0; k < 6; ++k) {
    if ((kEnds[k][0] == i && kEnds[k][1] == j) || (kEnds[k][0] == j && kEnds[k][1] == i)) return k;
  }
  return -1;
}

inline Split make_split(int diagonal) {
  constexpr int kDiagonals[3][2] = {{4, 9}, {5, 8}, {6, 7}};
  constexpr int kRings[3][4] = {{5, 6, 8, 7}, {4, 7, 9, 6}, {4, 5, 9, 8}};
  Split split;
  int count = 0;
  for (int k = 0; k < 6; ++k) {
    for (int j = 0; j < 2; ++j, ++count) {
      split.ends[count][0] = kEnds[k][j];
      split.ends[count][1] = 4 + k;
    }
  }
  for (int face = 0; face < 4; ++face) {
    for (int i = 0; i < 4; ++i) {
      if (i == face) continue;
      int end = 0;
      for (int j = 0; j < 4; ++j) {
        if (j != face && j != i) split.ends[count][end++] = 4 + edge_between(i, j);
      }
      ++count;
    }
  }
  split.ends[count][0] = kDiagonals[diagonal][0];
  split.ends[count][1] = kDiagonals[diagonal][1];
  for (int i = 0; i < 4; ++i) {
    for (int j = 0; j < 4; ++j) split.tets[i][j] = i == j ? i : 4 + edge_between(i, j);
    split.tets[4 + i][0] = kDiagonals[diagonal][0];
    split.tets[4 + i][1] = kDiagonals[diagonal][1];
    split.tets[4 + i][2] = kRings[diagonal][i];
    split.tets[4 + i][3] = kRings[diagonal][(i + 1) % 4];
  }
  for (int tet = 0; tet < 8; ++tet) {
    for (int k = 0; k < 6; ++k) {
      const int a = split.tets[tet][kEnds[k][0]], b = split.tets[tet][kEnds[k][1]];
      for (int e = 0; e < kLocalEdges; ++e) {
        const int* ends = split.ends[e];
        if ((ends[0] == a && ends[1] == b) || (ends[0] == b && ends[1] == a)) split.tet_edges[tet][k] = e;
      }
    }
  }
  for (uint32_t code = 0; code < 1024; ++code) {
    for (int e = 0; e < kLocalEdges; ++e) {
      split.crossing[code] |= ((code >> split.ends[e][0] ^ code >> split.ends[e][1]) & 1) << e;
    }
    int corner = 0;
    for (int tet = 0; tet < 8; ++tet) {
      uint32_t local = 0;
      for (int k = 0; k < 4; ++k) local |= (code >> split.tets[tet][k] & 1) << k;
      uint32_t corners = marching::case_corners(local);
      for (int k = 3 * marching::case_triangles(local); k > 0; --k, corners >>= 4) {
        split.corners[code][corner++] = static_cast<uint8_t>(split.tet_edges[tet][corners & 0xf]);
      }
    }
    split.faces[code] = static_cast<uint8_t>(corner / 3);
  }
  return split;
}

}  // namespace subdivided
}  // namespace tetragan
