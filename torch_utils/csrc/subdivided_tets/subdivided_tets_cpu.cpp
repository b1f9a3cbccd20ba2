// CPU kernels of `subdivided_tets`. Signs of up to 64 samples are the bits of a word, as in `marching_tets`: one pass over the
// edges finds the midpoints near the surfaces of all samples, one over the tetrahedra those with a sign change among their ten
// vertices. From there each sample has its own list of tetrahedra, bitmaps over subdivided edges and vertices, and ranks.
#include <memory>

#include "common/cpu.h"
#include "common/isa.h"
#include "marching_tets/marching_tets_loops.h"
#include "subdivided_tets/subdivided_tets.h"

TETRAGAN_DECLARE(void, pack_signs, (const float*, int64_t, int, int64_t, int64_t, uint64_t*))
TETRAGAN_DECLARE(void, pack_signs_double, (const double*, int64_t, int, int64_t, int64_t, uint64_t*))

namespace tetragan {
namespace {

using namespace subdivided;
using marching::Rank;

constexpr int64_t kGroup = 64;

const Split& split_of(int diagonal) {
  static const Split splits[3] = {make_split(0), make_split(1), make_split(2)};
  return splits[diagonal];
}

template <class F>
void for_bits(uint64_t word, const F& f) {
  for (; word != 0; word &= word - 1) f(__builtin_ctzll(word));
}

inline void set_bit(Rank* ranks, int64_t index) { ranks[index >> 6].bits |= uint64_t{1} << (index & 63); }

inline int64_t rank_of(const Rank* ranks, int64_t index) {
  const Rank& r = ranks[index >> 6];
  return r.before + __builtin_popcountll(r.bits & ((uint64_t{1} << (index & 63)) - 1));
}

// Fills the counts before each word; returns the number of set bits.
int64_t count_bits(std::vector<Rank>& ranks) {
  int64_t total = 0;
  for (Rank& rank : ranks) {
    rank.before = total;
    total += __builtin_popcountll(rank.bits);
  }
  return total;
}

// Groups of samples that share a pass over the tables: as many as there are threads, of at most 64 samples each.
int64_t group_size(int64_t batch) {
  const int64_t groups = std::max<int64_t>(torch::stable::get_num_threads(), (batch + kGroup - 1) / kGroup);
  return std::max<int64_t>(1, (batch + groups - 1) / groups);
}

template <class T>
void pack(const T* sdf, int64_t vertices, int samples, uint64_t* words) {
  if constexpr (sizeof(T) == 4) {
    TETRAGAN_CALL(pack_signs, (sdf, vertices, samples, 0, vertices, words));
  } else {
    TETRAGAN_CALL(pack_signs_double, (sdf, vertices, samples, 0, vertices, words));
  }
}

// ------------------------------------------------------------------------------------------------------------- midpoints

std::tuple<Tensor, Tensor> midpoints(const Tensor& sdf, const Tensor& edges) {
  const int64_t batch = sdf.size(0), vertices = sdf.size(1), count = edges.size(0), size = group_size(batch);
  const int64_t groups = (batch + size - 1) / size;
  const int32_t* ends = data<int32_t>(edges);
  std::vector<std::vector<uint64_t>> near(groups);
  std::vector<int64_t> counts(batch, 0);
  dispatch_floating(sdf, "midpoints_near_surface", [&](auto zero) {
    using T = decltype(zero);
    const T* values = data<T>(sdf);
    parallel_tasks(groups, [&](int64_t group) {
      const int64_t first = group * size;
      const int samples = static_cast<int>(std::min(size, batch - first));
      std::vector<uint64_t> inside(vertices), touched(vertices, 0);
      pack(values + first * vertices, vertices, samples, inside.data());
      for (int64_t e = 0; e < count; ++e) {
        const uint64_t crossing = inside[ends[2 * e]] ^ inside[ends[2 * e + 1]];
        if (crossing == 0) continue;
        touched[ends[2 * e]] |= crossing;
        touched[ends[2 * e + 1]] |= crossing;
      }
      near[group].resize(count);
      for (int64_t e = 0; e < count; ++e) {
        near[group][e] = touched[ends[2 * e]] | touched[ends[2 * e + 1]];
        for_bits(near[group][e], [&](int s) { ++counts[first + s]; });
      }
    });
  });
  Tensor offsets = zeros_like_of(edges, {batch + 1}, ScalarType::Long);
  int64_t* o = mutable_data<int64_t>(offsets);
  for (int64_t b = 0; b < batch; ++b) o[b + 1] = o[b] + counts[b];
  Tensor ids = empty_like_of(edges, {o[batch]}, ScalarType::Long);
  int64_t* out = mutable_data<int64_t>(ids);
  parallel_tasks(groups, [&](int64_t group) {
    const int64_t first = group * size;
    std::vector<int64_t> at(o + first, o + std::min(first + size, batch));
    for (int64_t e = 0; e < count; ++e) {
      for_bits(near[group][e], [&](int s) { out[at[s]++] = (first + s) * count + e; });
    }
  });
  return {ids, offsets};
}

// -------------------------------------------------------------------------------------------------------------- topology

struct Tables {
  const int32_t *tets, *edges, *tet_edges, *tet_faces, *diagonals;
  int64_t vertices, num_edges, num_tets, num_faces;
  int64_t subdivided_edges() const { return 2 * num_edges + 3 * num_faces + num_tets; }
};

// A tetrahedron with a sign change, in one sample.
struct Crossed {
  int32_t tet, code;
};

// Vertices of the subdivided grid at the ten local vertices of a tetrahedron, and its edges by number.
class Local {
 public:
  Local(const Tables& tables, int64_t tet) : tables_(tables), tet_(tet) {
    for (int k = 0; k < 4; ++k) vertex[k] = tables.tets[4 * tet + k];
    for (int k = 0; k < 6; ++k) vertex[4 + k] = static_cast<int32_t>(tables.vertices + tables.tet_edges[6 * tet + k]);
  }

