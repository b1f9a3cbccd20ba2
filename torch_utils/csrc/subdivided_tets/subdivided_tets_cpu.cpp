// CPU kernels of `subdivided_tets`. Signs of up to 64 samples are the bits of a word, as in `marching_tets`, so each table is
// read once for all of them: a pass over the edges, the faces and the tetrahedra of the coarse grid finds which edges of the
// subdivided grid cross. The outputs of each sample then go to positions known from counts of bits; nothing is sorted.
#include <memory>

#include "common/cpu.h"
#include "common/isa.h"
#include "marching_tets/marching_tets_loops.h"
#include "subdivided_tets/subdivided_tets.h"

using tetragan::subdivided::Bitmaps;
using tetragan::subdivided::Cases;
using tetragan::subdivided::Counts;
using tetragan::subdivided::Crossed;
using tetragan::subdivided::Cursor;
using tetragan::subdivided::Output;
using tetragan::subdivided::SampleBase;
using tetragan::subdivided::Tables;

TETRAGAN_DECLARE(void, pack_signs, (const float*, int64_t, int, int64_t, int64_t, uint64_t*))
TETRAGAN_DECLARE(void, pack_signs_double, (const double*, int64_t, int, int64_t, int64_t, uint64_t*))
TETRAGAN_DECLARE(void, scan_near, (const int32_t*, int64_t, const uint64_t*, int, uint64_t*, uint64_t*))
TETRAGAN_DECLARE(int64_t, count_bits, (const uint64_t*, int64_t))
TETRAGAN_DECLARE(void, scan_coarse_edges, (const Tables&, const uint64_t*, int, uint64_t*, const Bitmaps*))
TETRAGAN_DECLARE(void, scan_coarse_faces, (const Tables&, const uint64_t*, int, uint64_t*, const Bitmaps*))
TETRAGAN_DECLARE(void, scan_coarse_tets,
                 (const Tables&, const Cases&, const uint64_t*, int64_t, int64_t, uint64_t*, Crossed**, Counts*))
TETRAGAN_DECLARE(void, scan_active_vertices, (const uint64_t*, int64_t, int, const Bitmaps*))
TETRAGAN_DECLARE(void, count_sample, (const Bitmaps&, Counts&))
TETRAGAN_DECLARE(void, write_halves, (const Tables&, const Bitmaps&, const SampleBase&, int64_t, int64_t, const Output&))
TETRAGAN_DECLARE(void, write_edges_on_faces, (const Tables&, const Bitmaps&, const SampleBase&, int64_t, int64_t, const Output&))
TETRAGAN_DECLARE(void, write_crossed_tets,
                 (const Tables&, const Cases&, const Crossed*, int64_t, int64_t, const Bitmaps&, const SampleBase&, const Counts&,
                  const Output&, Cursor&))
TETRAGAN_DECLARE(void, write_active_vertices,
                 (const Tables&, const Bitmaps&, const SampleBase&, int64_t, int64_t, int64_t, const Output&))
TETRAGAN_DECLARE(void, write_rows,
                 (const Tables&, const Bitmaps&, const Counts&, const SampleBase&, const int64_t*, int64_t, int64_t, int64_t, int64_t*))

