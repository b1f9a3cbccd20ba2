// CPU kernel of `marching_tets`. Every table is read once for all samples: signs of up to 64 samples are the bits of a word.
// Passes, each parallel: signs to words; edges and tetrahedra to bitmaps; ranks; then the outputs, at positions known from counts.
// The order of the outputs is fixed by edge, tetrahedron and vertex ids, so it does not depend on the threads.
#include "common/cpu.h"
#include "common/isa.h"
#include "marching_tets/marching_tets_loops.h"

#include <memory>

using tetragan::marching::Rank;
using tetragan::marching::SampleBase;
using tetragan::marching::Tables;

TETRAGAN_DECLARE(void, pack_signs, (const float*, int64_t, int, int64_t, int64_t, uint64_t*))
TETRAGAN_DECLARE(void, pack_signs_double, (const double*, int64_t, int, int64_t, int64_t, uint64_t*))
TETRAGAN_DECLARE(bool, scan_edges, (const Tables&, const uint64_t*, int, int64_t, int64_t, Rank*, int64_t))
TETRAGAN_DECLARE(bool, scan_tets, (const Tables&, const uint64_t*, int, int64_t, int64_t, uint64_t*, int64_t, int64_t*))
TETRAGAN_DECLARE(void, rank_sample, (const Tables&, Rank*, Rank*, int64_t*, int64_t*))
TETRAGAN_DECLARE(void, write_edges,
                 (const Tables&, const Rank*, const Rank*, int64_t, int64_t, const SampleBase&, int64_t*, int64_t*))
TETRAGAN_DECLARE(void, write_active, (const Tables&, const Rank*, const SampleBase&, int64_t*))
TETRAGAN_DECLARE(bool, write_faces,
                 (const Tables&, const uint64_t*, int, const uint64_t*, const Rank*, int64_t, int64_t, int64_t, int32_t*))

namespace tetragan {
namespace {

using namespace marching;

constexpr int64_t kGroup = 64;          // samples in a word
constexpr int64_t kChunkBlocks = 64;    // 64 × 64 edges or tetrahedra: their tables fit the second-level cache
constexpr int64_t kVertexChunk = 4096;
constexpr int kBadTets = 1, kBadEdges = 2, kBadTetEdges = 4;

int64_t chunks_of(int64_t count, int64_t size) { return (count + size - 1) / size; }

// Scratch that is written before it is read.
template <class T>
std::unique_ptr<T[]> scratch(int64_t count) {
  return std::unique_ptr<T[]>(new T[static_cast<size_t>(std::max<int64_t>(count, 1))]);
}

// All intermediate state of one call.
class Extraction {
 public:
  Extraction(const Tables& tables, int64_t batch)
      : tables_(tables), batch_(batch), edge_blocks_(blocks_of(tables.num_edges)), tet_blocks_(blocks_of(tables.num_tets)),
        vertex_blocks_(blocks_of(tables.num_vertices)), tet_chunks_(chunks_of(tet_blocks_, kChunkBlocks)),
        words_(scratch<uint64_t>(chunks_of(batch, kGroup) * tables.num_vertices)),
        edge_ranks_(scratch<Rank>(batch * edge_blocks_)), vertex_ranks_(scratch<Rank>(batch * vertex_blocks_)),
        crossed_(scratch<uint64_t>(batch * tet_blocks_)), chunk_faces_(batch * tet_chunks_, 0) {}

  template <class T>
  void pack(const T* sdf) {
    const int64_t chunks = chunks_of(tables_.num_vertices, kVertexChunk);
    parallel_tasks(chunks_of(batch_, kGroup) * chunks, [&](int64_t task) {
      const int64_t first = task / chunks * kGroup, begin = task % chunks * kVertexChunk;
      const int64_t end = std::min(begin + kVertexChunk, tables_.num_vertices), stride = tables_.num_vertices;
      const int samples = samples_from(first);
      if constexpr (sizeof(T) == 4) {
        TETRAGAN_CALL(pack_signs, (sdf + first * stride, stride, samples, begin, end, words_of(first)));
      } else {
        TETRAGAN_CALL(pack_signs_double, (sdf + first * stride, stride, samples, begin, end, words_of(first)));
      }
    });
  }

