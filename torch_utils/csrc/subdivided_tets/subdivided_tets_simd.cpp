// The loops of `subdivided_tets`, compiled once for each instruction set: they count bits and take them out of words, for which
// baseline x86-64 has no instructions.
#include "marching_tets/bits.h"
#include "subdivided_tets/subdivided_tets_loops.h"

namespace tetragan {
namespace TETRAGAN_ISA {

using namespace subdivided;
using marching::Rank;

namespace {

TETRAGAN_INLINE int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

// Fills the counts before each word; returns the number of set bits.
TETRAGAN_INLINE int64_t count_ranks(Rank* ranks, int64_t words) {
  int64_t total = 0;
  for (int64_t i = 0; i < words; ++i) {
    ranks[i].before = total;
    total += __builtin_popcountll(ranks[i].bits);
  }
  return total;
}

// The lower 32 bits of a word, at its even bits.
TETRAGAN_INLINE uint64_t spread(uint64_t word) {
  word &= 0xffffffff;
  word = (word | word << 16) & 0x0000ffff0000ffff;
  word = (word | word << 8) & 0x00ff00ff00ff00ff;
  word = (word | word << 4) & 0x0f0f0f0f0f0f0f0f;
  word = (word | word << 2) & 0x3333333333333333;
  return (word | word << 1) & 0x5555555555555555;
}

// Writes the surface vertices from `vertex` on, each at an edge of the subdivided grid with ends a < b.
struct EdgeWriter {
  const Rank* active;
  int64_t grid, first_active;
  int64_t *edge_vertices, *edge_active;

  TETRAGAN_INLINE EdgeWriter(const Bitmaps& maps, const SampleBase& base, const Output& out, int64_t vertex)
      : active(maps.active), grid(base.grid), first_active(base.active), edge_vertices(out.edge_vertices + 2 * vertex),
        edge_active(out.edge_active + 2 * vertex) {}