namespace tetragan {
namespace {

using namespace subdivided;
using marching::Rank;
using marching::blocks_of;

constexpr int64_t kGroup = 64;      // samples in a word
constexpr int64_t kTetChunk = 2048;  // tetrahedra whose tables fit the second-level cache
constexpr int64_t kWordChunk = 64;  // words of bitmaps whose tables fit the second-level cache

int64_t chunks_of(int64_t count, int64_t size) { return (count + size - 1) / size; }

const Cases& all_cases() {
  static const std::unique_ptr<const Cases> cases(new Cases(make_cases()));
  return *cases;
}

// Scratch that is written before it is read.
template <class T>
std::unique_ptr<T[]> scratch(int64_t count) {
  return std::unique_ptr<T[]>(new T[static_cast<size_t>(std::max<int64_t>(count, 1))]);
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
  const int64_t blocks = blocks_of(count);
  const int32_t* ends = data<int32_t>(edges);
  const bool* fixed_edge = data<bool>(fixed);
  const auto near = scratch<uint64_t>(batch * blocks);
  Tensor offsets = zeros_like_of(edges, {batch + 1}, ScalarType::Long);
  int64_t* first_row = mutable_data<int64_t>(offsets);
  dispatch_floating(sdf, "midpoints_near_surface", [&](auto zero) {
    using T = decltype(zero);
    const T* value = data<T>(used);
    parallel_tasks(chunks_of(batch, size), [&](int64_t group) {
      const int64_t first = group * size;
      const int samples = static_cast<int>(std::min(size, batch - first));
      const auto inside = scratch<uint64_t>(vertices);
      std::vector<uint64_t> touched(vertices, 0);
      pack(value + first * vertices, vertices, samples, inside.get());
      TETRAGAN_CALL(scan_near, (ends, count, inside.get(), samples, touched.data(), near.get() + first * blocks));
    });
  });
  for (int64_t b = 0; b < batch; ++b) {
    first_row[b + 1] = first_row[b] + TETRAGAN_CALL(count_bits, (near.get() + b * blocks, blocks));
  }
  const int64_t total = first_row[batch];
  Tensor ids = empty_like_of(edges, {total}, ScalarType::Long), means = empty_like_of(sdf, {total});
  Tensor states = empty_like_of(edges, {total}, ScalarType::Byte);
  int64_t* out_id = mutable_data<int64_t>(ids);
  uint8_t* out_state = mutable_data<uint8_t>(states);
  dispatch_floating(sdf, "midpoints_near_surface", [&](auto zero) {
    using T = decltype(zero);
    const T *networks = data<T>(sdf), *values = data<T>(used);
    T* out_mean = mutable_data<T>(means);
    parallel_tasks(batch, [&](int64_t sample) {
      const T *network = networks + sample * vertices, *value = values + sample * vertices;
      int64_t row = first_row[sample];
      for (int64_t block = 0; block < blocks; ++block) {
        for_bits(near[sample * blocks + block], [&](int bit) {
          const int64_t e = 64 * block + bit, a = ends[2 * e], b = ends[2 * e + 1];
          const bool corrected = fixed_edge[e] | (value[a] != network[a]) | (value[b] != network[b]);
          out_id[row] = sample * count + e;
          out_mean[row] = (value[a] + value[b]) / 2;
          const bool agree = (value[a] < T(0)) == (value[b] < T(0));
          out_state[row] = static_cast<uint8_t>((kEndsDiffer - agree) * !corrected);  // no branch that cannot be foreseen
          ++row;
        });
      }
    });
  });
  return {ids, means, states, offsets};
}

// -------------------------------------------------------------------------------------------------------------- topology

// All intermediate state of one call.
class Extraction {
 public:
  Extraction(const Tables& tables, int64_t batch, const int64_t* ids, int64_t num_ids)
      : tables_(tables), batch_(batch), grid_(tables.vertices + tables.num_edges), ids_(ids),
        half_words_(2 * blocks_of(tables.num_edges)), face_words_(blocks_of(tables.num_faces)), active_words_(blocks_of(grid_)),
        ranks_(scratch<Rank>(batch * (half_words_ + face_words_ + active_words_))),
        signs_(scratch<FaceSigns>(batch * face_words_)),
        size_(group_size(batch)), crossed_(batch), counts_(batch, Counts{0, 0, 0, 0, 0}), bases_(batch) {
    for (int64_t b = 0; b < batch; ++b) {
      first_ids_.push_back(std::lower_bound(ids, ids + num_ids, b * tables.num_edges) - ids);
      Rank* const halves = ranks_.get() + b * (half_words_ + face_words_ + active_words_);
      maps_.push_back({halves, halves + half_words_, halves + half_words_ + face_words_, signs_.get() + b * face_words_,
                       half_words_, face_words_, active_words_});
    }
    first_ids_.push_back(num_ids);
  }

