// Plain types that `marching_tets_simd.cpp` and its caller share; no standard library (see common/isa.h).
#pragma once
#include "marching_tets/marching_tets.h"

namespace tetragan {
namespace marching {

// The grid's tables: tets [T, 4], edges [E, 2], tet_edges [T, 6].
struct Tables {
  const int32_t* tets;
  const int32_t* edges;
  const int32_t* tet_edges;
  int64_t num_vertices, num_edges, num_tets;
};

// Where a sample's range in the packed outputs begins: surface vertices, active vertices, and b·V.
struct SampleBase {
  int64_t vertices, active, grid;
};

// Words of a bitmap over `count` items.
TETRAGAN_HD int64_t blocks_of(int64_t count) { return (count + 63) / 64; }

}  // namespace marching
}  // namespace tetragan
