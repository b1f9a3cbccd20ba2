// The arrays of `environment_shading`, [P, 3] or [P].
#pragma once
#include "environment_shading/environment_shading.h"

namespace tetragan {

template <class T>
struct ShadingPointers {
  const T *normal, *eye, *base, *metallic, *roughness;
};

template <class T>
struct ShadingGradients {
  T *normal, *eye, *base, *metallic, *roughness;
};

template <class T>
TETRAGAN_HD shading::Surface<T> surface_at(const ShadingPointers<T>& points, int64_t point) {
  shading::Surface<T> s;
  for (int k = 0; k < 3; ++k) {
    s.normal[k] = points.normal[3 * point + k];
    s.eye[k] = points.eye[3 * point + k];
    s.base[k] = points.base[3 * point + k];
  }
  s.metallic = points.metallic[point];
  s.roughness = points.roughness[point];
  return s;
}

template <class T>
TETRAGAN_HD void store(const ShadingGradients<T>& out, int64_t point, const shading::Surface<T>& gradient) {
  for (int k = 0; k < 3; ++k) {
    out.normal[3 * point + k] = gradient.normal[k];
    out.eye[3 * point + k] = gradient.eye[k];
    out.base[3 * point + k] = gradient.base[k];
  }
  out.metallic[point] = gradient.metallic;
  out.roughness[point] = gradient.roughness;
}

}  // namespace tetragan