  // Bitmaps and crossed tetrahedra. sdf [B, V], midpoint_sdf [M].
  template <class T>
  void find(const T* sdf, const T* midpoint_sdf) {
    for_groups([&](int64_t group, int64_t first, int samples) {
      const auto inside = scratch<uint64_t>(grid_);
      std::vector<uint64_t> active(grid_, 0);
      pack(sdf + first * tables_.vertices, tables_.vertices, samples, inside.get());
      signs_of_midpoints(midpoint_sdf, first, samples, inside.get());
      const Bitmaps* maps = maps_.data() + first;
      TETRAGAN_CALL(scan_coarse_edges, (tables_, inside.get(), samples, active.data(), maps));
      TETRAGAN_CALL(scan_coarse_faces, (tables_, inside.get(), samples, active.data(), maps));
      const auto found = scratch<Crossed>(samples * kTetChunk);
      std::vector<Crossed*> ends(samples);
      for (int64_t begin = 0; begin < tables_.num_tets; begin += kTetChunk) {
        for (int s = 0; s < samples; ++s) ends[s] = found.get() + s * kTetChunk;
        TETRAGAN_CALL(scan_coarse_tets, (tables_, all_cases(), inside.get(), begin, std::min(begin + kTetChunk, tables_.num_tets),
                                         active.data(), ends.data(), counts_.data() + first));
        for (int s = 0; s < samples; ++s) {
          std::vector<Crossed>& list = crossed_[first + s];
          list.insert(list.end(), found.get() + s * kTetChunk, ends[s]);
        }
      }
      TETRAGAN_CALL(scan_active_vertices, (active.data(), grid_, samples, maps));
    });
  }

  // Ranks, and the offsets [3, B + 1]: surface vertices, faces, active vertices.
  void count(int64_t* offsets) {
    int64_t *vertices = offsets, *faces = offsets + batch_ + 1, *active = faces + batch_ + 1;
    parallel_tasks(batch_, [&](int64_t b) { TETRAGAN_CALL(count_sample, (maps_[b], counts_[b])); });
    for (int64_t b = 0; b < batch_; ++b) {
      const Counts& counts = counts_[b];
      const int64_t on_faces = vertices[b] + counts.halves, at_diagonals = on_faces + 2 * counts.faces;
      bases_[b] = {vertices[b], on_faces, at_diagonals, active[b], faces[b], b * grid_};
      vertices[b + 1] = at_diagonals + counts.diagonals;
      faces[b + 1] = faces[b] + counts.triangles;
      active[b + 1] = active[b] + counts.active;
    }
  }

  void write(const Output& out) const {
    for_chunks(half_words_, [&](int64_t b, int64_t begin, int64_t end) {
      TETRAGAN_CALL(write_halves, (tables_, maps_[b], bases_[b], begin, end, out));
    });
    for_chunks(face_words_, [&](int64_t b, int64_t begin, int64_t end) {
      TETRAGAN_CALL(write_edges_on_faces, (tables_, maps_[b], bases_[b], begin, end, out));
    });
    for_chunks(active_words_, [&](int64_t b, int64_t begin, int64_t end) {
      TETRAGAN_CALL(write_active_vertices, (tables_, maps_[b], bases_[b], b * tables_.vertices, begin, end, out));
    });
    // Sample after sample within each chunk: parts of a sample's bitmaps serve many tetrahedra, and tables are read once.
    for_groups([&](int64_t, int64_t first, int samples) {
      std::vector<Cursor> cursors;
      for (int64_t b = first; b < first + samples; ++b) cursors.push_back({0, bases_[b].triangles, bases_[b].at_diagonals});
      for (int64_t last_tet = kTetChunk; last_tet < tables_.num_tets + kTetChunk; last_tet += kTetChunk) {
        for (int64_t b = first; b < first + samples; ++b) {
          const std::vector<Crossed>& list = crossed_[b];
          TETRAGAN_CALL(write_crossed_tets, (tables_, all_cases(), list.data(), static_cast<int64_t>(list.size()), last_tet,
                                             maps_[b], bases_[b], counts_[b], out, cursors[b - first]));
        }
      }
    });
    parallel_tasks(batch_, [&](int64_t b) {
      const int64_t begin = first_ids_[b], num_ids = first_ids_[b + 1] - begin;
      TETRAGAN_CALL(write_rows, (tables_, maps_[b], counts_[b], bases_[b], ids_ + begin, num_ids, b * tables_.num_edges, begin,
                                 out.rows));
    });
  }

 private:
  // f(group, first sample, number of samples).
  template <class F>
  void for_groups(const F& f) const {
    parallel_tasks(chunks_of(batch_, size_), [&](int64_t group) {
      f(group, group * size_, static_cast<int>(std::min(size_, batch_ - group * size_)));
    });
  }

