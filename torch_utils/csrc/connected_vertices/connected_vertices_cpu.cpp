// CPU kernel of `connected_vertices`: union-find. Of two roots the higher one gets the lower as its parent, so that the
// root of a component is its lowest vertex.
#include "common/cpu.h"

namespace tetragan {
namespace {

int64_t root_of(int64_t* parent, int64_t vertex) {
  while (parent[vertex] != vertex) {
    parent[vertex] = parent[parent[vertex]];  // halves the path for the next search
    vertex = parent[vertex];
  }
  return vertex;
}

Tensor connected_vertices(const Tensor& faces, int64_t count) {
  Tensor out = empty_like_of(faces, {count}, ScalarType::Long);
  int64_t* parent = mutable_data<int64_t>(out);
  for (int64_t vertex = 0; vertex < count; ++vertex) parent[vertex] = vertex;
  const int32_t* face = data<int32_t>(faces);
  for (int64_t f = 0; f < faces.size(0); ++f) {
    for (int k = 0; k < 2; ++k) {
      const int64_t a = root_of(parent, face[3 * f + k]), b = root_of(parent, face[3 * f + k + 1]);
      parent[std::max(a, b)] = std::min(a, b);
    }
  }
  // Parents are lower than their children, so they are roots already.
  for (int64_t vertex = 0; vertex < count; ++vertex) parent[vertex] = parent[parent[vertex]];
  return out;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(tetragan, CPU, m) { m.impl("connected_vertices", TORCH_BOX(&connected_vertices)); }

}  // namespace tetragan
