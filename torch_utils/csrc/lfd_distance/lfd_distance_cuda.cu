// CUDA kernel of `lfd_distance`: a block owns one pair of shapes; all 100 × 100 distances of views lie in shared memory.
// Integers alone, so deterministic.
#include <climits>

#include "common/cuda_launch.h"
#include "lfd_distance/lfd_distance.h"
#include "lfd_distance/lfd_distance_cuda.h"

namespace tetragan {
namespace {

using namespace lfd;

constexpr int kThreads = 256, kWords = kPackedView / 4;
constexpr int kRow = kWords + 1;  // an odd number of words: rows begin in different banks of shared memory
constexpr int kHalf = kShapeViews / 2;

__device__ void load_views(const uint8_t* shape, uint32_t (*views)[kRow]) {
  for (int view = threadIdx.x; view < kShapeViews; view += kThreads) {
    pack_view(shape + view * kViewBytes, reinterpret_cast<uint8_t*>(views[view]));
  }
}

__global__ void distance_kernel(const uint8_t* a, const uint8_t* b, const uint8_t* alignments, int count, int64_t n,
                                int64_t first, int32_t* out) {
  __shared__ uint32_t own[kShapeViews][kRow], other[kShapeViews][kRow];
  __shared__ uint16_t costs[kShapeViews][kShapeViews];
  __shared__ int32_t least;
  const int64_t row = first + blockIdx.y, column = blockIdx.x;
  load_views(a + row * kShapeViews * kViewBytes, own);
  load_views(b + column * kShapeViews * kViewBytes, other);
  if (threadIdx.x == 0) least = INT_MAX;
  __syncthreads();
  // Two views of each shape at a time: a word from shared memory serves two distances.
  for (int item = threadIdx.x; item < kHalf * kHalf; item += kThreads) {
    const int i = item / kHalf, j = item % kHalf;
    uint32_t sums[2][2] = {};
    for (int word = 0; word < kWords; ++word) {
      const uint32_t a_words[2] = {own[i][word], own[i + kHalf][word]}, b_words[2] = {other[j][word], other[j + kHalf][word]};
      for (int k = 0; k < 4; ++k) sums[k / 2][k % 2] += __vsadu4(a_words[k / 2], b_words[k % 2]);
    }
    for (int k = 0; k < 4; ++k) costs[i + k / 2 * kHalf][j + k % 2 * kHalf] = static_cast<uint16_t>(sums[k / 2][k % 2]);
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
  for (int64_t first = 0; n > 0 && first < m; first += kMaxGridRows) {
    const int64_t rows = m - first < kMaxGridRows ? m - first : kMaxGridRows;
    const dim3 blocks(static_cast<unsigned>(n), static_cast<unsigned>(rows));
    distance_kernel<<<blocks, kThreads, 0, stream>>>(a, b, alignments, static_cast<int>(count), n, first, out);
  }
}

}  // namespace tetragan
