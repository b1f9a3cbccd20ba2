// Binding of the CUDA kernels of `marching_tets`: memory, one copy of the counts to the host, outputs.
#include "common/cuda.h"
#include "marching_tets/marching_tets_cuda.h"

namespace tetragan {
namespace {

using namespace marching;

template <class T>
T* carve(char*& at, int64_t count) {
  T* result = reinterpret_cast<T*>(at);
  at += (count * static_cast<int64_t>(sizeof(T)) + 15) / 16 * 16;
  return result;
}

// Lays the bitmaps out from `at` on; returns the end. Called twice: for the size (from null), then for the pointers.
char* lay_out(char* at, const Tables& tables, int64_t batch, Bitmaps& maps) {
  maps.edge_words = words_of(tables.num_edges);
  maps.vertex_words = words_of(tables.num_vertices);
  maps.tet_words = words_of(tables.num_tets);
  const int64_t edges = batch * maps.edge_words, vertices = batch * maps.vertex_words, tets = batch * maps.tet_words;
  maps.edge_base = carve<int64_t>(at, scan_blocks(edges) + 1);
  maps.vertex_base = carve<int64_t>(at, scan_blocks(vertices) + 1);
  maps.face_base = carve<int64_t>(at, scan_blocks(tets) + 1);
  maps.edges = carve<uint32_t>(at, edges);
  maps.vertices = carve<uint32_t>(at, vertices);
  maps.mixed = carve<uint32_t>(at, tets);
  maps.two = carve<uint32_t>(at, tets);
  maps.edge_before = carve<int32_t>(at, edges);
  maps.vertex_before = carve<int32_t>(at, vertices);
  maps.face_before = carve<int32_t>(at, tets);
  return at;
}

std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor> topology(const Tensor& sdf, const Tensor& tets, const Tensor& edges,
                                                            const Tensor& tet_edges) {
  const OnDevice on(sdf);
  const int64_t batch = sdf.size(0);
  const Tables tables{data<int32_t>(tets), data<int32_t>(edges), data<int32_t>(tet_edges),
                      sdf.size(1),         edges.size(0),        tets.size(0)};
  STD_TORCH_CHECK(tables.num_vertices > 0 || (tables.num_edges == 0 && tables.num_tets == 0),
                  "marching_tets_topology(): expected tets and edges in [0, 0), got some");
  Bitmaps maps{};
  const int64_t bytes = reinterpret_cast<intptr_t>(lay_out(nullptr, tables, batch, maps));
  Tensor memory = zeros_like_of(tets, {bytes}, ScalarType::Byte);
  lay_out(mutable_data<char>(memory), tables, batch, maps);
  Tensor counts = zeros_like_of(tets, {4, batch + 1}, ScalarType::Long);
  dispatch_floating(sdf, "marching_tets_topology", [&](auto zero) {
    launch_count(data<decltype(zero)>(sdf), tables, batch, maps, mutable_data<int64_t>(counts), on.stream);
  });
  check_launch("marching_tets_topology");
  // The one host synchronization: the counts size the outputs.
  Tensor offsets = torch::stable::to(counts, torch::stable::Device(torch::headeronly::DeviceType::CPU));
  const int64_t* o = data<int64_t>(offsets);
  const bool sound = o[3 * (batch + 1)] == 0;
  const int64_t vertices = sound ? o[batch] : 0, num_faces = sound ? o[2 * batch + 1] : 0;
  Tensor faces = empty_like_of(tets, {num_faces, 3}, ScalarType::Int);
  Tensor edge_vertices = empty_like_of(tets, {vertices, 2}, ScalarType::Long);
  Tensor active = empty_like_of(tets, {sound ? o[3 * batch + 2] : 0}, ScalarType::Long);
  Tensor edge_active = empty_like_of(tets, {vertices, 2}, ScalarType::Long);
  if (sound) {
    dispatch_floating(sdf, "marching_tets_topology", [&](auto zero) {
      launch_write(data<decltype(zero)>(sdf), tables, batch, maps, mutable_data<int32_t>(faces), vertices,
                   mutable_data<int64_t>(edge_vertices), mutable_data<int64_t>(active), mutable_data<int64_t>(edge_active),
                   on.stream);
    });
    check_launch("marching_tets_topology");
  }
  return {faces, edge_vertices, active, edge_active, offsets};
}

Tensor crossings(const Tensor& sdf, const Tensor& positions, const Tensor& pairs) {
  const OnDevice on(sdf);
  Tensor out = empty_like_of(positions, {pairs.size(0), 3});
  dispatch_floating(sdf, "edge_crossings", [&](auto zero) {
    using T = decltype(zero);
    launch_crossings(data<T>(sdf), data<T>(positions), data<int64_t>(pairs), pairs.size(0), sdf.size(0), positions.size(0),
                     mutable_data<T>(out), on.stream);
  });
  check_launch("edge_crossings");
  return out;
}

std::tuple<Tensor, Tensor> crossings_backward(const Tensor& grad, const Tensor& sdf, const Tensor& positions,
                                              const Tensor& pairs, bool to_positions) {
  const OnDevice on(sdf);
  const int64_t rows = positions.size(0);
  Tensor grad_sdf = zeros_like_of(sdf, {sdf.size(0)}), grad_positions = zeros_like_of(positions, {to_positions ? rows : 0, 3});
  dispatch_floating(sdf, "edge_crossings", [&](auto zero) {
    using T = decltype(zero);
    launch_crossings_backward(data<T>(grad), data<T>(sdf), data<T>(positions), data<int64_t>(pairs), pairs.size(0),
                              sdf.size(0), rows, mutable_data<T>(grad_sdf),
                              to_positions ? mutable_data<T>(grad_positions) : nullptr, on.stream);
  });
  check_launch("edge_crossings");
  return {grad_sdf, grad_positions};
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(tetragan, CUDA, m) {
  m.impl("marching_tets_topology", TORCH_BOX(&topology));
  m.impl("edge_crossings", TORCH_BOX(&crossings));
  m.impl("edge_crossings_backward", TORCH_BOX(&crossings_backward));
}

}  // namespace tetragan