  TETRAGAN_INLINE void write(int64_t a, int64_t b) {
    edge_vertices[0] = grid + a;
    edge_vertices[1] = grid + b;
    edge_active[0] = first_active + rank_of(active, a);
    edge_active[1] = first_active + rank_of(active, b);
    edge_vertices += 2;
    edge_active += 2;
  }
};

}  // namespace

// Edges next to a crossing edge, as bits of each sample: near [samples][blocks]. touched [V]: scratch.
void scan_near(const int32_t* edges, int64_t num_edges, const uint64_t* inside, int samples, uint64_t* touched, uint64_t* near) {
  const int64_t blocks = (num_edges + 63) / 64;
  for (int64_t e = 0; e < num_edges; ++e) {
    const uint64_t crossing = inside[edges[2 * e]] ^ inside[edges[2 * e + 1]];
    if (crossing == 0) continue;
    touched[edges[2 * e]] |= crossing;
    touched[edges[2 * e + 1]] |= crossing;
  }
  for (int64_t block = 0; block < blocks; ++block) {
    uint64_t words[64] = {}, any = 0;
    const int64_t begin = 64 * block, end = least(begin + 64, num_edges);
    for (int64_t e = begin; e < end; ++e) any |= words[e - begin] = touched[edges[2 * e]] | touched[edges[2 * e + 1]];
    for (int s = 0; s < samples; ++s) near[s * blocks + block] = any >> s & 1 ? column(words, s) : 0;
  }
}

int64_t count_bits(const uint64_t* words, int64_t count) {
  int64_t total = 0;
  for (int64_t i = 0; i < count; ++i) total += __builtin_popcountll(words[i]);
  return total;
}

// inside [V + E]: signs at the vertices of the subdivided grid. active [V + E]: gets the bits of the ends of crossing halves.
void scan_coarse_edges(const Tables& tables, const uint64_t* inside, int samples, uint64_t* active, const Bitmaps* maps) {
  const uint64_t* middle = inside + tables.vertices;
  uint64_t* active_middle = active + tables.vertices;
  for (int64_t block = 0; 64 * block < tables.num_edges; ++block) {
    uint64_t first[64] = {}, second[64] = {}, any = 0;
    const int64_t begin = 64 * block, end = least(begin + 64, tables.num_edges);
    for (int64_t e = begin; e < end; ++e) {
      const int64_t a = tables.edges[2 * e], b = tables.edges[2 * e + 1];
      const uint64_t at_a = inside[a] ^ middle[e], at_b = middle[e] ^ inside[b];
      if ((at_a | at_b) == 0) continue;
      first[e - begin] = at_a;
      second[e - begin] = at_b;
      any |= at_a | at_b;
      active[a] |= at_a;
      active[b] |= at_b;
      active_middle[e] |= at_a | at_b;
    }
    for (int s = 0; s < samples; ++s) {
      Rank* out = maps[s].halves + 2 * block;
      out[0].bits = out[1].bits = 0;
      if ((any >> s & 1) == 0) continue;
      const uint64_t one = column(first, s), two = column(second, s);
      out[0].bits = spread(one) | spread(two) << 1;
      out[1].bits = spread(one >> 32) | spread(two >> 32) << 1;
    }
  }
}

void scan_coarse_faces(const Tables& tables, const uint64_t* inside, int samples, uint64_t* active, const Bitmaps* maps) {
  const uint64_t* middle = inside + tables.vertices;
  uint64_t* active_middle = active + tables.vertices;
  for (int64_t block = 0; 64 * block < tables.num_faces; ++block) {
    uint64_t first[64] = {}, second[64] = {}, any = 0;
    const int64_t begin = 64 * block, end = least(begin + 64, tables.num_faces);
    for (int64_t f = begin; f < end; ++f) {
      const int32_t* edges = tables.face_edges + 3 * f;
      const uint64_t one = middle[edges[0]] ^ middle[edges[1]], two = middle[edges[0]] ^ middle[edges[2]];
      if ((one | two) == 0) continue;
      first[f - begin] = one;
      second[f - begin] = two;
      any |= one | two;
      // Of three signs that are not equal one differs from both others: all three midpoints are ends of crossing edges.
      for (int k = 0; k < 3; ++k) active_middle[edges[k]] |= one | two;
    }
    for (int s = 0; s < samples; ++s) {
      FaceSigns& signs = maps[s].signs[block];
      maps[s].faces[block].bits = 0;
      if ((any >> s & 1) == 0) continue;
      signs = {column(first, s), column(second, s)};
      maps[s].faces[block].bits = signs.first | signs.second;
    }
  }
}

// Tetrahedra begin … end - 1 with a sign change among their ten vertices are added to each sample's list; lists [samples]
// point to the ends of the lists and move. `active` gets the bits of the ends of crossing diagonals; counts [samples] grow.
void scan_coarse_tets(const Tables& tables, const Cases& cases, const uint64_t* inside, int64_t begin, int64_t end,
                      uint64_t* active, Crossed** lists, Counts* counts) {
  const uint64_t* middle = inside + tables.vertices;
  for (int64_t t = begin; t < end; ++t) {
    const int32_t* edges = tables.tet_edges + 6 * t;
    uint64_t word[16] = {};
    uint64_t any = 0, all = ~uint64_t{0};
    for (int k = 0; k < 10; ++k) {
      word[k] = k < 4 ? inside[tables.tets[4 * t + k]] : middle[edges[k - 4]];
      any |= word[k];
      all &= word[k];
    }
    if ((any & ~all) == 0) continue;
    const int split = tables.splits[t], *ends = kDiagonals[split];
    const uint64_t crossing = word[ends[0]] ^ word[ends[1]];
    for (int k = 0; k < 2; ++k) active[tables.vertices + edges[ends[k] - 4]] |= crossing;
    for (uint64_t bits = any & ~all; bits != 0; bits &= bits - 1) {
      const int s = __builtin_ctzll(bits);
      const uint64_t code = column<16>(word, s);
      *lists[s]++ = {static_cast<int32_t>(t), static_cast<int32_t>(code)};
      counts[s].triangles += cases.triangles[split].count[code];
      counts[s].diagonals += crossing >> s & 1;
    }
  }
}

void scan_active_vertices(const uint64_t* active, int64_t count, int samples, const Bitmaps* maps) {
  for (int64_t block = 0; 64 * block < count; ++block) {
    uint64_t words[64] = {}, any = 0;
    const int64_t begin = 64 * block, end = least(begin + 64, count);
    for (int64_t v = begin; v < end; ++v) any |= words[v - begin] = active[v];
    for (int s = 0; s < samples; ++s) maps[s].active[block].bits = any >> s & 1 ? column(words, s) : 0;
  }
}

// Fills `before` in all bitmaps of a sample, and the counts that follow from them.
void count_sample(const Bitmaps& maps, Counts& counts) {
  counts.halves = count_ranks(maps.halves, maps.half_words);
  counts.faces = count_ranks(maps.faces, maps.face_words);
  counts.active = count_ranks(maps.active, maps.active_words);
}

void write_halves(const Tables& tables, const Bitmaps& maps, const SampleBase& base, int64_t first_word, int64_t last_word,
                  const Output& output) {
  EdgeWriter out(maps, base, output, base.at_halves + maps.halves[first_word].before);
  for (int64_t word = first_word; word < last_word; ++word) {
    for (uint64_t bits = maps.halves[word].bits; bits != 0; bits &= bits - 1) {
      const int64_t half = 64 * word + __builtin_ctzll(bits);
      out.write(tables.edges[half], tables.vertices + (half >> 1));
    }
  }
}

void write_edges_on_faces(const Tables& tables, const Bitmaps& maps, const SampleBase& base, int64_t first_word,
                          int64_t last_word, const Output& output) {
  EdgeWriter out(maps, base, output, base.on_faces + 2 * maps.faces[first_word].before);
  for (int64_t word = first_word; word < last_word; ++word) {
    const FaceSigns signs = maps.signs[word];
    for (uint64_t bits = maps.faces[word].bits; bits != 0; bits &= bits - 1) {
      const int bit = __builtin_ctzll(bits), one = signs.first >> bit & 1, two = signs.second >> bit & 1;
      const int32_t* edges = tables.face_edges + 3 * (64 * word + bit);
      // Two of the pairs (0, 1), (0, 2), (1, 2).
      out.write(tables.vertices + edges[0], tables.vertices + edges[2 - one]);
      out.write(tables.vertices + edges[1 - (one & two)], tables.vertices + edges[2]);
    }
  }
}

// Triangles, and the surface vertices at diagonals, of a sample's crossed tetrahedra from `at` on, up to tetrahedron `last_tet`.
void write_crossed_tets(const Tables& tables, const Cases& cases, const Crossed* crossed, int64_t num_crossed, int64_t last_tet,
                        const Bitmaps& bits, const SampleBase& base, const Counts& counts, const Output& out, Cursor& at) {
  int32_t vertex[kLocalEdges] = {};  // the surface vertices at a tetrahedron's crossing edges; at the others, any
  int32_t *face = out.faces + 3 * at.triangle, *last_face = out.faces + 3 * (base.triangles + counts.triangles);
  const int64_t last_diagonal = base.at_diagonals + counts.diagonals;
  int64_t i = at.crossed, diagonal = at.diagonal;
  for (; i < num_crossed && crossed[i].tet < last_tet; ++i) {
    const int64_t tet = crossed[i].tet;
    const int code = crossed[i].code, split = tables.splits[tet], *ends = kDiagonals[split];
    const int32_t *edges = tables.tet_edges + 6 * tet, *of_tet = tables.tet_faces + 4 * tet;
    // The vertices and edges of a tetrahedron rise, so its halves and the edges on its faces come in the order of the outputs.
    for (int k = 0; k < 6; ++k) {
      const Rank& r = bits.halves[edges[k] >> 5];
      const int bit = 2 * (edges[k] & 31);
      const int32_t first = static_cast<int32_t>(base.at_halves + r.before + bits_below(r.bits, bit));
      vertex[2 * k] = first;
      vertex[2 * k + 1] = first + static_cast<int32_t>(r.bits >> bit & 1);
    }
    for (int k = 0; k < 4; ++k) {
      // If two of the three edges on a face cross, these are their vertices; the third entry is any.
      const int32_t first = static_cast<int32_t>(base.on_faces + 2 * rank_of(bits.faces, of_tet[k]));
      vertex[12 + 3 * k] = first;
      vertex[13 + 3 * k] = first + (cases.middle_second[code] >> k & 1);
      vertex[14 + 3 * k] = first + 1;
    }
    vertex[kDiagonal] = static_cast<int32_t>(diagonal);
    if (diagonal < last_diagonal) {
      // Written whether it crosses or not; the next one takes the place of one that does not.
      EdgeWriter(bits, base, out, diagonal).write(tables.vertices + edges[ends[0] - 4], tables.vertices + edges[ends[1] - 4]);
      diagonal += (code >> ends[0] ^ code >> ends[1]) & 1;
    }
    const uint8_t* corner = cases.triangles[split].corners[code];
    const int count = 3 * cases.triangles[split].count[code];
    if (last_face - face >= 3 * kMaxFaces) {
      // Four triangles at a time; what is too much is written over.
      for (int first = 0; first < count; first += 12) {
        for (int k = 0; k < 12; ++k) face[first + k] = vertex[corner[first + k]];
      }
    } else {
      for (int k = 0; k < count; ++k) face[k] = vertex[corner[k]];
    }
    face += count;
  }
  at = {i, (face - out.faces) / 3, diagonal};
}

// first_coarse: b·V.
void write_active_vertices(const Tables& tables, const Bitmaps& maps, const SampleBase& base, int64_t first_coarse,
                           int64_t first_word, int64_t last_word, const Output& out) {
  for (int64_t word = first_word; word < last_word; ++word) {
    int64_t at = base.active + maps.active[word].before;
    for (uint64_t bits = maps.active[word].bits; bits != 0; bits &= bits - 1, ++at) {
      const int64_t vertex = 64 * word + __builtin_ctzll(bits), edge = vertex - tables.vertices;
      out.active[at] = base.grid + vertex;
      out.parents[2 * at] = first_coarse + (edge < 0 ? vertex : tables.edges[2 * edge]);
      out.parents[2 * at + 1] = first_coarse + (edge < 0 ? vertex : tables.edges[2 * edge + 1]);
    }
  }
}

// ids [num_ids]: the sample's given midpoints, first_edge + e, sorted; their rows begin at first_row.
void write_rows(const Tables& tables, const Bitmaps& maps, const Counts& counts, const SampleBase& base, const int64_t* ids,
                int64_t num_ids, int64_t first_edge, int64_t first_row, int64_t* rows) {
  rows += base.active;
  for (int64_t i = 0; i < counts.active; ++i) rows[i] = -1;
  int64_t of_others;  // about half of the given midpoints are active: too many either way for a branch
  for (int64_t i = 0; i < num_ids; ++i) {
    const int64_t vertex = tables.vertices + ids[i] - first_edge;
    int64_t* const row = rows + rank_of(maps.active, vertex);
    *(maps.active[vertex >> 6].bits >> (vertex & 63) & 1 ? row : &of_others) = first_row + i;
  }
}

}  // namespace TETRAGAN_ISA
}  // namespace tetragan
