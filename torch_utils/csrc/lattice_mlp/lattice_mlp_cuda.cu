// CUDA kernels of `lattice_mlp`: the features of each plane at the grid's pixels, the first layer on them in one product for the
// batch, then a thread per grid point, which keeps the hidden layer in registers.
#include "common/grouped_product.cuh"
#include "lattice_mlp/lattice_mlp.h"
#include "lattice_mlp/lattice_mlp_cuda.h"
#include "triplane_sample/triplane_sample.h"

namespace tetragan {
namespace {

template <class T>
__global__ void features_kernel(const T* planes, PlaneStrides strides, const T* coordinates, LatticeSize s, T* features) {
  const int64_t pixels = s.side * s.side;
  TETRAGAN_EACH(i, s.samples * 3 * pixels * s.channels) {
    const int64_t channel = i % s.channels, row = i / s.channels, pixel = row % pixels, plane = row / pixels;
    const AxisLookup<T> u = look_up_axis<T>(coordinates[pixel / s.side], static_cast<int32_t>(strides.size));
    const AxisLookup<T> v = look_up_axis<T>(coordinates[pixel % s.side], static_cast<int32_t>(strides.size));
    const T* base = planes + plane / 3 * strides.sample + plane % 3 * strides.plane + channel;
    const T *upper = base + v.low * strides.row, *lower = base + v.high * strides.row;
    const int64_t left = u.low * strides.column, right = u.high * strides.column;
    features[i] = (1 - v.fraction) * ((1 - u.fraction) * upper[left] + u.fraction * upper[right]) +
                  v.fraction * ((1 - u.fraction) * lower[left] + u.fraction * lower[right]);
  }
}

// Grid point (x, y, z) adds pixel (x, y) of the first plane, (y, z) of the second and (x, z) of the third.
template <int kVector, class T>
__global__ void points_kernel(const T* sides, const T* bias, const T* output, LatticeSize s, T slope, T* out) {
  const int64_t pixels = s.side * s.side, points = pixels * s.side;
  TETRAGAN_EACH(i, s.samples * points) {
    const int64_t sample = i / points, point = i % points;
    const int64_t x = point / pixels, y = point / s.side % s.side, z = point % s.side;
    const T* first = sides + sample * 3 * pixels * s.hidden;
    const T *xy = first + (x * s.side + y) * s.hidden, *yz = first + (pixels + y * s.side + z) * s.hidden;
    const T *xz = first + (2 * pixels + x * s.side + z) * s.hidden, *weight = output + sample * s.hidden;
    const int32_t hidden = static_cast<int32_t>(s.hidden);
    T sum = 0;
    for (int32_t h = 0; h < hidden; h += kVector) {
      const Pack<T, kVector> a = load_pack<kVector>(xy + h), b = load_pack<kVector>(yz + h), c = load_pack<kVector>(xz + h);
      for (int v = 0; v < kVector; ++v) {
        sum += hidden_unit<T>(a.values[v] + bias[h + v], b.values[v], c.values[v], slope, weight[h + v]);
      }
    }
    out[i] = sum;
  }
}

}  // namespace

template <class T>
void lattice_mlp_cuda(const T* planes, const PlaneStrides& strides, const T* hidden, const T* bias, const T* output,
                      const T* coordinates, const LatticeSize& s, const grouped::Table& rows, T slope, T* features, T* sides,
                      T* out, cudaStream_t stream) {
  const int64_t pixels = s.samples * 3 * s.side * s.side, points = s.samples * s.side * s.side * s.side;
  if (points == 0) return;
  if (s.channels > 0) {
    features_kernel<T><<<blocks_for(pixels * s.channels), kBlock, 0, stream>>>(planes, strides, coordinates, s, features);
  }
  grouped::launch_product<false, T>(features, hidden, s.channels * s.hidden, s.channels, s.hidden, rows, {}, sides, stream);
  constexpr int kMost = 16 / sizeof(T);
  if (fits_packs(sides, s.hidden, kMost)) {
    points_kernel<kMost, T><<<blocks_for(points), kBlock, 0, stream>>>(sides, bias, output, s, slope, out);
  } else {
    points_kernel<1, T><<<blocks_for(points), kBlock, 0, stream>>>(sides, bias, output, s, slope, out);
  }
}

#define TETRAGAN_INSTANTIATE(T)                                                                                       \
  template void lattice_mlp_cuda<T>(const T*, const PlaneStrides&, const T*, const T*, const T*, const T*,            \
                                    const LatticeSize&, const grouped::Table&, T, T*, T*, T*, cudaStream_t);
TETRAGAN_INSTANTIATE(float)
TETRAGAN_INSTANTIATE(double)

}  // namespace tetragan