  // Bitmaps of crossing edges and crossed tetrahedra. Returns the defects found in the tables.
  int scan() {
    const int64_t edge_chunks = chunks_of(edge_blocks_, kChunkBlocks), chunks = edge_chunks + tet_chunks_;
    std::atomic<int> flaws{0};
    parallel_tasks(chunks_of(batch_, kGroup) * chunks, [&](int64_t task) {
      const int64_t first = task / chunks * kGroup, index = task % chunks;
      const int samples = samples_from(first);
      if (index < edge_chunks) {
        const int64_t begin = index * kChunkBlocks, end = std::min(begin + kChunkBlocks, edge_blocks_);
        const bool good = TETRAGAN_CALL(scan_edges, (tables_, words_of(first), samples, begin, end,
                                                     edge_ranks(first), edge_blocks_));
        if (!good) flaws |= kBadEdges;
        return;
      }
      const int64_t chunk = index - edge_chunks, begin = chunk * kChunkBlocks;
      const int64_t end = std::min(begin + kChunkBlocks, tet_blocks_);
      int64_t counts[kGroup] = {};
      const bool good = TETRAGAN_CALL(scan_tets, (tables_, words_of(first), samples, begin, end, crossed(first), tet_blocks_,
                                                  counts));
      if (!good) flaws |= kBadTets;
      for (int s = 0; s < samples; ++s) chunk_faces_[(first + s) * tet_chunks_ + chunk] = counts[s];
    });
    return flaws;
  }

  // Ranks, and the offsets [4, B + 1]: surface vertices, faces, active vertices, defects.
  void count(int64_t* offsets) {
    int64_t *vertices = offsets, *faces = offsets + batch_ + 1, *active = faces + batch_ + 1;
    vertices[0] = faces[0] = active[0] = 0;
    parallel_tasks(batch_, [&](int64_t b) {
      TETRAGAN_CALL(rank_sample, (tables_, edge_ranks(b), vertex_ranks(b), vertices + b + 1, active + b + 1));
    });
    int64_t total = 0;
    for (int64_t b = 0; b < batch_; ++b) {
      vertices[b + 1] += vertices[b];
      active[b + 1] += active[b];
      for (int64_t chunk = 0; chunk < tet_chunks_; ++chunk) {
        const int64_t here = chunk_faces_[b * tet_chunks_ + chunk];
        chunk_faces_[b * tet_chunks_ + chunk] = total;  // from now on: the chunk's first face
        total += here;
      }
      faces[b + 1] = total;
    }
  }

  // The packed outputs; `offsets` from `count`. Returns the defects found in the tables.
  int write(const int64_t* offsets, int32_t* faces, int64_t* edge_vertices, int64_t* active, int64_t* edge_active) {
    const int64_t edge_chunks = chunks_of(edge_blocks_, kChunkBlocks), chunks = edge_chunks + tet_chunks_;
    std::atomic<int> flaws{0};
    parallel_tasks(batch_ + chunks, [&](int64_t task) {
      if (task < batch_) {
        TETRAGAN_CALL(write_active, (tables_, vertex_ranks(task), base(offsets, task), active));
        return;
      }
      const int64_t index = task - batch_;
      for (int64_t b = 0; b < batch_; ++b) {
        if (index < edge_chunks) {
          const int64_t begin = index * kChunkBlocks, end = std::min(begin + kChunkBlocks, edge_blocks_);
          TETRAGAN_CALL(write_edges, (tables_, edge_ranks(b), vertex_ranks(b), begin, end, base(offsets, b), edge_vertices,
                                      edge_active));
          continue;
        }
        const int64_t chunk = index - edge_chunks, begin = chunk * kChunkBlocks;
        const int64_t end = std::min(begin + kChunkBlocks, tet_blocks_);
        const bool good = TETRAGAN_CALL(write_faces, (tables_, words_of(b), static_cast<int>(b % kGroup), crossed(b),
                                                      edge_ranks(b), begin, end, offsets[b],
                                                      faces + 3 * chunk_faces_[b * tet_chunks_ + chunk]));
        if (!good) flaws |= kBadTetEdges;
      }
    });
    return flaws;
  }

