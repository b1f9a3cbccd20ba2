// The loops of `marching_tets` over vertices, edges and tetrahedra, compiled once for each instruction set.
#include "marching_tets/bits.h"
#include "marching_tets/marching_tets_loops.h"

namespace tetragan {
namespace TETRAGAN_ISA {

using namespace marching;

namespace {

template <class T>
void pack(const T* sdf, int64_t stride, int samples, int64_t begin, int64_t end, uint64_t* words) {
  for (int64_t v = begin; v < end; ++v) words[v] = 0;
  for (int s = 0; s < samples; ++s) {
    const T* row = sdf + s * stride;
    const uint64_t bit = uint64_t{1} << s;
    for (int64_t v = begin; v < end; ++v) words[v] |= row[v] < T(0) ? bit : 0;
  }
}

// An index clamped to [0, size); `bad` records if it was outside.
inline int64_t bounded(int32_t index, int64_t size, bool& bad) {
  const bool out = static_cast<uint64_t>(static_cast<int64_t>(index)) >= static_cast<uint64_t>(size);
  bad |= out;
  return out ? 0 : index;
}

inline bool is_set(const Rank* ranks, int64_t index) { return ranks[index >> 6].bits >> (index & 63) & 1; }

}  // namespace

void pack_signs(const float* sdf, int64_t stride, int samples, int64_t begin, int64_t end, uint64_t* words) {
  pack(sdf, stride, samples, begin, end, words);
}

void pack_signs_double(const double* sdf, int64_t stride, int samples, int64_t begin, int64_t end, uint64_t* words) {
  pack(sdf, stride, samples, begin, end, words);
}

bool scan_edges(const Tables& tables, const uint64_t* words, int samples, int64_t first_block, int64_t last_block,
                Rank* ranks, int64_t rank_stride) {
  bool bad = false;
  for (int64_t block = first_block; block < last_block; ++block) {
    uint64_t crossing[64] = {}, any = 0;
    const int64_t begin = block * 64, end = begin + 64 < tables.num_edges ? begin + 64 : tables.num_edges;
    for (int64_t e = begin; e < end; ++e) {
      const int64_t a = bounded(tables.edges[2 * e], tables.num_vertices, bad);
      const int64_t b = bounded(tables.edges[2 * e + 1], tables.num_vertices, bad);
      crossing[e - begin] = words[a] ^ words[b];
      any |= crossing[e - begin];
    }
    for (int s = 0; s < samples; ++s) {
      ranks[s * rank_stride + block].bits = any >> s & 1 ? column(crossing, s) : 0;
    }
  }
  return !bad;
}

bool scan_tets(const Tables& tables, const uint64_t* words, int samples, int64_t first_block, int64_t last_block,
               uint64_t* crossed, int64_t crossed_stride, int64_t* num_faces) {
  bool bad = false;
  for (int64_t block = first_block; block < last_block; ++block) {
    uint64_t mixed[64] = {}, two[64] = {}, any = 0;
    const int64_t begin = block * 64, end = begin + 64 < tables.num_tets ? begin + 64 : tables.num_tets;
    for (int64_t t = begin; t < end; ++t) {
      uint64_t w[4];
      for (int k = 0; k < 4; ++k) w[k] = words[bounded(tables.tets[4 * t + k], tables.num_vertices, bad)];
      const uint64_t some = (w[0] | w[1] | w[2] | w[3]) & ~(w[0] & w[1] & w[2] & w[3]);
      mixed[t - begin] = some;
      two[t - begin] = some & ~(w[0] ^ w[1] ^ w[2] ^ w[3]);
      any |= some;
    }
    for (int s = 0; s < samples; ++s) {
      uint64_t bits = 0;
      if (any >> s & 1) {
        bits = column(mixed, s);
        num_faces[s] += __builtin_popcountll(bits) + __builtin_popcountll(column(two, s));
      }
      crossed[s * crossed_stride + block] = bits;
    }
  }
  return !bad;
}

void rank_sample(const Tables& tables, Rank* edge_ranks, Rank* vertex_ranks, int64_t* num_crossing, int64_t* num_active) {
  const int64_t edge_blocks = blocks_of(tables.num_edges), vertex_blocks = blocks_of(tables.num_vertices);
  for (int64_t i = 0; i < vertex_blocks; ++i) vertex_ranks[i].bits = 0;
  int64_t count = 0;
  for (int64_t block = 0; block < edge_blocks; ++block) {
    edge_ranks[block].before = count;
    for (uint64_t bits = edge_ranks[block].bits; bits != 0; bits &= bits - 1) {
      const int32_t* edge = tables.edges + 2 * (64 * block + __builtin_ctzll(bits));
      for (int k = 0; k < 2; ++k) vertex_ranks[edge[k] >> 6].bits |= uint64_t{1} << (edge[k] & 63);
    }
    count += __builtin_popcountll(edge_ranks[block].bits);
  }
  *num_crossing = count;
  count = 0;
  for (int64_t i = 0; i < vertex_blocks; ++i) {
    vertex_ranks[i].before = count;
    count += __builtin_popcountll(vertex_ranks[i].bits);
  }
  *num_active = count;
}

void write_edges(const Tables& tables, const Rank* edge_ranks, const Rank* vertex_ranks, int64_t first_block,
                 int64_t last_block, const SampleBase& base, int64_t* edge_vertices, int64_t* edge_active) {
  for (int64_t block = first_block; block < last_block; ++block) {
    int64_t at = 2 * (base.vertices + edge_ranks[block].before);
    for (uint64_t bits = edge_ranks[block].bits; bits != 0; bits &= bits - 1) {
      const int32_t* edge = tables.edges + 2 * (64 * block + __builtin_ctzll(bits));
      for (int k = 0; k < 2; ++k, ++at) {
        edge_vertices[at] = base.grid + edge[k];
        edge_active[at] = base.active + rank_of(vertex_ranks, edge[k]);
      }
    }
  }
}

void write_active(const Tables& tables, const Rank* vertex_ranks, const SampleBase& base, int64_t* active) {
  for (int64_t block = 0; block < blocks_of(tables.num_vertices); ++block) {
    int64_t at = base.active + vertex_ranks[block].before;
    for (uint64_t bits = vertex_ranks[block].bits; bits != 0; bits &= bits - 1) {
      active[at++] = base.grid + 64 * block + __builtin_ctzll(bits);
    }
  }
}

bool write_faces(const Tables& tables, const uint64_t* words, int sample, const uint64_t* crossed, const Rank* edge_ranks,
                 int64_t first_block, int64_t last_block, int64_t first_vertex, int32_t* faces) {
  bool bad = false;
  for (int64_t block = first_block; block < last_block; ++block) {
    for (uint64_t bits = crossed[block]; bits != 0; bits &= bits - 1) {
      const int64_t t = 64 * block + __builtin_ctzll(bits);
      uint32_t code = 0;
      for (int k = 0; k < 4; ++k) code |= static_cast<uint32_t>(words[tables.tets[4 * t + k]] >> sample & 1) << k;
      uint32_t corners = case_corners(code);
      for (int k = 3 * case_triangles(code); k > 0; --k, corners >>= 4) {
        const int64_t edge = bounded(tables.tet_edges[6 * t + (corners & 0xf)], tables.num_edges, bad);
        bad |= !is_set(edge_ranks, edge);
        *faces++ = static_cast<int32_t>(first_vertex + rank_of(edge_ranks, edge));
      }
    }
  }
  return !bad;
}

}  // namespace TETRAGAN_ISA
}  // namespace tetragan
