// CPU kernel of `weighted_normals`: one thread adds the faces in their order, in double precision.
#include <cmath>

#include "common/cpu.h"

namespace tetragan {
namespace {

// Share of the area around a vertex below which the sum of its cross products counts as zero.
constexpr double kCanceled = 1e-7;

struct Vector3 {
  double x, y, z;
};

Vector3 operator-(const Vector3& a, const Vector3& b) { return {a.x - b.x, a.y - b.y, a.z - b.z}; }

Vector3 cross(const Vector3& a, const Vector3& b) {
  return {a.y * b.z - a.z * b.y, a.z * b.x - a.x * b.z, a.x * b.y - a.y * b.x};
}

double square(const Vector3& a) { return a.x * a.x + a.y * a.y + a.z * a.z; }

template <class T>
Vector3 row(const T* rows, int64_t index) {
  return {static_cast<double>(rows[3 * index]), static_cast<double>(rows[3 * index + 1]),
          static_cast<double>(rows[3 * index + 2])};
}

void add(std::vector<Vector3>& rows, int64_t index, const Vector3& value) {
  rows[index].x += value.x;
  rows[index].y += value.y;
  rows[index].z += value.z;
}

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
    const Vector3 a = row(vertices, face[0]);
    const Vector3 weighted = cross(row(vertices, face[1]) - a, row(vertices, face[2]) - a);
    const double area = std::sqrt(square(weighted));
    for (int k = 0; k < 3; ++k) {
      add(sums.total, face[k], weighted);
      sums.inverse[face[k]] += area;
    }
  }
  for (int64_t v = 0; v < num_vertices; ++v) {
    const double length2 = square(sums.total[v]), least = kCanceled * sums.inverse[v];
    sums.inverse[v] = length2 > least * least ? 1 / std::sqrt(length2) : 0;
  }
  return sums;
}

Tensor weighted_normals(const Tensor& vertices, const Tensor& faces) {
  const int64_t count = vertices.size(0);
  Tensor out = empty_like_of(vertices, {count, 3});
  dispatch_floating(vertices, "weighted_normals", [&](auto zero) {
    using T = decltype(zero);
    const Sums sums = sum_faces(data<T>(vertices), data<int32_t>(faces), count, faces.size(0));
    T* target = mutable_data<T>(out);
    for (int64_t v = 0; v < count; ++v) {
      const double inverse = sums.inverse[v];
      target[3 * v] = static_cast<T>(sums.total[v].x * inverse);
      target[3 * v + 1] = inverse == 0 ? T(1) : static_cast<T>(sums.total[v].y * inverse);
      target[3 * v + 2] = static_cast<T>(sums.total[v].z * inverse);
      if (inverse == 0) target[3 * v] = target[3 * v + 2] = 0;  // the sum may be NaN
    }
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
    // Of the sums, in their place: (g − n (n·g)) / length.
    for (int64_t v = 0; v < count; ++v) {
      const double inverse = sums.inverse[v];
      const Vector3 g = row(of_normal, v), s = sums.total[v], n = {s.x * inverse, s.y * inverse, s.z * inverse};
      const double along = n.x * g.x + n.y * g.y + n.z * g.z;
      sums.total[v] = {(g.x - n.x * along) * inverse, (g.y - n.y * along) * inverse, (g.z - n.z * along) * inverse};
      if (inverse == 0) sums.total[v] = {0, 0, 0};
    }
    std::vector<Vector3> of_vertices(count, Vector3{0, 0, 0});
    for (int64_t f = 0; f < num_faces; ++f) {
      const int32_t* face = face_ids + 3 * f;
      Vector3 g = {0, 0, 0};
      for (int k = 0; k < 3; ++k) {
        const Vector3& part = sums.total[face[k]];
        g = {g.x + part.x, g.y + part.y, g.z + part.z};
      }
      const Vector3 a = row(at, face[0]);
      const Vector3 of_b = cross(row(at, face[2]) - a, g), of_c = cross(g, row(at, face[1]) - a);
      add(of_vertices, face[1], of_b);
      add(of_vertices, face[2], of_c);
      add(of_vertices, face[0], {-of_b.x - of_c.x, -of_b.y - of_c.y, -of_b.z - of_c.z});
    }
    T* target = mutable_data<T>(out);
    for (int64_t v = 0; v < count; ++v) {
      target[3 * v] = static_cast<T>(of_vertices[v].x);
      target[3 * v + 1] = static_cast<T>(of_vertices[v].y);
      target[3 * v + 2] = static_cast<T>(of_vertices[v].z);
    }
  });
  return out;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(tetragan, CPU, m) {
  m.impl("weighted_normals", TORCH_BOX(&weighted_normals));
  m.impl("weighted_normals_backward", TORCH_BOX(&weighted_normals_backward));
}

}  // namespace tetragan
