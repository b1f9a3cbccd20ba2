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

using tetragan::subdivided::Bitmaps;
using tetragan::subdivided::Counts;
using tetragan::subdivided::CrossedTets;

TETRAGAN_DECLARE(Counts, mark_crossed, (const CrossedTets&, const Bitmaps&))
TETRAGAN_DECLARE(void, write_crossed_faces, (const CrossedTets&, const Bitmaps&, int64_t, int32_t*))
TETRAGAN_DECLARE(void, write_crossing_edges, (const CrossedTets&, const Bitmaps&, int64_t, int64_t, int64_t*, int64_t*))

namespace tetragan {
namespace {

using namespace subdivided;
using marching::Rank;

constexpr int64_t kGroup = 64;

const Split* all_splits() {
  static const Split splits[3] = {make_split(0), make_split(1), make_split(2)};
  return splits;
}

template <class F>
void for_bits(uint64_t word, const F& f) {
  for (; word != 0; word &= word - 1) f(__builtin_ctzll(word));
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

// What a midpoint's value is to be, as in the Python file.
enum State : uint8_t { kTakeMean = 0, kEndsAgree = 1, kEndsDiffer = 2 };

std::tuple<Tensor, Tensor, Tensor, Tensor> midpoints(const Tensor& sdf, const Tensor& used, const Tensor& edges,
                                                     const Tensor& fixed) {
  const int64_t batch = sdf.size(0), vertices = sdf.size(1), count = edges.size(0), size = group_size(batch);
  const int64_t groups = (batch + size - 1) / size;
  const int32_t* ends = data<int32_t>(edges);
  const bool* fixed_edge = data<bool>(fixed);
  std::vector<std::vector<uint64_t>> near(groups);
  std::vector<int64_t> counts(batch, 0);
  dispatch_floating(sdf, "midpoints_near_surface", [&](auto zero) {
    using T = decltype(zero);
    parallel_tasks(groups, [&](int64_t group) {
      const int64_t first = group * size;
      const int samples = static_cast<int>(std::min(size, batch - first));
      std::vector<uint64_t> inside(vertices), touched(vertices, 0);
      pack(data<T>(used) + first * vertices, vertices, samples, inside.data());
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
  Tensor ids = empty_like_of(edges, {o[batch]}, ScalarType::Long), means = empty_like_of(sdf, {o[batch]});
  Tensor states = empty_like_of(edges, {o[batch]}, ScalarType::Byte);
  int64_t* out_id = mutable_data<int64_t>(ids);
  uint8_t* out_state = mutable_data<uint8_t>(states);
  dispatch_floating(sdf, "midpoints_near_surface", [&](auto zero) {
    using T = decltype(zero);
    T* out_mean = mutable_data<T>(means);
    parallel_tasks(groups, [&](int64_t group) {
      const int64_t first = group * size;
      std::vector<int64_t> at(o + first, o + std::min(first + size, batch));
      for (int64_t e = 0; e < count; ++e) {
        const int64_t a = ends[2 * e], b = ends[2 * e + 1];
        for_bits(near[group][e], [&](int s) {
          const T *network = data<T>(sdf) + (first + s) * vertices, *value = data<T>(used) + (first + s) * vertices;
          const int64_t row = at[s]++;
          const bool corrected = fixed_edge[e] || value[a] != network[a] || value[b] != network[b];
          out_id[row] = (first + s) * count + e;
          out_mean[row] = (value[a] + value[b]) / 2;
          out_state[row] = corrected ? kTakeMean : (value[a] < T(0)) == (value[b] < T(0)) ? kEndsAgree : kEndsDiffer;
        });
      }
    });
  });
  return {ids, means, states, offsets};
}

// -------------------------------------------------------------------------------------------------------------- topology

struct Tables {
  const int32_t *tets, *edges, *tet_edges, *diagonals, *edge_ids, *ends;
  int64_t vertices, num_edges, num_tets, subdivided_edges;
  int64_t grid() const { return vertices + num_edges; }
};

// Where the outputs of a sample begin, and the outputs.
struct Output {
  int64_t vertices, active;
  int32_t* faces;
  int64_t *edge_vertices, *active_ids, *edge_active, *parents, *rows;
};

// One sample: its crossed tetrahedra, and bitmaps over the edges and vertices of the subdivided grid.
struct Sample {
  std::vector<Crossed> crossed;
  std::vector<Rank> edges, vertices;
  Counts counts{0, 0, 0};

  CrossedTets tets_of(const Tables& tables) const {
    return {all_splits(),   tables.diagonals,                     tables.edge_ids, tables.ends,
            crossed.data(), static_cast<int64_t>(crossed.size())};
  }

  Bitmaps maps() {
    return {edges.data(), vertices.data(), static_cast<int64_t>(edges.size()), static_cast<int64_t>(vertices.size())};
  }

  void count(const Tables& tables) {
    edges.assign(marching::blocks_of(tables.subdivided_edges), Rank{0, 0});
    vertices.assign(marching::blocks_of(tables.grid()), Rank{0, 0});
    counts = TETRAGAN_CALL(mark_crossed, (tets_of(tables), maps()));
  }

  // ids [num_ids]: all given midpoints, sorted.
  void write(const Tables& tables, int64_t sample, const int64_t* ids, int64_t num_ids, const Output& out) {
    const int64_t grid = sample * tables.grid();
    TETRAGAN_CALL(write_crossed_faces, (tets_of(tables), maps(), out.vertices, out.faces));
    TETRAGAN_CALL(write_crossing_edges, (tets_of(tables), maps(), grid, out.active, out.edge_vertices + 2 * out.vertices,
                                         out.edge_active + 2 * out.vertices));
    const int64_t *const last = ids + num_ids, *id = std::lower_bound(ids, last, sample * tables.num_edges);
    int64_t at = out.active;
    for (size_t word = 0; word < vertices.size(); ++word) {
      for_bits(vertices[word].bits, [&](int bit) {
        const int64_t vertex = static_cast<int64_t>(word) * 64 + bit;
        const int64_t edge = vertex - tables.vertices, coarse = sample * tables.vertices;
        out.active_ids[at] = grid + vertex;
        out.rows[at] = -1;
        for (int k = 0; k < 2; ++k) out.parents[2 * at + k] = coarse + (edge < 0 ? vertex : tables.edges[2 * edge + k]);
        if (edge >= 0) {
          const int64_t wanted = sample * tables.num_edges + edge;
          while (id != last && *id < wanted) ++id;
          if (id != last && *id == wanted) out.rows[at] = id - ids;
        }
        ++at;
      });
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

std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor> topology(
    const Tensor& sdf, const Tensor& midpoint_ids, const Tensor& midpoint_sdf, const Tensor& tets, const Tensor& edges,
    const Tensor& tet_edges, const Tensor& diagonals, const Tensor& edge_ids, const Tensor& ends) {
  const int64_t batch = sdf.size(0), size = group_size(batch), groups = (batch + size - 1) / size;
  const Tables tables{data<int32_t>(tets),      data<int32_t>(edges),    data<int32_t>(tet_edges),
                      data<int32_t>(diagonals), data<int32_t>(edge_ids), data<int32_t>(ends),
                      sdf.size(1),              edges.size(0),           tets.size(0),
                      ends.size(0)};
  const int64_t *ids = data<int64_t>(midpoint_ids), num_ids = midpoint_ids.size(0);
  std::vector<Sample> samples(batch);
  dispatch_floating(sdf, "subdivided_tets_topology", [&](auto zero) {
    using T = decltype(zero);
    parallel_tasks(groups, [&](int64_t group) {
      const int64_t first = group * size;
      find_crossed(tables, data<T>(sdf) + first * tables.vertices, static_cast<int>(std::min(size, batch - first)), first, ids,
                   data<T>(midpoint_sdf), num_ids, samples.data() + first);
    });
  });
  parallel_tasks(batch, [&](int64_t b) { samples[b].count(tables); });
  Tensor offsets = zeros_like_of(tets, {3, batch + 1}, ScalarType::Long);
  int64_t *vertices = mutable_data<int64_t>(offsets), *faces = vertices + batch + 1, *active = faces + batch + 1;
  for (int64_t b = 0; b < batch; ++b) {
    vertices[b + 1] = vertices[b] + samples[b].counts.edges;
    faces[b + 1] = faces[b] + samples[b].counts.faces;
    active[b + 1] = active[b] + samples[b].counts.vertices;
  }
  Tensor out_faces = empty_like_of(tets, {faces[batch], 3}, ScalarType::Int);
  Tensor edge_vertices = empty_like_of(tets, {vertices[batch], 2}, ScalarType::Long);
  Tensor edge_active = empty_like_of(tets, {vertices[batch], 2}, ScalarType::Long);
  Tensor out_active = empty_like_of(tets, {active[batch]}, ScalarType::Long);
  Tensor parents = empty_like_of(tets, {active[batch], 2}, ScalarType::Long);
  Tensor rows = empty_like_of(tets, {active[batch]}, ScalarType::Long);
  parallel_tasks(batch, [&](int64_t b) {
    const Output out{vertices[b],
                     active[b],
                     mutable_data<int32_t>(out_faces) + 3 * faces[b],
                     mutable_data<int64_t>(edge_vertices),
                     mutable_data<int64_t>(out_active),
                     mutable_data<int64_t>(edge_active),
                     mutable_data<int64_t>(parents),
                     mutable_data<int64_t>(rows)};
    samples[b].write(tables, b, ids, num_ids, out);
  });
  return {out_faces, edge_vertices, out_active, edge_active, parents, rows, offsets};
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(tetragan, CPU, m) {
  m.impl("midpoints_near_surface", TORCH_BOX(&midpoints));
  m.impl("subdivided_tets_topology", TORCH_BOX(&topology));
}

}  // namespace tetragan
