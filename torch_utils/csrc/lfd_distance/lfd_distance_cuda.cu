// CUDA kernel of `lfd_distance`: a block owns one pair of shapes; all 100 × 100 distances of views lie in shared memory.
// Integers alone, so deterministic.
#include <climits>

#include "lfd_distance/lfd_distance.h"
#include "lfd_distance/lfd_distance_cuda.h"

namespace tetragan {
namespace {

using namespace lfd;

constexpr int kThreads = 256, kWords = kPackedView / 4;
constexpr int64_t kMaxRows = 65535;

__device__ void load_views(const uint8_t* shape, uint32_t (*views)[kWords]) {
  for (int view = threadIdx.x; view < kShapeViews; view += kThreads) {
    pack_view(shape + view * kViewBytes, reinterpret_cast<uint8_t*>(views[view]));
  }
}

__global__ void distance_kernel(const uint8_t* a, const uint8_t* b, const uint8_t* alignments, int count, int64_t n,
                                int64_t first, int32_t* out) {
  __shared__ uint32_t own[kShapeViews][kWords], other[kShapeViews][kWords];
  __shared__ uint16_t costs[kShapeViews][kShapeViews];
  __shared__ int32_t least;
  const int64_t row = first + blockIdx.y, column = blockIdx.x;
  load_views(a + row * kShapeViews * kViewBytes, own);
  load_views(b + column * kShapeViews * kViewBytes, other);
  if (threadIdx.x == 0) least = INT_MAX;
  __syncthreads();
  for (int item = threadIdx.x; item < kShapeViews * kShapeViews; item += kThreads) {
    const int i = item / kShapeViews, j = item % kShapeViews;
    uint32_t sum = 0;
    for (int word = 0; word < kWords; ++word) sum += __vsadu4(own[i][word], other[j][word]);
    costs[i][j] = static_cast<uint16_t>(sum);
  }
  __syncthreads();
  int32_t best = INT_MAX;
  for (int item = threadIdx.x; item < kFields * kFields * count; item += kThreads) {
    const int fields = item / count, i = fields / kFields * kFieldViews, j = fields % kFields * kFieldViews;
    const uint8_t* alignment = alignments + item % count * kFieldViews;
    int32_t sum = 0;
    for (int view = 0; view < kFieldViews; ++view) sum += costs[i + view][j + alignment[view]];
    best = sum < best ? sum : best;
  }
  atomicMin(&least, best);
  __syncthreads();
  if (threadIdx.x == 0) out[row * n + column] = least;
}

}  // namespace

void lfd_distance_cuda(const uint8_t* a, const uint8_t* b, const uint8_t* alignments, int64_t count, int64_t m, int64_t n,
                       int32_t* out, cudaStream_t stream) {
  for (int64_t first = 0; n > 0 && first < m; first += kMaxRows) {
    const int64_t rows = m - first < kMaxRows ? m - first : kMaxRows;
    const dim3 blocks(static_cast<unsigned>(n), static_cast<unsigned>(rows));
    distance_kernel<<<blocks, kThreads, 0, stream>>>(a, b, alignments, static_cast<int>(count), n, first, out);
  }
}

}  // namespace tetragan
