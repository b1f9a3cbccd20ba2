// CPU kernel of `weighted_normals`: one thread adds the faces in their order.
#include "common/cpu.h"
#include "weighted_normals/weighted_normals.h"

namespace tetragan {
namespace {

using normals::Vector3;

// The sum of the cross products around each vertex, and one over its length, 0 where it cancels.
struct Sums {
  std::vector<Vector3> total;
  std::vector<double> inverse;
};

template <class T>
Sums sum_faces(const T* vertices, const int32_t* faces, int64_t num_vertices, int64_t num_faces) {
  Sums sums{std::vector<Vector3>(num_vertices, Vector3{0, 0, 0}), std::vector<double>(num_vertices, 0)};
  for (int64_t f = 0; f < num_faces; ++f) {
    const int32_t* face = faces + 3 * f;
    const Vector3 weighted = normals::face_normal(vertices, face);
    const double area = std::sqrt(dot(weighted, weighted));
    for (int k = 0; k < 3; ++k) {
      sums.total[face[k]] = sums.total[face[k]] + weighted;
      sums.inverse[face[k]] += area;
    }
  }
  for (int64_t v = 0; v < num_vertices; ++v) sums.inverse[v] = normals::inverse_length(sums.total[v], sums.inverse[v]);
  return sums;
}

Tensor weighted_normals(const Tensor& vertices, const Tensor& faces) {
  const int64_t count = vertices.size(0);
  Tensor out = empty_like_of(vertices, {count, 3});
  dispatch_floating(vertices, "weighted_normals", [&](auto zero) {
    using T = decltype(zero);
    const Sums sums = sum_faces(data<T>(vertices), data<int32_t>(faces), count, faces.size(0));
    T* target = mutable_data<T>(out);
    for (int64_t v = 0; v < count; ++v) normals::store(target, v, normals::unit_normal(sums.total[v], sums.inverse[v]));
  });
  return out;
}

Tensor weighted_normals_backward(const Tensor& grad, const Tensor& vertices, const Tensor& faces) {
  const int64_t count = vertices.size(0), num_faces = faces.size(0);
  Tensor out = empty_like_of(vertices, {count, 3});
  dispatch_floating(vertices, "weighted_normals", [&](auto zero) {
    using T = decltype(zero);
    const T *at = data<T>(vertices), *of_normal = data<T>(grad);
    const int32_t* face_ids = data<int32_t>(faces);
    Sums sums = sum_faces(at, face_ids, count, num_faces);
    for (int64_t v = 0; v < count; ++v) {
      sums.total[v] = normals::total_gradient(sums.total[v], sums.inverse[v], normals::row(of_normal, v));
    }
    std::vector<Vector3> of_vertices(count, Vector3{0, 0, 0});
    for (int64_t f = 0; f < num_faces; ++f) {
      const int32_t* face = face_ids + 3 * f;
      Vector3 of_corners[3];
      normals::face_gradient(at, face, sums.total[face[0]] + sums.total[face[1]] + sums.total[face[2]], of_corners);
      for (int k = 0; k < 3; ++k) of_vertices[face[k]] = of_vertices[face[k]] + of_corners[k];
    }
    T* target = mutable_data<T>(out);
    for (int64_t v = 0; v < count; ++v) normals::store(target, v, of_vertices[v]);
  });
  return out;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(tetragan, CPU, m) {
  m.impl("weighted_normals", TORCH_BOX(&weighted_normals));
  m.impl("weighted_normals_backward", TORCH_BOX(&weighted_normals_backward));
}

}  // namespace tetragan
