// Launchers of the CUDA kernels of `flexicubes`; no torch headers. All pointers are on the device.
#pragma once
#include <cuda_runtime.h>

#include "flexicubes/flexicubes.h"

namespace tetragan {
namespace flexicubes {

// Items that one thread counts, and later numbers, one after another. Running counts need no communication within a block.
constexpr int64_t kRun = 32;
inline int64_t runs_of(int64_t count) { return (count + kRun - 1) / kRun; }
// Threads that add up the counts of runs.
constexpr int kScanRuns = 1024;

// Scratch of one call: sign cases and rows of the table, [B][cubes]; counts before each run of a sample's cubes (crossed cubes,
// dual vertices) and grid vertices (quadrilaterals, active vertices); each cube's first dual vertex; each vertex's row.
struct Scratch {
  uint8_t* codes;
  uint16_t* cases;
  int64_t *cube_runs, *vertex_runs, *quad_runs, *active_runs;
  int32_t *first, *row_of;
};

// Outputs of the topology, in the order of `CubeTopology`.
struct Outputs {
  int64_t *cubes, *cube_corners, *vertex_cube;
  int32_t *vertex_edges, *quads;
  int64_t *quad_ends, *active;
};

// Fills the scratch and offsets [4, B + 1]: cubes, dual vertices, quadrilaterals, active vertices.
template <class T>
void launch_count(const T* sdf, const int32_t* groups, const int32_t* ambiguous, Lattice lattice, int64_t batch,
                  const Scratch& scratch, int64_t* offsets, cudaStream_t stream);

template <class T>
void launch_write(const T* sdf, const int32_t* groups, Lattice lattice, int64_t batch, const Scratch& scratch,
                  const int64_t* offsets, const Outputs& outputs, cudaStream_t stream);

// Inputs of `flexicubes_vertices`.
template <class T>
struct VertexInputs {
  const T *sdf, *positions, *alpha, *beta;
  const int64_t *cube_corners, *vertex_cube;
  const int32_t* vertex_edges;
  int64_t rows, cubes, count;
};

// Dual vertices whose cube or corners are out of range are zero.
template <class T>
void launch_vertices(const VertexInputs<T>& in, T* points, T* spreads, cudaStream_t stream);

// Adds to zeroed gradients with atomics.
template <class T>
void launch_vertices_backward(const VertexInputs<T>& in, const T* grad_points, const T* grad_spreads, T* grad_sdf,
                              T* grad_positions, T* grad_alpha, T* grad_beta, cudaStream_t stream);

}  // namespace flexicubes
}  // namespace tetragan
