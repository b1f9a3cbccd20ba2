// The loops of `subdivided_tets` over one sample's crossed tetrahedra and edges, compiled once for each instruction set: they
// count bits, for which baseline x86-64 has no instruction.
#include "common/isa.h"
#include "subdivided_tets/subdivided_tets_loops.h"

namespace tetragan {
namespace TETRAGAN_ISA {

using namespace subdivided;
using marching::Rank;

namespace {

TETRAGAN_INLINE void set_bit(Rank* ranks, int64_t index) { ranks[index >> 6].bits |= uint64_t{1} << (index & 63); }

TETRAGAN_INLINE int64_t rank_of(const Rank* ranks, int64_t index) {
  const Rank& r = ranks[index >> 6];
  return r.before + __builtin_popcountll(r.bits & ((uint64_t{1} << (index & 63)) - 1));
}

// Fills the counts before each word; returns the number of set bits.
TETRAGAN_INLINE int64_t count_bits(Rank* ranks, int64_t words) {
  int64_t total = 0;
  for (int64_t word = 0; word < words; ++word) {
    ranks[word].before = total;
    total += __builtin_popcountll(ranks[word].bits);
  }
  return total;
}

}  // namespace

Counts mark_crossed(const CrossedTets& crossed, const Bitmaps& maps) {
  Counts counts{0, 0, 0};
  for (int64_t i = 0; i < crossed.count; ++i) {
    const Crossed each = crossed.tets[i];
    const Split& split = crossed.splits[crossed.diagonals[each.tet]];
    const int32_t* ids = crossed.edge_ids + kLocalEdges * static_cast<int64_t>(each.tet);
    for (uint32_t bits = split.crossing[each.code]; bits != 0; bits &= bits - 1) set_bit(maps.edges, ids[__builtin_ctz(bits)]);
    counts.faces += split.faces[each.code];
  }
  counts.edges = count_bits(maps.edges, maps.edge_words);
  for (int64_t word = 0; word < maps.edge_words; ++word) {
    for (uint64_t bits = maps.edges[word].bits; bits != 0; bits &= bits - 1) {
      const int64_t edge = word * 64 + __builtin_ctzll(bits);
      set_bit(maps.vertices, crossed.ends[2 * edge]);
      set_bit(maps.vertices, crossed.ends[2 * edge + 1]);
    }
  }
  counts.vertices = count_bits(maps.vertices, maps.vertex_words);
  return counts;
}

void write_crossed_faces(const CrossedTets& crossed, const Bitmaps& maps, int64_t first_vertex, int32_t* faces) {
  int32_t surface_vertex[kLocalEdges];
  for (int64_t i = 0; i < crossed.count; ++i) {
    const Crossed each = crossed.tets[i];
    const Split& split = crossed.splits[crossed.diagonals[each.tet]];
    const int32_t* ids = crossed.edge_ids + kLocalEdges * static_cast<int64_t>(each.tet);
    for (uint32_t bits = split.crossing[each.code]; bits != 0; bits &= bits - 1) {
      const int edge = __builtin_ctz(bits);
      surface_vertex[edge] = static_cast<int32_t>(first_vertex + rank_of(maps.edges, ids[edge]));
    }
    const uint8_t* corner = split.corners[each.code];
    for (int k = 3 * split.faces[each.code]; k > 0; --k) *faces++ = surface_vertex[*corner++];
  }
}

void write_crossing_edges(const CrossedTets& crossed, const Bitmaps& maps, int64_t grid, int64_t first_active,
                          int64_t* edge_vertices, int64_t* edge_active) {
  for (int64_t word = 0; word < maps.edge_words; ++word) {
    for (uint64_t bits = maps.edges[word].bits; bits != 0; bits &= bits - 1) {
      const int32_t* ends = crossed.ends + 2 * (word * 64 + __builtin_ctzll(bits));
      for (int k = 0; k < 2; ++k) {
        *edge_vertices++ = grid + ends[k];
        *edge_active++ = first_active + rank_of(maps.vertices, ends[k]);
      }
    }
  }
}

}  // namespace TETRAGAN_ISA
}  // namespace tetragan
