// Arithmetic of `interpolate`, shared by host and device: attribute = u·a0 + v·a1 + (1 − u − v)·a2.
#pragma once
#include "common/host_device.h"

namespace tetragan {
namespace interpolation {

template <class T>
TETRAGAN_HD T value(const T* rast, T a0, T a1, T a2) {
  return rast[0] * a0 + rast[1] * a1 + (T(1) - rast[0] - rast[1]) * a2;
}

// (d/dX, d/dY) of one attribute from db = (du/dX, du/dY, dv/dX, dv/dY).
template <class T>
TETRAGAN_HD void derivative(const T* db, T a0, T a1, T a2, T* out) {
  out[0] = (a0 - a2) * db[0] + (a1 - a2) * db[2];
  out[1] = (a0 - a2) * db[1] + (a1 - a2) * db[3];
}

// Gradients of one attribute at one pixel: of (u, v), of db (both added to; db may be null) and of the three vertices.
template <class T>
TETRAGAN_HD void gradient(const T* rast, const T* db, T a0, T a1, T a2, T grad, const T* grad_db, T* of_uv, T* of_db,
                          T* of_vertex) {
  of_uv[0] += grad * (a0 - a2);
  of_uv[1] += grad * (a1 - a2);
  T first = grad * rast[0], second = grad * rast[1], both = grad;
  if (db != nullptr) {
    of_db[0] += grad_db[0] * (a0 - a2);
    of_db[1] += grad_db[1] * (a0 - a2);
    of_db[2] += grad_db[0] * (a1 - a2);
    of_db[3] += grad_db[1] * (a1 - a2);
    first += grad_db[0] * db[0] + grad_db[1] * db[1];
    second += grad_db[0] * db[2] + grad_db[1] * db[3];
  }
  of_vertex[0] = first;
  of_vertex[1] = second;
  of_vertex[2] = both - first - second;
}

}  // namespace interpolation
}  // namespace tetragan
