// CUDA kernels of `flexicubes`. Topology: a thread for each cube finds its case; a thread for each run of kRun cubes or grid
// vertices counts, and after a prefix sum over the runs writes at known positions. Deterministic, without atomics. Dual
// vertices: a thread each; the backward pass adds with atomics, so its rounding depends on the order.
#include "common/cuda_launch.h"
#include "flexicubes/flexicubes_cuda.h"

namespace tetragan {
namespace flexicubes {

namespace {

template <class T>
__global__ void find_codes(const T* sdf, Lattice lattice, int64_t batch, uint8_t* codes) {
  TETRAGAN_EACH(i, batch * lattice.cubes()) {
    const int64_t b = i / lattice.cubes();
    codes[i] = static_cast<uint8_t>(sign_case(lattice, sdf + b * lattice.vertices(), i % lattice.cubes()));
  }
}

__global__ void resolve_cases(Lattice lattice, int64_t batch, const uint8_t* codes, const int32_t* ambiguous, uint16_t* cases) {
  TETRAGAN_EACH(i, batch * lattice.cubes()) {
    const uint8_t* of_sample = codes + i / lattice.cubes() * lattice.cubes();
    cases[i] = static_cast<uint16_t>(resolved_case(lattice, of_sample, ambiguous, i % lattice.cubes()));
  }
}

__global__ void count_cubes(Lattice lattice, int64_t batch, int64_t runs, const int32_t* groups, Scratch scratch) {
  TETRAGAN_EACH(i, batch * runs) {
    const int64_t base = i / runs * lattice.cubes(), begin = i % runs * kRun;
    const int64_t end = begin + kRun < lattice.cubes() ? begin + kRun : lattice.cubes();
    int64_t cubes = 0, vertices = 0;
    for (int64_t c = begin; c < end; ++c) {
      if (!is_surface(scratch.codes[base + c])) continue;
      ++cubes;
      vertices += count_groups(groups, scratch.cases[base + c]);
    }
    scratch.cube_runs[i] = cubes;
    scratch.vertex_runs[i] = vertices;
  }
}

template <class T>
__global__ void count_vertices(const T* sdf, Lattice lattice, int64_t batch, int64_t runs, Scratch scratch) {
  TETRAGAN_EACH(i, batch * runs) {
    const int64_t b = i / runs, begin = i % runs * kRun;
    const int64_t end = begin + kRun < lattice.vertices() ? begin + kRun : lattice.vertices();
    const T* values = sdf + b * lattice.vertices();
    const uint8_t* codes = scratch.codes + b * lattice.cubes();
    int64_t quads = 0, active = 0;
    for (int64_t v = begin; v < end; ++v) {
      active += is_active(lattice, codes, v);
      for (int axis = 0; axis < 3; ++axis) quads += has_quad(lattice, values, v, axis);
    }
    scratch.quad_runs[i] = quads;
    scratch.active_runs[i] = active;
  }
}

// A block for each kind of output: counts of runs become counts before each run, over the whole batch, a tile at a time.
__global__ void __launch_bounds__(kScanRuns) sum_runs(Scratch scratch, int64_t batch, int64_t cube_runs, int64_t vertex_runs,
                                                      int64_t* offsets) {
  __shared__ int64_t sums[kScanRuns];
  __shared__ int64_t carry;
  const int kind = blockIdx.x;
  int64_t* counts = kind == 0 ? scratch.cube_runs : kind == 1 ? scratch.vertex_runs
                    : kind == 2 ? scratch.quad_runs : scratch.active_runs;
  const int64_t runs = kind < 2 ? cube_runs : vertex_runs, total = batch * runs;
  if (threadIdx.x == 0) carry = 0;
  for (int64_t start = 0; start <= total; start += kScanRuns) {
    const int64_t run = start + threadIdx.x;
    const int64_t here = run < total ? counts[run] : 0;
    sums[threadIdx.x] = here;
    __syncthreads();
    for (int step = 1; step < kScanRuns; step *= 2) {
      const int64_t add = threadIdx.x >= step ? sums[threadIdx.x - step] : 0;
      __syncthreads();
      sums[threadIdx.x] += add;
      __syncthreads();
    }
    const int64_t before = carry + sums[threadIdx.x] - here;
    if (run < total) counts[run] = before;
    if (run <= total && run % runs == 0) offsets[kind * (batch + 1) + run / runs] = before;
    __syncthreads();
    if (threadIdx.x == 0) carry += sums[kScanRuns - 1];
    __syncthreads();
  }
}

__global__ void write_cubes(Lattice lattice, int64_t batch, int64_t runs, const int32_t* groups, Scratch scratch,
                            Outputs outputs) {
  TETRAGAN_EACH(i, batch * runs) {
    const int64_t base = i / runs * lattice.cubes(), begin = i % runs * kRun;
    const int64_t end = begin + kRun < lattice.cubes() ? begin + kRun : lattice.cubes();
    int64_t cube = scratch.cube_runs[i], vertex = scratch.vertex_runs[i];
    for (int64_t c = begin; c < end; ++c) {
      if (!is_surface(scratch.codes[base + c])) continue;
      outputs.cubes[cube] = base + c;
      scratch.first[base + c] = static_cast<int32_t>(vertex);
      const int which = scratch.cases[base + c], count = count_groups(groups, which);
      for (int g = 0; g < count; ++g, ++vertex) {
        outputs.vertex_cube[vertex] = cube;
        outputs.vertex_edges[vertex] = edges_of_group(groups, which, g);
      }
      ++cube;
    }
  }
}

__global__ void write_active(Lattice lattice, int64_t batch, int64_t runs, Scratch scratch, int64_t* out) {
  TETRAGAN_EACH(i, batch * runs) {
    const int64_t b = i / runs, begin = i % runs * kRun;
    const int64_t end = begin + kRun < lattice.vertices() ? begin + kRun : lattice.vertices();
    const uint8_t* codes = scratch.codes + b * lattice.cubes();
    int64_t active = scratch.active_runs[i];
    for (int64_t v = begin; v < end; ++v) {
      if (!is_active(lattice, codes, v)) continue;
      scratch.row_of[b * lattice.vertices() + v] = static_cast<int32_t>(active);
      out[active++] = b * lattice.vertices() + v;
    }
  }
}

__global__ void write_corners(Lattice lattice, int64_t batch, Scratch scratch, const int64_t* offsets, Outputs outputs) {
  TETRAGAN_EACH(i, kCorners * offsets[batch]) {
    const int64_t id = outputs.cubes[i / kCorners], b = id / lattice.cubes();
    const int64_t vertex = lattice.first_corner(id % lattice.cubes()) + lattice.corner_step(static_cast<int>(i % kCorners));
    outputs.cube_corners[i] = scratch.row_of[b * lattice.vertices() + vertex];
  }
}

template <class T>
__global__ void write_quads(const T* sdf, Lattice lattice, int64_t batch, int64_t runs, const int32_t* groups, Scratch scratch,
                            Outputs outputs) {
  TETRAGAN_EACH(i, batch * runs) {
    const int64_t b = i / runs, begin = i % runs * kRun;
    const int64_t end = begin + kRun < lattice.vertices() ? begin + kRun : lattice.vertices();
    const T* values = sdf + b * lattice.vertices();
    const int32_t* row_of = scratch.row_of + b * lattice.vertices();
    int64_t quad = scratch.quad_runs[i];
    for (int64_t v = begin; v < end; ++v) {
      for (int axis = 0; axis < 3; ++axis) {
        if (!has_quad(lattice, values, v, axis)) continue;
        quad_vertices(lattice, groups, scratch.cases + b * lattice.cubes(), scratch.first + b * lattice.cubes(), v, axis,
                      values[v] < T(0), outputs.quads + 4 * quad);
        outputs.quad_ends[2 * quad] = row_of[v];
        outputs.quad_ends[2 * quad + 1] = row_of[v + lattice.vertex_step(axis)];
        ++quad;
      }
    }
  }
}

// The inputs of one dual vertex's cube; false if an id is out of range.
template <class T>
__device__ __forceinline__ bool cube_input(const VertexInputs<T>& in, int64_t cube, CubeInput<T>& out) {
  if (cube < 0 || cube >= in.cubes) return false;
  out = {in.sdf, in.positions, in.alpha + kCorners * cube, in.beta + kEdges * cube, in.cube_corners + kCorners * cube};
  for (int k = 0; k < kCorners; ++k) {
    if (out.corners[k] < 0 || out.corners[k] >= in.rows) return false;
  }
  return true;
}

template <class T>
__global__ void dual_vertices(VertexInputs<T> in, T* points, T* spreads) {
  TETRAGAN_EACH(i, in.count) {
    CubeInput<T> cube;
    const bool sound = cube_input(in, in.vertex_cube[i], cube);
    T point[3] = {0, 0, 0}, spread = 0;
    if (sound) {
      const DualVertex<T> dual(cube, in.vertex_edges[i]);
      for (int k = 0; k < 3; ++k) point[k] = dual.point[k];
      spread = dual.spread;
    }
    for (int k = 0; k < 3; ++k) points[3 * i + k] = point[k];
    spreads[i] = spread;
  }
}

// Adds the gradients of one edge of a dual vertex.
template <class T>
struct AddGradients {
  const int64_t* corners;
  T *sdf, *positions, *alpha, *beta;  // alpha and beta of the cube

