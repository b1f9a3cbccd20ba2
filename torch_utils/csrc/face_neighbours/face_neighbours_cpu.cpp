// CPU kernel of `face_neighbours`: edges sorted into buckets by their lower vertex, then matched within a bucket, in linear
// time for meshes of bounded valence. An entry is written by one task alone.
#include "common/cpu.h"

namespace tetragan {
namespace {

struct HalfEdge {
  int32_t high;  // the edge's higher vertex
  int32_t slot;  // 3·face + edge
};

// Pair the half edges of one bucket (all have the same lower vertex): exactly two of an edge are neighbours.
void match_bucket(HalfEdge* begin, HalfEdge* end, int32_t* neighbours) {
  std::sort(begin, end, [](const HalfEdge& a, const HalfEdge& b) {
    return a.high != b.high ? a.high < b.high : a.slot < b.slot;
  });
  for (HalfEdge* first = begin; first < end;) {
    HalfEdge* last = first;
    while (last < end && last->high == first->high) ++last;
    const bool pair = last - first == 2 && first[0].slot / 3 != first[1].slot / 3;
    for (HalfEdge* edge = first; edge < last; ++edge) neighbours[edge->slot] = -1;
    if (pair) {
      neighbours[first[0].slot] = first[1].slot / 3;
      neighbours[first[1].slot] = first[0].slot / 3;
    }
    first = last;
  }
}

Tensor face_neighbours(const Tensor& faces) {
  const int64_t count = faces.size(0);
  Tensor out = empty_like_of(faces, {count, 3});
  const int32_t* face = data<int32_t>(faces);
  int32_t* neighbours = mutable_data<int32_t>(out);
  int32_t highest = -1;
  for (int64_t i = 0; i < 3 * count; ++i) highest = std::max(highest, face[i]);

  std::vector<int64_t> start(highest + 2, 0);
  const auto ends = [&](int64_t slot, int32_t& low, int32_t& high) {
    const int32_t* f = face + slot / 3 * 3;
    const int64_t k = slot % 3;
    const int32_t a = f[k == 2 ? 0 : k + 1], b = f[k == 0 ? 2 : k - 1];
    low = std::min(a, b);
    high = std::max(a, b);
    return low != high && low >= 0;  // an edge from a vertex to itself has no neighbour
  };
  int32_t low, high;
  for (int64_t slot = 0; slot < 3 * count; ++slot) {
    neighbours[slot] = -1;
    if (ends(slot, low, high)) ++start[low + 1];
  }
  for (size_t i = 1; i < start.size(); ++i) start[i] += start[i - 1];
  std::vector<HalfEdge> edges(start.back());
  std::vector<int64_t> next(start.begin(), start.end() - 1);
  for (int64_t slot = 0; slot < 3 * count; ++slot) {
    if (ends(slot, low, high)) edges[next[low]++] = {high, static_cast<int32_t>(slot)};
  }
  torch::stable::parallel_for(0, highest + 1, 4096, [&](int64_t begin, int64_t end) {
    for (int64_t vertex = begin; vertex < end; ++vertex) {
      match_bucket(edges.data() + start[vertex], edges.data() + start[vertex + 1], neighbours);
    }
  });
  return out;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(tetragan, CPU, m) { m.impl("face_neighbours", TORCH_BOX(&face_neighbours)); }

}  // namespace tetragan