 private:
  int samples_from(int64_t first) const { return static_cast<int>(std::min(kGroup, batch_ - first)); }
  uint64_t* words_of(int64_t b) const { return words_.get() + b / kGroup * tables_.num_vertices; }
  Rank* edge_ranks(int64_t b) const { return edge_ranks_.get() + b * edge_blocks_; }
  Rank* vertex_ranks(int64_t b) const { return vertex_ranks_.get() + b * vertex_blocks_; }
  uint64_t* crossed(int64_t b) const { return crossed_.get() + b * tet_blocks_; }
  SampleBase base(const int64_t* offsets, int64_t b) const {
    return {offsets[b], offsets[2 * (batch_ + 1) + b], b * tables_.num_vertices};
  }

  const Tables tables_;
  const int64_t batch_, edge_blocks_, tet_blocks_, vertex_blocks_, tet_chunks_;
  std::unique_ptr<uint64_t[]> words_;
  std::unique_ptr<Rank[]> edge_ranks_, vertex_ranks_;
  std::unique_ptr<uint64_t[]> crossed_;
  std::vector<int64_t> chunk_faces_;
};

std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor> topology(const Tensor& sdf, const Tensor& tets, const Tensor& edges,
                                                            const Tensor& tet_edges) {
  const int64_t batch = sdf.size(0);
  const Tables tables{data<int32_t>(tets), data<int32_t>(edges), data<int32_t>(tet_edges),
                      sdf.size(1),         edges.size(0),        tets.size(0)};
  Extraction extraction(tables, batch);
  dispatch_floating(sdf, "marching_tets_topology", [&](auto zero) { extraction.pack(data<decltype(zero)>(sdf)); });
  Tensor offsets = zeros_like_of(tets, {4, batch + 1}, ScalarType::Long);
  int64_t* o = mutable_data<int64_t>(offsets);
  int flaws = tables.num_vertices > 0 ? extraction.scan() : (tables.num_edges > 0 ? kBadEdges : tables.num_tets > 0 ? kBadTets : 0);
  if (flaws == 0) extraction.count(o);
  Tensor faces = empty_like_of(tets, {o[2 * batch + 1], 3}, ScalarType::Int);
  Tensor edge_vertices = empty_like_of(tets, {o[batch], 2}, ScalarType::Long);
  Tensor active = empty_like_of(tets, {o[3 * batch + 2]}, ScalarType::Long);
  Tensor edge_active = empty_like_of(tets, {o[batch], 2}, ScalarType::Long);
  if (flaws == 0) {
    flaws = extraction.write(o, mutable_data<int32_t>(faces), mutable_data<int64_t>(edge_vertices),
                             mutable_data<int64_t>(active), mutable_data<int64_t>(edge_active));
  }
  o[3 * (batch + 1)] = flaws;
  return {faces, edge_vertices, active, edge_active, offsets};
}

// Row of a shared table of positions; the table of one sample, or one row an SDF value.
inline int64_t position_row(int64_t row, int64_t rows, bool shared) { return shared ? row % rows : row; }

Tensor crossings(const Tensor& sdf, const Tensor& positions, const Tensor& pairs) {
  const int64_t count = pairs.size(0), rows = positions.size(0);
  const bool shared = rows != sdf.size(0);
  Tensor out = empty_like_of(positions, {count, 3});
  const int64_t* pair = data<int64_t>(pairs);
  dispatch_floating(sdf, "edge_crossings", [&](auto zero) {
    using T = decltype(zero);
    const T *s = data<T>(sdf), *p = data<T>(positions);
    T* result = mutable_data<T>(out);
    torch::stable::parallel_for(0, count, 2048, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const int64_t a = pair[2 * i], b = pair[2 * i + 1];
        crossing(s[a], s[b], p + 3 * position_row(a, rows, shared), p + 3 * position_row(b, rows, shared), result + 3 * i);
      }
    });
  });
  return out;
}

