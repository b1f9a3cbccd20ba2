// Binding of the CUDA kernels of `flexicubes`: memory, one copy of the counts to the host, outputs.
#include "common/cuda.h"
#include "flexicubes/flexicubes_cuda.h"

namespace tetragan {
namespace {

using namespace flexicubes;

template <class T>
T* carve(char*& at, int64_t count) {
  T* result = reinterpret_cast<T*>(at);
  at += (count * static_cast<int64_t>(sizeof(T)) + 15) / 16 * 16;
  return result;
}

// Lays the scratch out from `at` on; returns the end. Called twice: for the size (from null), then for the pointers.
char* lay_out(char* at, Lattice lattice, int64_t batch, Scratch& scratch) {
  const int64_t cubes = batch * lattice.cubes(), vertices = batch * lattice.vertices();
  const int64_t cube_runs = batch * runs_of(lattice.cubes()), vertex_runs = batch * runs_of(lattice.vertices());
  scratch.cube_runs = carve<int64_t>(at, cube_runs);
  scratch.vertex_runs = carve<int64_t>(at, cube_runs);
  scratch.quad_runs = carve<int64_t>(at, vertex_runs);
  scratch.active_runs = carve<int64_t>(at, vertex_runs);
  scratch.first = carve<int32_t>(at, cubes);
  scratch.row_of = carve<int32_t>(at, vertices);
  scratch.cases = carve<uint16_t>(at, cubes);
  scratch.codes = carve<uint8_t>(at, cubes);
  return at;
}

std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor> topology(const Tensor& sdf, const Tensor& groups,
                                                                                    const Tensor& ambiguous, int64_t cells) {
  const OnDevice on(sdf);
  const Lattice lattice{cells};
  const int64_t batch = sdf.size(0);
  Scratch scratch{};
  const int64_t bytes = reinterpret_cast<intptr_t>(lay_out(nullptr, lattice, batch, scratch));
  Tensor memory = zeros_like_of(groups, {bytes}, ScalarType::Byte);
  lay_out(mutable_data<char>(memory), lattice, batch, scratch);
  Tensor counts = zeros_like_of(groups, {4, batch + 1}, ScalarType::Long);
  dispatch_floating(sdf, "flexicubes_topology", [&](auto zero) {
    launch_count(data<decltype(zero)>(sdf), data<int32_t>(groups), data<int32_t>(ambiguous), lattice, batch, scratch,
                 mutable_data<int64_t>(counts), on.stream);
  });
  check_launch("flexicubes_topology");
  // The one host synchronization: the counts size the outputs.
  Tensor offsets = torch::stable::to(counts, torch::stable::Device(torch::headeronly::DeviceType::CPU));
  const int64_t* o = data<int64_t>(offsets);
  const int64_t cubes = o[batch], vertices = o[2 * batch + 1], quads = o[3 * batch + 2], active = o[4 * batch + 3];
  Tensor cube = empty_like_of(groups, {cubes}, ScalarType::Long);
  Tensor cube_corners = empty_like_of(groups, {cubes, kCorners}, ScalarType::Long);
  Tensor vertex_cube = empty_like_of(groups, {vertices}, ScalarType::Long);
  Tensor vertex_edges = empty_like_of(groups, {vertices}, ScalarType::Int);
  Tensor quad = empty_like_of(groups, {quads, 4}, ScalarType::Int);
  Tensor quad_ends = empty_like_of(groups, {quads, 2}, ScalarType::Long);
  Tensor active_ids = empty_like_of(groups, {active}, ScalarType::Long);
  const Outputs outputs{mutable_data<int64_t>(cube),         mutable_data<int64_t>(cube_corners),
                        mutable_data<int64_t>(vertex_cube),  mutable_data<int32_t>(vertex_edges),
                        mutable_data<int32_t>(quad),         mutable_data<int64_t>(quad_ends),
                        mutable_data<int64_t>(active_ids)};
  dispatch_floating(sdf, "flexicubes_topology", [&](auto zero) {
    launch_write(data<decltype(zero)>(sdf), data<int32_t>(groups), lattice, batch, scratch, data<int64_t>(counts), outputs,
                 on.stream);
  });
  check_launch("flexicubes_topology");
  return {cube, cube_corners, vertex_cube, vertex_edges, quad, quad_ends, active_ids, offsets};
}

template <class T>
VertexInputs<T> inputs_of(const Tensor& sdf, const Tensor& positions, const Tensor& alpha, const Tensor& beta,
                          const Tensor& cube_corners, const Tensor& vertex_cube, const Tensor& vertex_edges) {
  return {data<T>(sdf),          data<T>(positions),         data<T>(alpha),
          data<T>(beta),         data<int64_t>(cube_corners), data<int64_t>(vertex_cube),
          data<int32_t>(vertex_edges), sdf.size(0),           alpha.size(0),
          vertex_cube.size(0)};
}

std::tuple<Tensor, Tensor> vertices(const Tensor& sdf, const Tensor& positions, const Tensor& alpha, const Tensor& beta,
                                    const Tensor& cube_corners, const Tensor& vertex_cube, const Tensor& vertex_edges) {
  const OnDevice on(sdf);
  const int64_t count = vertex_cube.size(0);
  Tensor points = empty_like_of(sdf, {count, 3}), spreads = empty_like_of(sdf, {count});
  dispatch_floating(sdf, "flexicubes_vertices", [&](auto zero) {
    using T = decltype(zero);
    launch_vertices(inputs_of<T>(sdf, positions, alpha, beta, cube_corners, vertex_cube, vertex_edges),
                    mutable_data<T>(points), mutable_data<T>(spreads), on.stream);
  });
  check_launch("flexicubes_vertices");
  return {points, spreads};
}

std::tuple<Tensor, Tensor, Tensor, Tensor> vertices_backward(const Tensor& grad_points, const Tensor& grad_spreads,
                                                             const Tensor& sdf, const Tensor& positions, const Tensor& alpha,
                                                             const Tensor& beta, const Tensor& cube_corners,
                                                             const Tensor& vertex_cube, const Tensor& vertex_edges) {
  const OnDevice on(sdf);
  const int64_t rows = sdf.size(0), cubes = alpha.size(0);
  Tensor grad_sdf = zeros_like_of(sdf, {rows}), grad_positions = zeros_like_of(sdf, {rows, 3});
  Tensor grad_alpha = zeros_like_of(sdf, {cubes, kCorners}), grad_beta = zeros_like_of(sdf, {cubes, kEdges});
  dispatch_floating(sdf, "flexicubes_vertices", [&](auto zero) {
    using T = decltype(zero);
    launch_vertices_backward(inputs_of<T>(sdf, positions, alpha, beta, cube_corners, vertex_cube, vertex_edges),
                             data<T>(grad_points), data<T>(grad_spreads), mutable_data<T>(grad_sdf),
                             mutable_data<T>(grad_positions), mutable_data<T>(grad_alpha), mutable_data<T>(grad_beta),
                             on.stream);
  });
  check_launch("flexicubes_vertices");
  return {grad_sdf, grad_positions, grad_alpha, grad_beta};
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(tetragan, CUDA, m) {
  m.impl("flexicubes_topology", TORCH_BOX(&topology));
  m.impl("flexicubes_vertices", TORCH_BOX(&vertices));
  m.impl("flexicubes_vertices_backward", TORCH_BOX(&vertices_backward));
}

}  // namespace tetragan