  __device__ void operator()(int e, int a, int b, T s_a, T s_b, T alpha_a, T alpha_b, const T* u, T t, T beta_e) const {
    atomicAdd(sdf + corners[a], s_a);
    atomicAdd(sdf + corners[b], s_b);
    atomicAdd(alpha + a, alpha_a);
    atomicAdd(alpha + b, alpha_b);
    beta[e] = beta_e;  // an edge has one dual vertex in its cube
    for (int k = 0; k < 3; ++k) {
      atomicAdd(positions + 3 * corners[a] + k, (1 - t) * u[k]);
      atomicAdd(positions + 3 * corners[b] + k, t * u[k]);
    }
  }
};

template <class T>
__global__ void dual_vertices_backward(VertexInputs<T> in, const T* grad_points, const T* grad_spreads, T* grad_sdf,
                                       T* grad_positions, T* grad_alpha, T* grad_beta) {
  TETRAGAN_EACH(i, in.count) {
    CubeInput<T> cube;
    const int64_t id = in.vertex_cube[i];
    if (!cube_input(in, id, cube)) continue;
    const AddGradients<T> add{cube.corners, grad_sdf, grad_positions, grad_alpha + kCorners * id, grad_beta + kEdges * id};
    dual_vertex_gradient(cube, in.vertex_edges[i], grad_points + 3 * i, grad_spreads[i], add);
  }
}

}  // namespace

template <class T>
void launch_count(const T* sdf, const int32_t* groups, const int32_t* ambiguous, Lattice lattice, int64_t batch,
                  const Scratch& scratch, int64_t* offsets, cudaStream_t stream) {
  const int64_t cubes = batch * lattice.cubes(), cube_runs = runs_of(lattice.cubes()), vertex_runs = runs_of(lattice.vertices());
  find_codes<<<blocks_for(cubes), kBlock, 0, stream>>>(sdf, lattice, batch, scratch.codes);
  resolve_cases<<<blocks_for(cubes), kBlock, 0, stream>>>(lattice, batch, scratch.codes, ambiguous, scratch.cases);
  count_cubes<<<blocks_for(batch * cube_runs), kBlock, 0, stream>>>(lattice, batch, cube_runs, groups, scratch);
  count_vertices<<<blocks_for(batch * vertex_runs), kBlock, 0, stream>>>(sdf, lattice, batch, vertex_runs, scratch);
  sum_runs<<<4, kScanRuns, 0, stream>>>(scratch, batch, cube_runs, vertex_runs, offsets);
}

template <class T>
void launch_write(const T* sdf, const int32_t* groups, Lattice lattice, int64_t batch, const Scratch& scratch,
                  const int64_t* offsets, const Outputs& outputs, cudaStream_t stream) {
  const int64_t cube_runs = runs_of(lattice.cubes()), vertex_runs = runs_of(lattice.vertices());
  write_cubes<<<blocks_for(batch * cube_runs), kBlock, 0, stream>>>(lattice, batch, cube_runs, groups, scratch, outputs);
  write_active<<<blocks_for(batch * vertex_runs), kBlock, 0, stream>>>(lattice, batch, vertex_runs, scratch, outputs.active);
  write_corners<<<blocks_for(batch * lattice.cubes()), kBlock, 0, stream>>>(lattice, batch, scratch, offsets, outputs);
  write_quads<<<blocks_for(batch * vertex_runs), kBlock, 0, stream>>>(sdf, lattice, batch, vertex_runs, groups, scratch, outputs);
}

template <class T>
void launch_vertices(const VertexInputs<T>& in, T* points, T* spreads, cudaStream_t stream) {
  if (in.count > 0) dual_vertices<<<blocks_for(in.count), kBlock, 0, stream>>>(in, points, spreads);
}

template <class T>
void launch_vertices_backward(const VertexInputs<T>& in, const T* grad_points, const T* grad_spreads, T* grad_sdf,
                              T* grad_positions, T* grad_alpha, T* grad_beta, cudaStream_t stream) {
  if (in.count == 0) return;
  dual_vertices_backward<<<blocks_for(in.count), kBlock, 0, stream>>>(in, grad_points, grad_spreads, grad_sdf,
                                                                      grad_positions, grad_alpha, grad_beta);
}

#define TETRAGAN_INSTANTIATE(T)                                                                                           \
  template void launch_count(const T*, const int32_t*, const int32_t*, Lattice, int64_t, const Scratch&, int64_t*,        \
                             cudaStream_t);                                                                               \
  template void launch_write(const T*, const int32_t*, Lattice, int64_t, const Scratch&, const int64_t*, const Outputs&,  \
                             cudaStream_t);                                                                               \
  template void launch_vertices(const VertexInputs<T>&, T*, T*, cudaStream_t);                                            \
  template void launch_vertices_backward(const VertexInputs<T>&, const T*, const T*, T*, T*, T*, T*, cudaStream_t);

TETRAGAN_INSTANTIATE(float)
TETRAGAN_INSTANTIATE(double)

}  // namespace flexicubes
}  // namespace tetragan