  int64_t edge(int local) const {
    if (local < 12) {
      const int k = local / 2, end = local % 2, a = vertex[kEnds[k][end]], b = vertex[kEnds[k][1 - end]];
      return 2 * static_cast<int64_t>(tables_.tet_edges[6 * tet_ + k]) + (a > b);
    }
    if (local < 24) {
      const int face = (local - 12) / 3, slot = (local - 12) % 3, corner = slot + (slot >= face);
      int rank = 0;
      for (int i = 0; i < 4; ++i) rank += i != face && vertex[i] < vertex[corner];
      return 2 * tables_.num_edges + 3 * static_cast<int64_t>(tables_.tet_faces[4 * tet_ + face]) + rank;
    }
    return 2 * tables_.num_edges + 3 * tables_.num_faces + tet_;
  }

  int32_t vertex[10];

 private:
  const Tables& tables_;
  const int64_t tet_;
};

// One sample: its crossed tetrahedra, and bitmaps over the edges and vertices of the subdivided grid.
struct Sample {
  std::vector<Crossed> crossed;
  std::vector<Rank> edges, vertices;
  int64_t num_vertices = 0, num_faces = 0, num_active = 0;

  void count(const Tables& tables) {
    edges.assign(marching::blocks_of(tables.subdivided_edges()), Rank{0, 0});
    vertices.assign(marching::blocks_of(tables.vertices + tables.num_edges), Rank{0, 0});
    for (const Crossed& each : crossed) {
      const Split& split = split_of(tables.diagonals[each.tet]);
      const Local local(tables, each.tet);
      uint32_t ends = 0;
      for_bits(split.crossing[each.code], [&](int e) {
        set_bit(edges.data(), local.edge(e));
        ends |= 1u << split.ends[e][0] | 1u << split.ends[e][1];
      });
      for_bits(ends, [&](int k) { set_bit(vertices.data(), local.vertex[k]); });
      num_faces += split.faces[each.code];
    }
    num_vertices = count_bits(edges);
    num_active = count_bits(vertices);
  }

