// The loops of `environment_shading` for one instruction set; see common/isa.h.
//
// Points are taken in groups. Arithmetic runs on vectors of points, as the compiler makes them of the loops over lanes;
// only the texels are gathered point by point.
// build-flags: -fno-trapping-math -fno-math-errno
#include <cmath>
#include <cstdint>

#include "common/isa.h"
#include "environment_shading/environment_shading.h"
#include "environment_shading/points.h"

namespace tetragan::TETRAGAN_ISA {

namespace {

using shading::Directions;
using shading::Environment;
using shading::Surface;
using shading::Texels;

constexpr int kGroup = 32;

// A structure of numbers for each point of a group, one number after the other.
template <class T, class Structure>
struct Group {
  static constexpr int count = sizeof(Structure) / sizeof(T);
  T numbers[count][kGroup];

  TETRAGAN_INLINE void set(int lane, const Structure& structure) {
    const T* source = reinterpret_cast<const T*>(&structure);
#pragma GCC unroll 128
    for (int k = 0; k < count; ++k) numbers[k][lane] = source[k];
  }

  TETRAGAN_INLINE Structure get(int lane) const {
    Structure structure;
    T* target = reinterpret_cast<T*>(&structure);
#pragma GCC unroll 128
    for (int k = 0; k < count; ++k) target[k] = numbers[k][lane];
    return structure;
  }
};

template <class T>
struct Radiances {
  T specular[3], diffuse[3];
};

// A group, with everything that does not depend on the gradients.
template <class T>
struct Lookups {
  Group<T, Surface<T>> surface;
  Group<T, Directions<T>> directions;
  Group<T, Texels<T>> texels;

  TETRAGAN_INLINE Lookups(const Environment<T>& environment, const ShadingPointers<T>& points, int64_t first, int count) {
    for (int lane = 0; lane < count; ++lane) surface.set(lane, surface_at(points, first + lane));
    for (int lane = 0; lane < count; ++lane) {
      const Surface<T> s = surface.get(lane);
      directions.set(lane, shading::directions_of(s.normal, s.eye));
    }
    for (int lane = 0; lane < count; ++lane) {
      texels.set(lane, shading::gather(environment, directions.get(lane), points.roughness[first + lane]));
    }
  }
};

template <class T>
TETRAGAN_INLINE void forward(const Environment<T>& environment, const ShadingPointers<T>& points, int64_t count, T* specular,
                             T* diffuse) {
  for (int64_t first = 0; first < count; first += kGroup) {
    const int lanes = static_cast<int>(count - first < kGroup ? count - first : kGroup);
    const Lookups<T> group(environment, points, first, lanes);
    for (int lane = 0; lane < lanes; ++lane) {
      const Surface<T> s = group.surface.get(lane);
      T to_specular[3], to_diffuse[3];
      shading::reflect(group.texels.get(lane), s.base, s.metallic, to_specular, to_diffuse);
      for (int k = 0; k < 3; ++k) {
        specular[3 * (first + lane) + k] = to_specular[k];
        diffuse[3 * (first + lane) + k] = to_diffuse[k];
      }
    }
  }
}

template <class T>
TETRAGAN_INLINE void backward(const Environment<T>& environment, const ShadingPointers<T>& points, int64_t count,
                              const T* of_specular, const T* of_diffuse, const ShadingGradients<T>& out) {
  for (int64_t first = 0; first < count; first += kGroup) {
    const int lanes = static_cast<int>(count - first < kGroup ? count - first : kGroup);
    const Lookups<T> group(environment, points, first, lanes);
    Group<T, Radiances<T>> incoming;
    Group<T, Surface<T>> gradient;
    for (int lane = 0; lane < lanes; ++lane) {
      const T *s = of_specular + 3 * (first + lane), *d = of_diffuse + 3 * (first + lane);
      incoming.set(lane, Radiances<T>{{s[0], s[1], s[2]}, {d[0], d[1], d[2]}});
    }
    for (int lane = 0; lane < lanes; ++lane) {
      const Radiances<T> of = incoming.get(lane);
      gradient.set(lane, shading::reflect_gradient(group.directions.get(lane), group.texels.get(lane),
                                                   group.surface.get(lane), of.specular, of.diffuse));
    }
    for (int lane = 0; lane < lanes; ++lane) store(out, first + lane, gradient.get(lane));
  }
}

}  // namespace

#define TETRAGAN_DEFINE(suffix, T)                                                                                        \
  void shading_forward_##suffix(const Environment<T>& environment, const ShadingPointers<T>& points, int64_t count,       \
                                T* specular, T* diffuse) {                                                                \
    forward(environment, points, count, specular, diffuse);                                                               \
  }                                                                                                                       \
  void shading_backward_##suffix(const Environment<T>& environment, const ShadingPointers<T>& points, int64_t count,      \
                                 const T* of_specular, const T* of_diffuse, const ShadingGradients<T>& out) {             \
    backward(environment, points, count, of_specular, of_diffuse, out);                                                   \
  }
TETRAGAN_DEFINE(f32, float)
TETRAGAN_DEFINE(f64, double)

}  // namespace tetragan::TETRAGAN_ISA
