// CPU kernel of `face_neighbors`, in linear time: each edge is listed under its lower vertex, where later half edges find
// it. A task owns the edges whose lower vertex lies in its range, so every entry is written by one task only.
#include <unordered_map>

#include "common/cpu.h"

namespace tetragan {
namespace {

// An edge: its other end, its half edges (3·face + edge; kMany: more than two), and the previous edge of the same vertex.
struct Edge {
  int32_t high, first, second, before;
};
constexpr int32_t kNone = -1, kMany = -2;
// Maximal length of a vertex's list; further edges, as at the hub of a large fan, go to a hash table.
constexpr int kListed = 64;
// Ids for each face beyond which they are renumbered first.
constexpr int64_t kMostIds = 64;

// Neighbors across all edges whose lower vertex lies in [begin, end).
void match_edges(const int32_t* faces, int64_t count, int64_t begin, int64_t end, int32_t* neighbors) {
  std::vector<int32_t> latest(end - begin, kNone);  // of each vertex: its latest edge
  std::vector<Edge> edges;
  edges.reserve(3 * std::min(end - begin, count));  // a closed mesh has three edges a vertex
  std::unordered_map<int64_t, int32_t> unlisted;   // by both ends
  for (int64_t face = 0; face < count; ++face) {
    const int32_t* f = faces + 3 * face;
    for (int k = 0; k < 3; ++k) {
      const int32_t a = f[k == 2 ? 0 : k + 1], b = f[k == 0 ? 2 : k - 1];
      const int32_t low = std::min(a, b), high = std::max(a, b);
      if (low < begin || low >= end) continue;
      const auto slot = static_cast<int32_t>(3 * face + k);
      neighbors[slot] = kNone;
      if (low == high) continue;  // an edge from a vertex to itself has no neighbor
      int32_t& newest = latest[low - begin];
      int32_t found = newest;
      int listed = 0;
      for (; found != kNone && edges[found].high != high; ++listed) found = edges[found].before;
      if (found == kNone && listed < kListed) {
        edges.push_back({high, slot, kNone, newest});
        newest = static_cast<int32_t>(edges.size()) - 1;
        continue;
      }
      if (found == kNone) {
        const int64_t ends = static_cast<int64_t>(low) << 32 | high;
        const auto [entry, added] = unlisted.try_emplace(ends, static_cast<int32_t>(edges.size()));
        found = entry->second;
        if (added) {
          edges.push_back({high, slot, kNone, kNone});
          continue;
        }
      }
      Edge& edge = edges[found];
      if (edge.second == kNone && edge.first / 3 != face) {
        edge.second = slot;
        neighbors[slot] = edge.first / 3;
        neighbors[edge.first] = static_cast<int32_t>(face);
      } else {
        neighbors[edge.first] = kNone;
        if (edge.second >= 0) neighbors[edge.second] = kNone;
        edge.second = kMany;
      }
    }
  }
}

// The ids as places among those that occur: in the same order, but fewer than 3 · faces.
std::vector<int32_t> dense_ids(const int32_t* faces, int64_t count) {
  std::vector<int32_t> known(faces, faces + 3 * count), dense(3 * count);
  std::sort(known.begin(), known.end());
  known.erase(std::unique(known.begin(), known.end()), known.end());
  for (int64_t i = 0; i < 3 * count; ++i) {
    dense[i] = static_cast<int32_t>(std::lower_bound(known.begin(), known.end(), faces[i]) - known.begin());
  }
  return dense;
}

Tensor face_neighbors(const Tensor& faces) {
  const int64_t count = faces.size(0);
  Tensor out = empty_like_of(faces, {count, 3});
  const int32_t* face = data<int32_t>(faces);
  int32_t* neighbors = mutable_data<int32_t>(out);
  const auto highest = [&] { return count == 0 ? -1 : *std::max_element(face, face + 3 * count); };
  std::vector<int32_t> dense;
  if (highest() > kMostIds * count) {  // tables over all ids would need memory without bound
    dense = dense_ids(face, count);
    face = dense.data();
  }
  const int64_t vertices = static_cast<int64_t>(highest()) + 1, tasks = torch::stable::get_num_threads();
  parallel_tasks(tasks, [&](int64_t task) {
    match_edges(face, count, vertices * task / tasks, vertices * (task + 1) / tasks, neighbors);
  });
  return out;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(tetragan, CPU, m) { m.impl("face_neighbors", TORCH_BOX(&face_neighbors)); }

}  // namespace tetragan
