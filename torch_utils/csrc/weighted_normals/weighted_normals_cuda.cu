// CUDA kernels of `weighted_normals`. The faces add to their vertices with atomics, and still in no particular order: sums
// are whole numbers of a unit that each vertex has for itself. A first pass finds its largest term and how many there
// are, so that the unit is as small as 64 bits allow. With six faces it is 2⁻⁵⁹ of that term, finer than a double.
#include "common/cuda_launch.h"
#include "weighted_normals/weighted_normals.h"
#include "weighted_normals/weighted_normals_cuda.h"

namespace tetragan {
namespace {

using normals::Vector3;

// Of a vertex: sums in its unit, the bits of its largest term (as positive doubles, ordered like their values), terms.
struct Sum {
  unsigned long long total[4], largest, terms;
};

constexpr unsigned long long kInfinite = 0x7ffull << 52;
constexpr int kLeastExponent = -900;  // smaller terms would need a unit below the smallest double

// Terms are multiplied with 2^shift. All of them together stay below 2⁶³, rounding included.
__device__ int shift_of(const Sum& sum) {
  const int exponent = static_cast<int>(sum.largest >> 52) - 1022;  // the largest term is below 2^exponent
  const int doublings = 64 - __clzll(static_cast<long long>(sum.terms));
  return 62 - doublings - (exponent > kLeastExponent ? exponent : kLeastExponent);
}

__device__ double power_of_two(int exponent) {
  return __longlong_as_double(static_cast<long long>(exponent + 1023) << 52);
}

__device__ bool is_finite(const Sum& sum) { return sum.largest < kInfinite; }

// Takes a term into account: the sum of its absolute values bounds each of them and its length, and keeps NaN.
__device__ void offer(Sum& sum, const Vector3& term) {
  const double size = std::fabs(term.x) + std::fabs(term.y) + std::fabs(term.z);
  atomicMax(&sum.largest, static_cast<unsigned long long>(__double_as_longlong(size)) & ~(1ull << 63));
}

template <int kTerms>
__device__ void add(Sum& sum, const double* terms) {
  if (!is_finite(sum)) return;
  const double scale = power_of_two(shift_of(sum));
  for (int k = 0; k < kTerms; ++k) {
    atomicAdd(sum.total + k, static_cast<unsigned long long>(__double2ll_rn(terms[k] * scale)));
  }
}

__device__ double in_units(const Sum& sum, int k) { return static_cast<double>(static_cast<long long>(sum.total[k])); }

__device__ Vector3 total_of(const Sum& sum) { return {in_units(sum, 0), in_units(sum, 1), in_units(sum, 2)}; }

// One over the length of the sum, both in its unit.
__device__ double inverse_of(const Sum& sum) {
  return is_finite(sum) ? normals::inverse_length(total_of(sum), in_units(sum, 3)) : 0;
}

__device__ bool known_vertices(const int32_t* face, int64_t count) {
  return face[0] >= 0 && face[0] < count && face[1] >= 0 && face[1] < count && face[2] >= 0 && face[2] < count;
}

template <class T>
__global__ void bound_kernel(const T* vertices, const int32_t* faces, int64_t num_vertices, int64_t num_faces, Sum* sums) {
  TETRAGAN_EACH(f, num_faces) {
    const int32_t* face = faces + 3 * f;
    if (!known_vertices(face, num_vertices)) continue;
    const Vector3 weighted = normals::face_normal(vertices, face);
    for (int k = 0; k < 3; ++k) {
      offer(sums[face[k]], weighted);
      atomicAdd(&sums[face[k]].terms, 1ull);
    }
  }
}

template <class T>
__global__ void add_kernel(const T* vertices, const int32_t* faces, int64_t num_vertices, int64_t num_faces, Sum* sums) {
  TETRAGAN_EACH(f, num_faces) {
    const int32_t* face = faces + 3 * f;
    if (!known_vertices(face, num_vertices)) continue;
    const Vector3 weighted = normals::face_normal(vertices, face);
    const double terms[4] = {weighted.x, weighted.y, weighted.z, std::sqrt(dot(weighted, weighted))};
    for (int k = 0; k < 3; ++k) add<4>(sums[face[k]], terms);
  }
}

template <class T>
__global__ void normal_kernel(const Sum* sums, int64_t num_vertices, T* out) {
  TETRAGAN_EACH(v, num_vertices) {
    normals::store(out, v, normals::unit_normal(total_of(sums[v]), inverse_of(sums[v])));
  }
}

// Replaces the sums by zero, to be used once more, and keeps the number of terms.
template <class T>
__global__ void total_gradient_kernel(const T* grad, int64_t num_vertices, Sum* sums, Vector3* of_totals) {
  TETRAGAN_EACH(v, num_vertices) {
    const Sum sum = sums[v];
    // By a unit vector the gradient has the unit of one over the sum.
    const Vector3 g = normals::total_gradient(total_of(sum), inverse_of(sum), normals::row(grad, v));
    const double scale = is_finite(sum) ? power_of_two(shift_of(sum)) : 1;
    of_totals[v] = {g.x * scale, g.y * scale, g.z * scale};
    sums[v] = {{0, 0, 0, 0}, 0, sum.terms};
  }
}

template <class T>
__device__ void corner_gradients(const T* vertices, const int32_t* face, const Vector3* of_totals, Vector3* out) {
  normals::face_gradient(vertices, face, of_totals[face[0]] + of_totals[face[1]] + of_totals[face[2]], out);
}

template <class T>
__global__ void bound_gradient_kernel(const T* vertices, const int32_t* faces, const Vector3* of_totals, int64_t num_vertices,
                                      int64_t num_faces, Sum* sums) {
  TETRAGAN_EACH(f, num_faces) {
    const int32_t* face = faces + 3 * f;
    if (!known_vertices(face, num_vertices)) continue;
    Vector3 of_corners[3];
    corner_gradients(vertices, face, of_totals, of_corners);
    for (int k = 0; k < 3; ++k) offer(sums[face[k]], of_corners[k]);
  }
}

template <class T>
__global__ void add_gradient_kernel(const T* vertices, const int32_t* faces, const Vector3* of_totals, int64_t num_vertices,
                                    int64_t num_faces, Sum* sums) {
  TETRAGAN_EACH(f, num_faces) {
    const int32_t* face = faces + 3 * f;
    if (!known_vertices(face, num_vertices)) continue;
    Vector3 of_corners[3];
    corner_gradients(vertices, face, of_totals, of_corners);
    for (int k = 0; k < 3; ++k) {
      const double terms[3] = {of_corners[k].x, of_corners[k].y, of_corners[k].z};
      add<3>(sums[face[k]], terms);
    }
  }
}

template <class T>
__global__ void vertex_gradient_kernel(const Sum* sums, int64_t num_vertices, T* out) {
  TETRAGAN_EACH(v, num_vertices) {
    const Sum sum = sums[v];
    const double unit = is_finite(sum) ? power_of_two(-shift_of(sum)) : __longlong_as_double(-1);  // NaN
    const Vector3 total = total_of(sum);
    normals::store(out, v, {total.x * unit, total.y * unit, total.z * unit});
  }
}

template <class T>
void sum_faces(const T* vertices, const int32_t* faces, int64_t num_vertices, int64_t num_faces, Sum* sums,
               cudaStream_t stream) {
  cudaMemsetAsync(sums, 0, num_vertices * sizeof(Sum), stream);
  if (num_faces == 0) return;
  const unsigned blocks = blocks_for(num_faces);
  bound_kernel<<<blocks, kBlock, 0, stream>>>(vertices, faces, num_vertices, num_faces, sums);
  add_kernel<<<blocks, kBlock, 0, stream>>>(vertices, faces, num_vertices, num_faces, sums);
}

}  // namespace

int64_t weighted_normals_cuda_scratch(int64_t vertices) {
  return vertices * static_cast<int64_t>(sizeof(Sum) + sizeof(Vector3));
}

template <class T>
void weighted_normals_cuda(const T* vertices, const int32_t* faces, int64_t num_vertices, int64_t num_faces, void* scratch,
                           T* out, cudaStream_t stream) {
  if (num_vertices == 0) return;
  auto* sums = static_cast<Sum*>(scratch);
  sum_faces(vertices, faces, num_vertices, num_faces, sums, stream);
  normal_kernel<<<blocks_for(num_vertices), kBlock, 0, stream>>>(sums, num_vertices, out);
}

template <class T>
void weighted_normals_backward_cuda(const T* grad, const T* vertices, const int32_t* faces, int64_t num_vertices,
                                    int64_t num_faces, void* scratch, T* out, cudaStream_t stream) {
  if (num_vertices == 0) return;
  auto* sums = static_cast<Sum*>(scratch);
  auto* of_totals = reinterpret_cast<Vector3*>(sums + num_vertices);
  sum_faces(vertices, faces, num_vertices, num_faces, sums, stream);
  const unsigned vertex_blocks = blocks_for(num_vertices), face_blocks = blocks_for(num_faces);
  total_gradient_kernel<<<vertex_blocks, kBlock, 0, stream>>>(grad, num_vertices, sums, of_totals);
  if (num_faces > 0) {
    bound_gradient_kernel<<<face_blocks, kBlock, 0, stream>>>(vertices, faces, of_totals, num_vertices, num_faces, sums);
    add_gradient_kernel<<<face_blocks, kBlock, 0, stream>>>(vertices, faces, of_totals, num_vertices, num_faces, sums);
  }
  vertex_gradient_kernel<<<vertex_blocks, kBlock, 0, stream>>>(sums, num_vertices, out);
}

#define TETRAGAN_INSTANTIATE(T)                                                                                     \
  template void weighted_normals_cuda(const T*, const int32_t*, int64_t, int64_t, void*, T*, cudaStream_t);          \
  template void weighted_normals_backward_cuda(const T*, const T*, const int32_t*, int64_t, int64_t, void*, T*,      \
                                               cudaStream_t);
TETRAGAN_INSTANTIATE(float)
TETRAGAN_INSTANTIATE(double)

}  // namespace tetragan
