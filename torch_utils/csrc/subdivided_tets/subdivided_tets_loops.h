// Plain types that `subdivided_tets_simd.cpp` and its caller share; no standard library (see common/isa.h).
#pragma once
#include "marching_tets/marching_tets.h"

namespace tetragan {
namespace subdivided {

constexpr int kLocalEdges = 25;   // 12 halves, 3 on each of 4 faces, the diagonal
constexpr int kMaxFaces = 16;     // two triangles in each of the eight tetrahedra
// What is fixed for one choice of the diagonal. Local vertices: 0 … 3, then the midpoints 4 … 9 in the order of kEnds.
struct Split {
  int ends[kLocalEdges][2] = {};
  int tets[8][4] = {};
  int tet_edges[8][6] = {};
  uint32_t crossing[1024] = {};            // local edges that cross, a bit each, by sign case (bit k: vertex k inside)
  uint8_t faces[1024] = {};                // triangles of a sign case
  uint8_t corners[1024][3 * kMaxFaces] = {};  // local edges at their corners
};

// A tetrahedron with a sign change, in one sample; bit k of the code: local vertex k is inside.
struct Crossed {
  int32_t tet, code;
};

// The crossed tetrahedra of one sample, with the tables of `SubdivisionTables`.
struct CrossedTets {
  const Split* splits;  // one for each diagonal
  const int32_t *diagonals, *edge_ids, *ends;
  const Crossed* tets;
  int64_t count;
};

// Bitmaps of one sample over edges and vertices of the subdivided grid.
struct Bitmaps {
  marching::Rank *edges, *vertices;
  int64_t edge_words, vertex_words;
};

// Set bits: crossing edges, active vertices; and faces.
struct Counts {
  int64_t edges, vertices, faces;
};

}  // namespace subdivided
}  // namespace tetragan