  // f(sample, first word, last word) for all samples in each chunk of bitmaps of `words` words, so that tables are read once.
  template <class F>
  void for_chunks(int64_t words, const F& f) const {
    parallel_tasks(chunks_of(words, kWordChunk), [&](int64_t chunk) {
      const int64_t begin = chunk * kWordChunk, end = std::min(begin + kWordChunk, words);
      for (int64_t b = 0; b < batch_; ++b) f(b, begin, end);
    });
  }

  // Midpoints that are not given count as inside if both ends are.
  template <class T>
  void signs_of_midpoints(const T* midpoint_sdf, int64_t first, int samples, uint64_t* inside) const {
    uint64_t* middle = inside + tables_.vertices;
    for (int64_t e = 0; e < tables_.num_edges; ++e) middle[e] = inside[tables_.edges[2 * e]] & inside[tables_.edges[2 * e + 1]];
    for (int s = 0; s < samples; ++s) {
      const int64_t first_edge = (first + s) * tables_.num_edges, end = first_ids_[first + s + 1];
      for (int64_t i = first_ids_[first + s]; i < end; ++i) {
        uint64_t& word = middle[ids_[i] - first_edge];
        word = (word & ~(uint64_t{1} << s)) | static_cast<uint64_t>(midpoint_sdf[i] < T(0)) << s;
      }
    }
  }

  const Tables tables_;
  const int64_t batch_, grid_;
  const int64_t* const ids_;
  std::vector<int64_t> first_ids_;  // of each sample, among the given midpoints
  const int64_t half_words_, face_words_, active_words_;
  std::unique_ptr<Rank[]> ranks_;
  std::unique_ptr<FaceSigns[]> signs_;
  std::vector<Bitmaps> maps_;
  const int64_t size_;                         // of a group of samples
  std::vector<std::vector<Crossed>> crossed_;  // of each sample
  std::vector<Counts> counts_;
  std::vector<SampleBase> bases_;
};

std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor> topology(
    const Tensor& sdf, const Tensor& midpoint_ids, const Tensor& midpoint_sdf, const Tensor& tets, const Tensor& edges,
    const Tensor& tet_edges, const Tensor& tet_faces, const Tensor& face_edges, const Tensor& splits) {
  const int64_t batch = sdf.size(0);
  const Tables tables{data<int32_t>(tets),       data<int32_t>(edges),     data<int32_t>(tet_edges), data<int32_t>(tet_faces),
                      data<int32_t>(face_edges), data<int32_t>(splits), sdf.size(1),              edges.size(0),
                      face_edges.size(0),        tets.size(0)};
  Extraction extraction(tables, batch, data<int64_t>(midpoint_ids), midpoint_ids.size(0));
  dispatch_floating(sdf, "subdivided_tets_topology", [&](auto zero) {
    using T = decltype(zero);
    extraction.find(data<T>(sdf), data<T>(midpoint_sdf));
  });
  Tensor offsets = zeros_like_of(tets, {3, batch + 1}, ScalarType::Long);
  int64_t *vertices = mutable_data<int64_t>(offsets), *faces = vertices + batch + 1, *active = faces + batch + 1;
  extraction.count(vertices);
  Tensor out_faces = empty_like_of(tets, {faces[batch], 3}, ScalarType::Int);
  Tensor edge_vertices = empty_like_of(tets, {vertices[batch], 2}, ScalarType::Long);
  Tensor edge_active = empty_like_of(tets, {vertices[batch], 2}, ScalarType::Long);
  Tensor out_active = empty_like_of(tets, {active[batch]}, ScalarType::Long);
  Tensor parents = empty_like_of(tets, {active[batch], 2}, ScalarType::Long);
  Tensor rows = empty_like_of(tets, {active[batch]}, ScalarType::Long);
  extraction.write({mutable_data<int32_t>(out_faces), mutable_data<int64_t>(edge_vertices),
                              mutable_data<int64_t>(edge_active), mutable_data<int64_t>(out_active),
                              mutable_data<int64_t>(parents), mutable_data<int64_t>(rows)});
  return {out_faces, edge_vertices, out_active, edge_active, parents, rows, offsets};
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(tetragan, CPU, m) {
  m.impl("midpoints_near_surface", TORCH_BOX(&midpoints));
  m.impl("subdivided_tets_topology", TORCH_BOX(&topology));
}

}  // namespace tetragan
