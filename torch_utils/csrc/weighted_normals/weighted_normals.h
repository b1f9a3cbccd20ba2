// Arithmetic of `weighted_normals`, shared by host and device. Everything is computed in double precision.
#pragma once
#include "common/host_device.h"

namespace tetragan {
namespace normals {

// Share of the area around a vertex below which the sum of its cross products counts as zero.
constexpr double kCanceled = 1e-7;

struct Vector3 {
  double x, y, z;
};

TETRAGAN_HD Vector3 operator+(const Vector3& a, const Vector3& b) { return {a.x + b.x, a.y + b.y, a.z + b.z}; }
TETRAGAN_HD Vector3 operator-(const Vector3& a, const Vector3& b) { return {a.x - b.x, a.y - b.y, a.z - b.z}; }

TETRAGAN_HD Vector3 cross(const Vector3& a, const Vector3& b) {
  return {a.y * b.z - a.z * b.y, a.z * b.x - a.x * b.z, a.x * b.y - a.y * b.x};
}

TETRAGAN_HD double dot(const Vector3& a, const Vector3& b) { return a.x * b.x + a.y * b.y + a.z * b.z; }

template <class T>
TETRAGAN_HD Vector3 row(const T* rows, int64_t index) {
  return {static_cast<double>(rows[3 * index]), static_cast<double>(rows[3 * index + 1]),
          static_cast<double>(rows[3 * index + 2])};
}

template <class T>
TETRAGAN_HD void store(T* rows, int64_t index, const Vector3& value) {
  rows[3 * index] = static_cast<T>(value.x);
  rows[3 * index + 1] = static_cast<T>(value.y);
  rows[3 * index + 2] = static_cast<T>(value.z);
}

// The cross product of a face, as long as twice its area.
template <class T>
TETRAGAN_HD Vector3 face_normal(const T* vertices, const int32_t* face) {
  const Vector3 a = row(vertices, face[0]);
  return cross(row(vertices, face[1]) - a, row(vertices, face[2]) - a);
}

// One over the length of the cross products' sum, 0 where it cancels. around: the sum of their lengths.
TETRAGAN_HD double inverse_length(const Vector3& total, double around) {
  const double length2 = dot(total, total), least = kCanceled * around;
  return length2 > least * least ? 1 / std::sqrt(length2) : 0;
}

// The normal of a vertex; +Y where the sum cancels, which may then be NaN.
TETRAGAN_HD Vector3 unit_normal(const Vector3& total, double inverse) {
  if (inverse == 0) return {0, 1, 0};
  return {total.x * inverse, total.y * inverse, total.z * inverse};
}

// The gradient of the sum from that of the normal: (g − n (n·g)) / length.
TETRAGAN_HD Vector3 total_gradient(const Vector3& total, double inverse, const Vector3& g) {
  if (inverse == 0) return {0, 0, 0};
  const Vector3 n = unit_normal(total, inverse);
  const double along = dot(n, g);
  return {(g.x - n.x * along) * inverse, (g.y - n.y * along) * inverse, (g.z - n.z * along) * inverse};
}

// The gradients of a face's three vertices from that of its cross product.
template <class T>
TETRAGAN_HD void face_gradient(const T* vertices, const int32_t* face, const Vector3& g, Vector3* out) {
  const Vector3 a = row(vertices, face[0]);
  out[1] = cross(row(vertices, face[2]) - a, g);
  out[2] = cross(g, row(vertices, face[1]) - a);
  out[0] = {-out[1].x - out[2].x, -out[1].y - out[2].y, -out[1].z - out[2].z};
}

}  // namespace normals
}  // namespace tetragan