  void write(const Tables& tables, int64_t sample, int64_t first_vertex, int64_t first_active, int32_t* faces,
             int64_t* edge_vertices, int64_t* active, int64_t* edge_active) const {
    const int64_t grid = sample * (tables.vertices + tables.num_edges);
    for (const Crossed& each : crossed) {
      const Split& split = split_of(tables.diagonals[each.tet]);
      const Local local(tables, each.tet);
      int64_t surface_vertex[kLocalEdges];
      for_bits(split.crossing[each.code], [&](int e) {
        const int64_t row = first_vertex + rank_of(edges.data(), local.edge(e));
        surface_vertex[e] = row;
        const int64_t a = local.vertex[split.ends[e][0]], b = local.vertex[split.ends[e][1]];
        const int64_t ends[2] = {std::min(a, b), std::max(a, b)};
        for (int k = 0; k < 2; ++k) {
          edge_vertices[2 * row + k] = grid + ends[k];
          edge_active[2 * row + k] = first_active + rank_of(vertices.data(), ends[k]);
        }
      });
      for (int corner = 0; corner < 3 * split.faces[each.code]; ++corner) {
        *faces++ = static_cast<int32_t>(surface_vertex[split.corners[each.code][corner]]);
      }
    }
    int64_t* next = active + first_active;
    for (size_t word = 0; word < vertices.size(); ++word) {
      for_bits(vertices[word].bits, [&](int bit) { *next++ = grid + static_cast<int64_t>(word) * 64 + bit; });
    }
  }
};

// The crossed tetrahedra of up to 64 samples from `first` on.
template <class T>
void find_crossed(const Tables& tables, const T* sdf, int samples, int64_t first, const int64_t* ids, const T* midpoint_sdf,
                  int64_t num_ids, Sample* out) {
  std::vector<uint64_t> words(tables.vertices + tables.num_edges);
  pack(sdf, tables.vertices, samples, words.data());
  uint64_t* middle = words.data() + tables.vertices;
  for (int64_t e = 0; e < tables.num_edges; ++e) middle[e] = words[tables.edges[2 * e]] & words[tables.edges[2 * e + 1]];
  const int64_t* id = std::lower_bound(ids, ids + num_ids, first * tables.num_edges);
  for (int s = 0; s < samples; ++s) {
    const int64_t begin = (first + s) * tables.num_edges;
    const uint64_t bit = uint64_t{1} << s;
    for (; id != ids + num_ids && *id < begin + tables.num_edges; ++id) {
      uint64_t& word = middle[*id - begin];
      word = midpoint_sdf[id - ids] < T(0) ? word | bit : word & ~bit;
    }
  }
  for (int64_t t = 0; t < tables.num_tets; ++t) {
    uint64_t word[10];
    for (int k = 0; k < 4; ++k) word[k] = words[tables.tets[4 * t + k]];
    for (int k = 0; k < 6; ++k) word[4 + k] = middle[tables.tet_edges[6 * t + k]];
    uint64_t any = word[0], all = word[0];
    for (int k = 1; k < 10; ++k) {
      any |= word[k];
      all &= word[k];
    }
    for_bits(any & ~all, [&](int s) {
      int32_t code = 0;
      for (int k = 0; k < 10; ++k) code |= static_cast<int32_t>(word[k] >> s & 1) << k;
      out[s].crossed.push_back({static_cast<int32_t>(t), code});
    });
  }
}

std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor> topology(const Tensor& sdf, const Tensor& midpoint_ids,
                                                            const Tensor& midpoint_sdf, const Tensor& tets,
                                                            const Tensor& edges, const Tensor& tet_edges,
                                                            const Tensor& tet_faces, const Tensor& diagonals,
                                                            int64_t num_faces) {
  const int64_t batch = sdf.size(0), size = group_size(batch), groups = (batch + size - 1) / size;
  const Tables tables{data<int32_t>(tets),      data<int32_t>(edges),     data<int32_t>(tet_edges),
                      data<int32_t>(tet_faces), data<int32_t>(diagonals), sdf.size(1),
                      edges.size(0),            tets.size(0),             num_faces};
  std::vector<Sample> samples(batch);
  dispatch_floating(sdf, "subdivided_tets_topology", [&](auto zero) {
    using T = decltype(zero);
    parallel_tasks(groups, [&](int64_t group) {
      const int64_t first = group * size;
      find_crossed(tables, data<T>(sdf) + first * tables.vertices, static_cast<int>(std::min(size, batch - first)), first,
                   data<int64_t>(midpoint_ids), data<T>(midpoint_sdf), midpoint_ids.size(0), samples.data() + first);
    });
  });
  parallel_tasks(batch, [&](int64_t b) { samples[b].count(tables); });
  Tensor offsets = zeros_like_of(tets, {3, batch + 1}, ScalarType::Long);
  int64_t *vertices = mutable_data<int64_t>(offsets), *faces = vertices + batch + 1, *active = faces + batch + 1;
  for (int64_t b = 0; b < batch; ++b) {
    vertices[b + 1] = vertices[b] + samples[b].num_vertices;
    faces[b + 1] = faces[b] + samples[b].num_faces;
    active[b + 1] = active[b] + samples[b].num_active;
  }
  Tensor out_faces = empty_like_of(tets, {faces[batch], 3}, ScalarType::Int);
  Tensor edge_vertices = empty_like_of(tets, {vertices[batch], 2}, ScalarType::Long);
  Tensor out_active = empty_like_of(tets, {active[batch]}, ScalarType::Long);
  Tensor edge_active = empty_like_of(tets, {vertices[batch], 2}, ScalarType::Long);
  parallel_tasks(batch, [&](int64_t b) {
    samples[b].write(tables, b, vertices[b], active[b], mutable_data<int32_t>(out_faces) + 3 * faces[b],
                     mutable_data<int64_t>(edge_vertices), mutable_data<int64_t>(out_active),
                     mutable_data<int64_t>(edge_active));
  });
  return {out_faces, edge_vertices, out_active, edge_active, offsets};
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(tetragan, CPU, m) {
  m.impl("midpoints_near_surface", TORCH_BOX(&midpoints));
  m.impl("subdivided_tets_topology", TORCH_BOX(&topology));
}

}  // namespace tetragan
