// Plain types that `subdivided_tets_simd.cpp` and its caller share; no standard library (see common/isa.h).
#pragma once
#include "marching_tets/marching_tets.h"

namespace tetragan {
namespace subdivided {

constexpr int kLocalEdges = 25;  // 12 halves, 3 on each of 4 faces, the diagonal
constexpr int kDiagonal = 24;
constexpr int kMaxFaces = 16;  // two triangles in each of the eight tetrahedra
constexpr int kCodes = 1024;
constexpr int kEnds[6][2] = {{0, 1}, {0, 2}, {0, 3}, {1, 2}, {1, 3}, {2, 3}};
// The diagonal of each way to split, of positively and of negatively oriented tetrahedra.
constexpr int kSplits = 6;
constexpr int kDiagonals[kSplits][2] = {{4, 9}, {5, 8}, {6, 7}, {4, 9}, {5, 8}, {6, 7}};
// The three edges of the face opposite each vertex, falling; the j-th lies opposite the face's j-th vertex.
constexpr int kFaceEdges[4][3] = {{5, 4, 3}, {5, 2, 1}, {4, 2, 0}, {3, 1, 0}};

// The triangles of each sign case for one way to split, as local edges at their corners.
struct Triangles {
  uint8_t count[kCodes];
  uint8_t corners[kCodes][3 * kMaxFaces];
};

// By sign case (bit k: local vertex k is inside). Of the three edges on a face none or two cross. middle_second: of each face (bit),
// whether the middle one is the second that crosses, that is, the last does not.
struct Cases {
  uint8_t middle_second[kCodes];
  Triangles triangles[kSplits];
};

// The grid and how its tetrahedra split, as in the Python class `SubdivisionTables`.
struct Tables {
  const int32_t *tets, *edges, *tet_edges, *tet_faces, *face_edges, *splits;
  int64_t vertices, num_edges, num_faces, num_tets;
};

// A tetrahedron with a sign change in a sample, and the signs of its ten vertices there.
struct Crossed {
  int32_t tet, code;
};

// Of 64 faces: whether their first and second, and their first and third midpoint differ.
struct FaceSigns {
  uint64_t first, second;
};

// Bitmaps of one sample: crossing halves of edges (bits 2e and 2e + 1), faces whose midpoints differ, and the vertices of the
// subdivided grid that are active.
struct Bitmaps {
  marching::Rank *halves, *faces, *active;
  FaceSigns* signs;  // of the faces
  int64_t half_words, face_words, active_words;
};

// Of one sample: crossing halves, faces whose midpoints differ, crossing diagonals, active vertices, triangles.
struct Counts {
  int64_t halves, faces, diagonals, active, triangles;
};

// Where a sample begins: its surface vertices (at halves, on faces, at diagonals), active vertices, triangles, and vertices of
// the grid.
struct SampleBase {
  int64_t at_halves, on_faces, at_diagonals, active, triangles, grid;
};

// What comes next of a sample: crossed tetrahedron, triangle, surface vertex at a diagonal.
struct Cursor {
  int64_t crossed, triangle, diagonal;
};

// The outputs for the batch.
struct Output {
  int32_t* faces;
  int64_t *edge_vertices, *edge_active, *active, *parents, *rows;
};

}  // namespace subdivided
}  // namespace tetragan
