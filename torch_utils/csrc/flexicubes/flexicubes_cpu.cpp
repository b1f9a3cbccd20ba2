// CPU kernel of `flexicubes`. Topology: a task owns one sample, in two passes (counts, then outputs at known positions). Dual
// vertices: a task owns a range of cubes. Their gradients: first each cube's own, then each row of the SDF adds what its cubes
// have for it, in their order, so that the result is the same for any number of threads.
#include "common/cpu.h"
#include "flexicubes/flexicubes.h"

namespace tetragan {
namespace {

using namespace flexicubes;

constexpr int64_t kChunk = 256;

// Everything about one sample between the two passes.
struct Sample {
  std::vector<uint8_t> codes;
  std::vector<uint16_t> cases;
  int64_t cubes = 0, vertices = 0, quads = 0, active = 0;
};

struct CaseTable {
  const int32_t *groups, *ambiguous;
  int counts[kCases];
  int32_t edges[kCases][kMaxGroups];

  CaseTable(const int32_t* groups, const int32_t* ambiguous) : groups(groups), ambiguous(ambiguous) {
    for (int row = 0; row < kCases; ++row) {
      counts[row] = std::min(count_groups(groups, row), kMaxGroups);
      for (int g = 0; g < kMaxGroups; ++g) edges[row][g] = edges_of_group(groups, row, g);
    }
  }
};

// Calls f(vertex, axis) for each quadrilateral of a sample, by grid vertex, then axis.
template <class T, class F>
void for_quads(const Lattice& lattice, const T* sdf, const F& f) {
  const int64_t side = lattice.side(), cells = lattice.cells;
  const auto inner = [&](int64_t at) { return at > 0 && at < cells; };
  for (int64_t x = 0, v = 0; x < side; ++x) {
    for (int64_t y = 0; y < side; ++y) {
      for (int64_t z = 0; z < side; ++z, ++v) {
        const bool here = sdf[v] < T(0);
        if (x < cells && inner(y) && inner(z) && here != (sdf[v + side * side] < T(0))) f(v, 0);
        if (y < cells && inner(x) && inner(z) && here != (sdf[v + side] < T(0))) f(v, 1);
        if (z < cells && inner(x) && inner(y) && here != (sdf[v + 1] < T(0))) f(v, 2);
      }
    }
  }
}

template <class T>
void count_sample(const Lattice& lattice, const T* sdf, const CaseTable& table, Sample& sample) {
  const int64_t cells = lattice.cells;
  sample.codes.resize(lattice.cubes());
  sample.cases.resize(lattice.cubes());
  std::vector<uint8_t> active(lattice.vertices(), 0);
  int64_t steps[kCorners];
  for (int k = 0; k < kCorners; ++k) steps[k] = lattice.corner_step(k);
  for (int64_t x = 0, c = 0; x < cells; ++x) {
    for (int64_t y = 0; y < cells; ++y) {
      const int64_t row = (x * lattice.side() + y) * lattice.side();
      for (int64_t z = 0; z < cells; ++z, ++c) {
        int code = 0;
        for (int k = 0; k < kCorners; ++k) code |= (sdf[row + z + steps[k]] < T(0)) << k;
        sample.codes[c] = static_cast<uint8_t>(code);
        if (is_surface(code)) {
          for (int k = 0; k < kCorners; ++k) active[row + z + steps[k]] = 1;
        }
      }
    }
  }
  for (int64_t c = 0; c < lattice.cubes(); ++c) {
    if (!is_surface(sample.codes[c])) continue;
    sample.cases[c] = static_cast<uint16_t>(resolved_case(lattice, sample.codes.data(), table.ambiguous, c));
    ++sample.cubes;
    sample.vertices += table.counts[sample.cases[c]];
  }
  for (const uint8_t each : active) sample.active += each;
  for_quads(lattice, sdf, [&](int64_t, int) { ++sample.quads; });
}

// Where a sample's outputs begin, and the outputs.
struct Output {
  int64_t cubes, vertices, quads, active;
  int64_t *cube, *cube_corners, *vertex_cube, *active_ids, *quad_ends;
  int32_t *vertex_edges, *quad;
};

template <class T>
void write_sample(const Lattice& lattice, const T* sdf, const CaseTable& table, const Sample& sample, int64_t b, Output out) {
  std::vector<int32_t> first(lattice.cubes(), 0), row_of(lattice.vertices(), -1);
  int64_t cube = out.cubes, vertex = out.vertices, active = out.active, quad = out.quads;
  for (int64_t c = 0; c < lattice.cubes(); ++c) {
    if (!is_surface(sample.codes[c])) continue;
    const int64_t corner = lattice.first_corner(c);
    for (int k = 0; k < kCorners; ++k) row_of[corner + lattice.corner_step(k)] = 0;
    out.cube[cube] = b * lattice.cubes() + c;
    first[c] = static_cast<int32_t>(vertex);
    const int which = sample.cases[c];
    for (int g = 0; g < table.counts[which]; ++g, ++vertex) {
      out.vertex_cube[vertex] = cube;
      out.vertex_edges[vertex] = table.edges[which][g];
    }
    ++cube;
  }
  for (int64_t v = 0; v < lattice.vertices(); ++v) {
    if (row_of[v] < 0) continue;
    row_of[v] = static_cast<int32_t>(active);
    out.active_ids[active++] = b * lattice.vertices() + v;
  }
  for (int64_t row = out.cubes; row < cube; ++row) {
    const int64_t corner = lattice.first_corner(out.cube[row] - b * lattice.cubes());
    for (int k = 0; k < kCorners; ++k) out.cube_corners[kCorners * row + k] = row_of[corner + lattice.corner_step(k)];
  }
  for_quads(lattice, sdf, [&](int64_t v, int axis) {
    quad_vertices(lattice, table.groups, sample.cases.data(), first.data(), v, axis, sdf[v] < T(0), out.quad + 4 * quad);
    out.quad_ends[2 * quad] = row_of[v];
    out.quad_ends[2 * quad + 1] = row_of[v + lattice.vertex_step(axis)];
    ++quad;
  });
}

std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor> topology(const Tensor& sdf, const Tensor& groups,
                                                                                    const Tensor& ambiguous, int64_t cells) {
  const Lattice lattice{cells};
  const int64_t batch = sdf.size(0);
  const CaseTable table(data<int32_t>(groups), data<int32_t>(ambiguous));
  std::vector<Sample> samples(batch);
  dispatch_floating(sdf, "flexicubes_topology", [&](auto zero) {
    using T = decltype(zero);
    const T* values = data<T>(sdf);
    parallel_tasks(batch, [&](int64_t b) { count_sample(lattice, values + b * lattice.vertices(), table, samples[b]); });
  });
  Tensor offsets = zeros_like_of(groups, {4, batch + 1}, ScalarType::Long);
  int64_t *cubes = mutable_data<int64_t>(offsets), *vertices = cubes + batch + 1, *quads = vertices + batch + 1,
          *active = quads + batch + 1;
  for (int64_t b = 0; b < batch; ++b) {
    cubes[b + 1] = cubes[b] + samples[b].cubes;
    vertices[b + 1] = vertices[b] + samples[b].vertices;
    quads[b + 1] = quads[b] + samples[b].quads;
    active[b + 1] = active[b] + samples[b].active;
  }
  Tensor cube = empty_like_of(groups, {cubes[batch]}, ScalarType::Long);
  Tensor cube_corners = empty_like_of(groups, {cubes[batch], kCorners}, ScalarType::Long);
  Tensor vertex_cube = empty_like_of(groups, {vertices[batch]}, ScalarType::Long);
  Tensor vertex_edges = empty_like_of(groups, {vertices[batch]}, ScalarType::Int);
  Tensor quad = empty_like_of(groups, {quads[batch], 4}, ScalarType::Int);
  Tensor quad_ends = empty_like_of(groups, {quads[batch], 2}, ScalarType::Long);
  Tensor active_ids = empty_like_of(groups, {active[batch]}, ScalarType::Long);
  dispatch_floating(sdf, "flexicubes_topology", [&](auto zero) {
    using T = decltype(zero);
    const T* values = data<T>(sdf);
    parallel_tasks(batch, [&](int64_t b) {
      const Output out{cubes[b],
                       vertices[b],
                       quads[b],
                       active[b],
                       mutable_data<int64_t>(cube),
                       mutable_data<int64_t>(cube_corners),
                       mutable_data<int64_t>(vertex_cube),
                       mutable_data<int64_t>(active_ids),
                       mutable_data<int64_t>(quad_ends),
                       mutable_data<int32_t>(vertex_edges),
                       mutable_data<int32_t>(quad)};
      write_sample(lattice, values + b * lattice.vertices(), table, samples[b], b, out);
    });
  });
  return {cube, cube_corners, vertex_cube, vertex_edges, quad, quad_ends, active_ids, offsets};
}

template <class T>
CubeInput<T> input_of(const Tensor& sdf, const Tensor& positions, const Tensor& alpha, const Tensor& beta,
                      const Tensor& cube_corners, int64_t cube) {
  return {data<T>(sdf), data<T>(positions), data<T>(alpha) + kCorners * cube, data<T>(beta) + kEdges * cube,
          data<int64_t>(cube_corners) + kCorners * cube};
}

std::tuple<Tensor, Tensor> vertices(const Tensor& sdf, const Tensor& positions, const Tensor& alpha, const Tensor& beta,
                                    const Tensor& cube_corners, const Tensor& vertex_cube, const Tensor& vertex_edges) {
  const int64_t count = vertex_cube.size(0);
  Tensor points = empty_like_of(sdf, {count, 3}), spreads = empty_like_of(sdf, {count});
  const int64_t* cube = data<int64_t>(vertex_cube);
  const int32_t* edges = data<int32_t>(vertex_edges);
  dispatch_floating(sdf, "flexicubes_vertices", [&](auto zero) {
    using T = decltype(zero);
    T *point = mutable_data<T>(points), *spread = mutable_data<T>(spreads);
    torch::stable::parallel_for(0, count, kChunk, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const DualVertex<T> dual(input_of<T>(sdf, positions, alpha, beta, cube_corners, cube[i]), edges[i]);
        for (int k = 0; k < 3; ++k) point[3 * i + k] = dual.point[k];
        spread[i] = dual.spread;
      }
    });
  });
  return {points, spreads};
}