// Each task owns a range of rows and adds what falls into it in the order of the pairs: no atomics, any number of threads.
template <class T, class Row, class Add>
void scatter(const int64_t* pair, int64_t count, int64_t rows, const Row& row_of, const Add& add) {
  const int64_t tasks = std::max<int64_t>(1, std::min<int64_t>(torch::stable::get_num_threads(), count / 1024));
  parallel_tasks(tasks, [&](int64_t task) {
    const int64_t low = rows * task / tasks, high = rows * (task + 1) / tasks;
    for (int64_t i = 0; i < count; ++i) {
      const int64_t a = row_of(pair[2 * i]), b = row_of(pair[2 * i + 1]);
      const bool owns_a = a >= low && a < high, owns_b = b >= low && b < high;
      if (owns_a || owns_b) add(i, a, b, owns_a, owns_b);
    }
  });
}

std::tuple<Tensor, Tensor> crossings_backward(const Tensor& grad, const Tensor& sdf, const Tensor& positions,
                                              const Tensor& pairs, bool to_positions) {
  const int64_t count = pairs.size(0), rows = positions.size(0), values = sdf.size(0);
  const bool shared = rows != values;
  Tensor grad_sdf = zeros_like_of(sdf, {values}), grad_positions = zeros_like_of(positions, {to_positions ? rows : 0, 3});
  const int64_t* pair = data<int64_t>(pairs);
  dispatch_floating(sdf, "edge_crossings", [&](auto zero) {
    using T = decltype(zero);
    const T *s = data<T>(sdf), *p = data<T>(positions), *g = data<T>(grad);
    T *out_s = mutable_data<T>(grad_sdf), *out_p = mutable_data<T>(grad_positions);
    const auto gradient = [&](int64_t i) {
      const int64_t a = pair[2 * i], b = pair[2 * i + 1];
      return crossing_gradient(s[a], s[b], p + 3 * position_row(a, rows, shared), p + 3 * position_row(b, rows, shared),
                               g + 3 * i);
    };
    const auto add_position = [&](int64_t row, T weight, const T* of) {
      for (int k = 0; k < 3; ++k) out_p[3 * row + k] += weight * of[k];
    };
    const auto value_row = [](int64_t row) { return row; };
    const bool together = to_positions && !shared;
    scatter<T>(pair, count, values, value_row, [&](int64_t i, int64_t a, int64_t b, bool owns_a, bool owns_b) {
      const auto d = gradient(i);
      if (owns_a) out_s[a] += d.s_a;
      if (owns_b) out_s[b] += d.s_b;
      if (together && owns_a) add_position(a, 1 - d.t, g + 3 * i);
      if (together && owns_b) add_position(b, d.t, g + 3 * i);
    });
    if (!to_positions || together) return;
    const auto table_row = [&](int64_t row) { return row % rows; };
    scatter<T>(pair, count, rows, table_row, [&](int64_t i, int64_t a, int64_t b, bool owns_a, bool owns_b) {
      const T t = gradient(i).t;
      if (owns_a) add_position(a, 1 - t, g + 3 * i);
      if (owns_b) add_position(b, t, g + 3 * i);
    });
  });
  return {grad_sdf, grad_positions};
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(tetragan, CPU, m) {
  m.impl("marching_tets_topology", TORCH_BOX(&topology));
  m.impl("edge_crossings", TORCH_BOX(&crossings));
  m.impl("edge_crossings_backward", TORCH_BOX(&crossings_backward));
}

}  // namespace tetragan
