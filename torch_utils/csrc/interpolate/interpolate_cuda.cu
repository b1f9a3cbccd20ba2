// CUDA kernels of `interpolate`: one thread per pixel; the gradient of the attributes is added with atomics.
#include "common/cuda_launch.h"
#include "interpolate/interpolate.h"
#include "interpolate/interpolate_cuda.h"

namespace tetragan {
namespace {

// The pixel's vertex ids, or null for background and ids out of range.
template <class T>
__device__ const int32_t* face_at(const T* rast, const int32_t* faces, const InterpolateSize& size, int64_t pixel) {
  const int64_t id = device_face_id(rast[4 * pixel + 3], size.faces);
  if (id == 0) return nullptr;
  const int32_t* face = faces + 3 * (id - 1);
  for (int k = 0; k < 3; ++k) {
    if (face[k] < 0 || face[k] >= size.vertices) return nullptr;
  }
  return face;
}

template <class T>
__global__ void forward_kernel(const T* attributes, const T* rast, const int32_t* faces, const T* rast_db,
                               InterpolateSize size, T* out, T* out_db) {
  TETRAGAN_EACH(pixel, size.pixels) {
    const int32_t* face = face_at(rast, faces, size, pixel);
    for (int64_t k = 0; k < size.width; ++k) {
      T value = 0, slopes[2] = {0, 0};
      if (face != nullptr) {
        const T a0 = attributes[face[0] * size.width + k], a1 = attributes[face[1] * size.width + k];
        const T a2 = attributes[face[2] * size.width + k];
        value = interpolation::value(rast + 4 * pixel, a0, a1, a2);
        if (rast_db != nullptr) interpolation::derivative(rast_db + 4 * pixel, a0, a1, a2, slopes);
      }
      out[pixel * size.width + k] = value;
      for (int d = 0; rast_db != nullptr && d < 2; ++d) out_db[(pixel * size.width + k) * 2 + d] = slopes[d];
    }
  }
}

template <class T>
__global__ void backward_kernel(const T* grad, const T* grad_db, const T* attributes, const T* rast, const int32_t* faces,
                                const T* rast_db, InterpolateSize size, T* grad_attributes, T* grad_rast,
                                T* grad_rast_db) {
  TETRAGAN_EACH(pixel, size.pixels) {
    const int32_t* face = face_at(rast, faces, size, pixel);
    T uv[2] = {0, 0}, db[4] = {0, 0, 0, 0}, vertex[3];
    for (int64_t k = 0; face != nullptr && k < size.width; ++k) {
      interpolation::gradient(rast + 4 * pixel, rast_db != nullptr ? rast_db + 4 * pixel : nullptr,
                              attributes[face[0] * size.width + k], attributes[face[1] * size.width + k],
                              attributes[face[2] * size.width + k], grad[pixel * size.width + k],
                              rast_db != nullptr ? grad_db + (pixel * size.width + k) * 2 : nullptr, uv, db, vertex);
      for (int corner = 0; grad_attributes != nullptr && corner < 3; ++corner) {
        if (vertex[corner] != T(0)) atomicAdd(grad_attributes + face[corner] * size.width + k, vertex[corner]);
      }
    }
    grad_rast[4 * pixel] = uv[0];
    grad_rast[4 * pixel + 1] = uv[1];
    grad_rast[4 * pixel + 2] = grad_rast[4 * pixel + 3] = 0;
    for (int k = 0; rast_db != nullptr && k < 4; ++k) grad_rast_db[4 * pixel + k] = db[k];
  }
}

}  // namespace

template <class T>
void interpolate_cuda(const T* attributes, const T* rast, const int32_t* faces, const T* rast_db,
                      const InterpolateSize& size, T* out, T* out_db, cudaStream_t stream) {
  if (size.pixels == 0) return;
  forward_kernel<<<blocks_for(size.pixels), kBlock, 0, stream>>>(attributes, rast, faces, rast_db, size, out, out_db);
}

template <class T>
void interpolate_backward_cuda(const T* grad, const T* grad_db, const T* attributes, const T* rast, const int32_t* faces,
                               const T* rast_db, const InterpolateSize& size, T* grad_attributes, T* grad_rast,
                               T* grad_rast_db, cudaStream_t stream) {
  if (size.pixels == 0) return;
  backward_kernel<<<blocks_for(size.pixels), kBlock, 0, stream>>>(grad, grad_db, attributes, rast, faces, rast_db, size,
                                                                   grad_attributes, grad_rast, grad_rast_db);
}

#define TETRAGAN_INSTANTIATE(T)                                                                                       \
  template void interpolate_cuda(const T*, const T*, const int32_t*, const T*, const InterpolateSize&, T*, T*,        \
                                 cudaStream_t);                                                                       \
  template void interpolate_backward_cuda(const T*, const T*, const T*, const T*, const int32_t*, const T*,           \
                                          const InterpolateSize&, T*, T*, T*, cudaStream_t);
TETRAGAN_INSTANTIATE(float)
TETRAGAN_INSTANTIATE(double)

}  // namespace tetragan