// Gradients of a cube's corners: of the SDF, and of the position.
template <class T>
struct CornerGradient {
  T sdf[kCorners] = {}, position[kCorners][3] = {};
};

std::tuple<Tensor, Tensor, Tensor, Tensor> vertices_backward(const Tensor& grad_points, const Tensor& grad_spreads,
                                                             const Tensor& sdf, const Tensor& positions, const Tensor& alpha,
                                                             const Tensor& beta, const Tensor& cube_corners,
                                                             const Tensor& vertex_cube, const Tensor& vertex_edges) {
  const int64_t count = vertex_cube.size(0), cubes = alpha.size(0), rows = sdf.size(0);
  Tensor grad_sdf = zeros_like_of(sdf, {rows}), grad_positions = zeros_like_of(sdf, {rows, 3});
  Tensor grad_alpha = zeros_like_of(sdf, {cubes, kCorners}), grad_beta = zeros_like_of(sdf, {cubes, kEdges});
  const int64_t *cube = data<int64_t>(vertex_cube), *corner = data<int64_t>(cube_corners);
  const int32_t* edges = data<int32_t>(vertex_edges);
  dispatch_floating(sdf, "flexicubes_vertices", [&](auto zero) {
    using T = decltype(zero);
    const T *of_point = data<T>(grad_points), *of_spread = data<T>(grad_spreads);
    std::vector<CornerGradient<T>> gradients(cubes);
    parallel_tasks((cubes + kChunk - 1) / kChunk, [&](int64_t task) {
      const int64_t begin = task * kChunk, end = std::min(begin + kChunk, cubes);
      const int64_t* first = std::lower_bound(cube, cube + count, begin);
      for (int64_t i = first - cube; i < count && cube[i] < end; ++i) {
        const int64_t c = cube[i];
        T *of_alpha = mutable_data<T>(grad_alpha) + kCorners * c, *of_beta = mutable_data<T>(grad_beta) + kEdges * c;
        CornerGradient<T>& sum = gradients[c];
        dual_vertex_gradient(input_of<T>(sdf, positions, alpha, beta, cube_corners, c), edges[i], of_point + 3 * i,
                             of_spread[i],
                             [&](int e, int a, int b, T s_a, T s_b, T alpha_a, T alpha_b, const T* u, T t, T beta_e) {
                               sum.sdf[a] += s_a;
                               sum.sdf[b] += s_b;
                               of_alpha[a] += alpha_a;
                               of_alpha[b] += alpha_b;
                               of_beta[e] += beta_e;
                               for (int k = 0; k < 3; ++k) {
                                 sum.position[a][k] += (1 - t) * u[k];
                                 sum.position[b][k] += t * u[k];
                               }
                             });
      }
    });
    T *out_sdf = mutable_data<T>(grad_sdf), *out_positions = mutable_data<T>(grad_positions);
    const int64_t tasks = std::max<int64_t>(1, std::min<int64_t>(torch::stable::get_num_threads(), cubes / 1024));
    parallel_tasks(tasks, [&](int64_t task) {
      const int64_t low = rows * task / tasks, high = rows * (task + 1) / tasks;
      for (int64_t i = 0; i < kCorners * cubes; ++i) {
        const int64_t row = corner[i];
        if (row < low || row >= high) continue;
        const CornerGradient<T>& sum = gradients[i / kCorners];
        out_sdf[row] += sum.sdf[i % kCorners];
        for (int k = 0; k < 3; ++k) out_positions[3 * row + k] += sum.position[i % kCorners][k];
      }
    });
  });
  return {grad_sdf, grad_positions, grad_alpha, grad_beta};
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(tetragan, CPU, m) {
  m.impl("flexicubes_topology", TORCH_BOX(&topology));
  m.impl("flexicubes_vertices", TORCH_BOX(&vertices));
  m.impl("flexicubes_vertices_backward", TORCH_BOX(&vertices_backward));
}

}  // namespace tetragan
