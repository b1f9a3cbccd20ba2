// Launchers of the CUDA kernels of `marching_tets`; no torch headers. All pointers are on the device unless they say `host`.
#pragma once
#include <cuda_runtime.h>

#include "marching_tets/marching_tets_loops.h"

namespace tetragan {
namespace marching {

// Bitmaps of 32 bits and running counts over the whole batch, [B][words] each.
struct Bitmaps {
  uint32_t *edges, *vertices, *mixed, *two;  // crossing edges, active vertices, crossed tetrahedra, those with two triangles
  int32_t *edge_before, *vertex_before, *face_before;  // counts before each word within its block of kScanWords words
  int64_t *edge_base, *vertex_base, *face_base;        // counts before each such block
  int64_t edge_words, vertex_words, tet_words;         // words of one sample
};

constexpr int kScanWords = 1024;

inline int64_t words_of(int64_t count) { return (count + 31) / 32; }
inline int64_t scan_blocks(int64_t words) { return (words + kScanWords - 1) / kScanWords; }

// Fills the bitmaps and counts, and offsets [4, B + 1] (surface vertices, faces, active vertices, defects; all 0 before).
template <class T>
void launch_count(const T* sdf, const Tables& tables, int64_t batch, const Bitmaps& maps, int64_t* offsets,
                  cudaStream_t stream);

template <class T>
void launch_write(const T* sdf, const Tables& tables, int64_t batch, const Bitmaps& maps, int32_t* faces,
                  int64_t num_crossing, int64_t* edge_vertices, int64_t* active, int64_t* edge_active, cudaStream_t stream);

// shared: positions has `rows` rows for all samples. Pairs out of range give zeros.
template <class T>
void launch_crossings(const T* sdf, const T* positions, const int64_t* pairs, int64_t count, int64_t values, int64_t rows,
                      T* out, cudaStream_t stream);

// Adds to zeroed gradients with atomics; grad_positions may be null.
template <class T>
void launch_crossings_backward(const T* grad, const T* sdf, const T* positions, const int64_t* pairs, int64_t count,
                               int64_t values, int64_t rows, T* grad_sdf, T* grad_positions, cudaStream_t stream);

}  // namespace marching
}  // namespace tetragan
