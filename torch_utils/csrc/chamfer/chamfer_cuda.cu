// CUDA kernels of `chamfer`: brute force over tiles of the other point set in shared memory. Deterministic: every thread owns its
// points, and sums over a block are taken in a fixed order. The two directions are computed separately: eight more
// operations for each pair of points cost less than a minimum shared between threads.
#include <cmath>

#include "chamfer/chamfer.h"
#include "chamfer/chamfer_cuda.h"
#include "common/cuda_launch.h"

namespace tetragan {
namespace {

constexpr int kThreads = 256;

template <class T>
struct Nearest {
  T distance;
  int32_t index;
};

// The nearest of `others` to each thread's point; `active` is false for threads that only help to load.
template <class T>
__device__ Nearest<T> search(T x, T y, T z, bool active, const T* others, int64_t count, T* tile) {
  Nearest<T> best{static_cast<T>(INFINITY), 0};
  for (int64_t start = 0; start < count; start += kThreads) {
    const int64_t mine = start + threadIdx.x;
    __syncthreads();
    if (mine < count) {
      for (int axis = 0; axis < 3; ++axis) tile[3 * threadIdx.x + axis] = others[3 * mine + axis];
    }
    __syncthreads();
    const int loaded = static_cast<int>(count - start < kThreads ? count - start : kThreads);
    for (int k = 0; active && k < loaded; ++k) {
      const T d = squared_distance(x, y, z, tile[3 * k], tile[3 * k + 1], tile[3 * k + 2]);
      // NaN compares false: a point that is not finite is never the nearest.
      if (d < best.distance) best = {d, static_cast<int32_t>(start + k)};
    }
  }
  return best;
}

template <class T>
__global__ void nearest_kernel(const T* x, const T* y, int64_t p, int64_t q, int64_t first, T* distance, int32_t* index) {
  __shared__ T tile[3 * kThreads];
  const int64_t set = first + blockIdx.y, point = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  const bool active = point < p;
  const T* own = x + 3 * (set * p + (active ? point : 0));
  const Nearest<T> best = search(own[0], own[1], own[2], active, y + 3 * set * q, q, tile);
  if (active) {
    distance[set * p + point] = best.distance;
    index[set * p + point] = best.index;
  }
}

// Mean of the nearest distances from one point set to another; the same on all threads.
template <class T>
__device__ double mean_nearest(const T* from, int64_t p, const T* to, int64_t q, T* tile, double* sums) {
  double sum = 0;
  for (int64_t start = 0; start < p; start += kThreads) {
    const int64_t point = start + threadIdx.x;
    const bool active = point < p;
    const T* own = from + 3 * (active ? point : 0);
    const Nearest<T> best = search(own[0], own[1], own[2], active, to, q, tile);
    if (active) sum += best.distance;
  }
  sums[threadIdx.x] = sum;
  for (int width = kThreads / 2; width > 0; width /= 2) {
    __syncthreads();
    if (threadIdx.x < width) sums[threadIdx.x] += sums[threadIdx.x + width];
  }
  __syncthreads();
  const double total = sums[0];
  __syncthreads();
  return total / static_cast<double>(p);
}

template <class T>
__global__ void matrix_kernel(const T* x, const T* y, int64_t n, int64_t p, int64_t q, int64_t first, T* out) {
  __shared__ T tile[3 * kThreads];
  __shared__ double sums[kThreads];
  const int64_t row = first + blockIdx.y, column = blockIdx.x;
  const T *one = x + 3 * row * p, *two = y + 3 * column * q;
  const double forth = mean_nearest(one, p, two, q, tile, sums), back = mean_nearest(two, q, one, p, tile, sums);
  if (threadIdx.x == 0) out[row * n + column] = static_cast<T>(forth + back);
}

}  // namespace

template <class T>
void chamfer_nearest_cuda(const T* x, const T* y, int64_t batch, int64_t p, int64_t q, T* distance, int32_t* index,
                          cudaStream_t stream) {
  for (int64_t first = 0; first < batch; first += kMaxGridRows) {
    const int64_t rows = batch - first < kMaxGridRows ? batch - first : kMaxGridRows;
    const dim3 blocks(static_cast<unsigned>((p + kThreads - 1) / kThreads), static_cast<unsigned>(rows));
    nearest_kernel<T><<<blocks, kThreads, 0, stream>>>(x, y, p, q, first, distance, index);
  }
}

template <class T>
void chamfer_matrix_cuda(const T* x, const T* y, int64_t m, int64_t n, int64_t p, int64_t q, T* out, cudaStream_t stream) {
  for (int64_t first = 0; n > 0 && first < m; first += kMaxGridRows) {
    const int64_t rows = m - first < kMaxGridRows ? m - first : kMaxGridRows;
    const dim3 blocks(static_cast<unsigned>(n), static_cast<unsigned>(rows));
    matrix_kernel<T><<<blocks, kThreads, 0, stream>>>(x, y, n, p, q, first, out);
  }
}

#define TETRAGAN_INSTANTIATE(T)                                                                                           \
  template void chamfer_nearest_cuda<T>(const T*, const T*, int64_t, int64_t, int64_t, T*, int32_t*, cudaStream_t);       \
  template void chamfer_matrix_cuda<T>(const T*, const T*, int64_t, int64_t, int64_t, int64_t, T*, cudaStream_t);
TETRAGAN_INSTANTIATE(float)
TETRAGAN_INSTANTIATE(double)

}  // namespace tetragan
