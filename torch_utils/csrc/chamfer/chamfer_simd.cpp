// The inner loops of `chamfer` for one instruction set; see common/isa.h.
//
// Vectors of 16 lanes in the compiler's portable form: 64 bytes for float, which is one AVX-512 register, two of AVX2 or
// four of SSE and NEON. Each lane is one point of the block that looks for its nearest; the other set's points are
// broadcast. A block of the other set is skipped when the gap between the boxes exceeds the block's worst distance.
#include <cmath>
#include <cstdint>
#include <initializer_list>

#include "common/isa.h"

#if defined(__AVX2__)
#include <immintrin.h>
#endif

namespace tetragan::TETRAGAN_ISA {

namespace {

constexpr int kBlock = 16;

#if defined(__AVX512F__)
constexpr int kRegisterBytes = 64;
#elif defined(__AVX2__)
constexpr int kRegisterBytes = 32;
#else
constexpr int kRegisterBytes = 16;
#endif

template <class T>
struct Register;
template <>
struct Register<float> {
  typedef float Values __attribute__((vector_size(kRegisterBytes)));
  typedef int32_t Ids __attribute__((vector_size(kRegisterBytes)));
};
template <>
struct Register<double> {
  typedef double Values __attribute__((vector_size(kRegisterBytes)));
  typedef int64_t Ids __attribute__((vector_size(kRegisterBytes)));
};

template <class T>
constexpr int kParts = kBlock * static_cast<int>(sizeof(T)) / kRegisterBytes;
template <class T>
constexpr int kLanes = kRegisterBytes / static_cast<int>(sizeof(T));

template <class V>
TETRAGAN_INLINE V larger(V a, V b) {
  return a > b ? a : b;
}

// The largest of the block's 16 values: parts first, then halves.
template <class T>
TETRAGAN_INLINE T largest(const typename Register<T>::Values* parts) {
  typename Register<T>::Values top = parts[0];
  for (int part = 1; part < kParts<T>; ++part) top = larger(top, parts[part]);
  T lanes[kLanes<T>];
  __builtin_memcpy(lanes, &top, sizeof top);
  for (int width = kLanes<T> / 2; width > 0; width /= 2) {
    for (int lane = 0; lane < width; ++lane) lanes[lane] = larger(lanes[lane], lanes[lane + width]);
  }
  return lanes[0];
}

// Bit j is set where gap[j] <= bound.
template <class T>
TETRAGAN_INLINE uint32_t at_most(const T* gap, T bound) {
  uint32_t bits = 0;
  for (int lane = 0; lane < kBlock; ++lane) bits |= static_cast<uint32_t>(gap[lane] <= bound) << lane;
  return bits;
}

#if defined(__AVX512F__)
template <>
TETRAGAN_INLINE uint32_t at_most<float>(const float* gap, float bound) {
  return _mm512_cmp_ps_mask(_mm512_loadu_ps(gap), _mm512_set1_ps(bound), _CMP_LE_OQ);
}
#elif defined(__AVX2__)
template <>
TETRAGAN_INLINE uint32_t at_most<float>(const float* gap, float bound) {
  const __m256 limit = _mm256_set1_ps(bound);
  const int low = _mm256_movemask_ps(_mm256_cmp_ps(_mm256_loadu_ps(gap), limit, _CMP_LE_OQ));
  const int high = _mm256_movemask_ps(_mm256_cmp_ps(_mm256_loadu_ps(gap + 8), limit, _CMP_LE_OQ));
  return static_cast<uint32_t>(low | high << 8);
}
#endif

// Squared gaps between the box (low, high) and each of 16 boxes, by the arithmetic of squared_distance in chamfer.h; `least`
// keeps the smallest of each lane.
template <class T>
TETRAGAN_INLINE void gaps(const T* box, const T* boxes, int64_t stride, T* out, typename Register<T>::Values* least) {
  using Values = typename Register<T>::Values;
  for (int part = 0; part < kParts<T>; ++part) {
    Values squares[3];
    for (int axis = 0; axis < 3; ++axis) {
      Values low, high;
      __builtin_memcpy(&low, boxes + axis * stride + part * kLanes<T>, sizeof low);
      __builtin_memcpy(&high, boxes + (3 + axis) * stride + part * kLanes<T>, sizeof high);
      const Values below = low - box[3 + axis], above = box[axis] - high;
      const Values gap = larger(below, above);
      // Overlapping boxes have no gap; the gap of a missing box stays NaN.
      squares[axis] = gap < 0 ? Values{} : gap * gap;
    }
    const Values sum = (squares[0] + squares[1]) + squares[2];
    __builtin_memcpy(out + part * kLanes<T>, &sum, sizeof sum);
    *least = sum < *least ? sum : *least;
  }
}

// 16 points that look for their nearest.
template <class T, bool kIndices>
struct Search {
  using Values = typename Register<T>::Values;
  using Ids = typename Register<T>::Ids;
  Values x[kParts<T>], y[kParts<T>], z[kParts<T>], best[kParts<T>];
  Ids index[kParts<T>];

  TETRAGAN_INLINE explicit Search(const T* own) {
    __builtin_memcpy(x, own, sizeof x);
    __builtin_memcpy(y, own + kBlock, sizeof y);
    __builtin_memcpy(z, own + 2 * kBlock, sizeof z);
    for (int part = 0; part < kParts<T>; ++part) {
      // A lane without a point (NaN) starts below everything, so that it never raises the bound.
      const Values infinity = Values{} + static_cast<T>(INFINITY);
      best[part] = x[part] == x[part] ? infinity : -infinity;
      index[part] = Ids{} + INT32_MAX;
    }
  }

  // Against 16 points of the other set; a NaN is never nearer.
  TETRAGAN_INLINE void tile(const T* other, const int32_t* ids) {
    for (int k = 0; k < kBlock; ++k) {
      for (int part = 0; part < kParts<T>; ++part) {
        const Values dx = x[part] - other[k], dy = y[part] - other[kBlock + k], dz = z[part] - other[2 * kBlock + k];
        const Values distance = (dx * dx + dy * dy) + dz * dz;
        if (kIndices) {
          // The lowest id wins a tie, so that the order of the blocks does not matter.
          const Ids id = Ids{} + ids[k];
          const Ids better = (distance < best[part]) | ((distance == best[part]) & (id < index[part]));
          index[part] = better ? id : index[part];
        }
        best[part] = distance < best[part] ? distance : best[part];
      }
    }
  }
};

// For every point of a set in blocks, the nearest point of another: see nearest_f32 below.
template <class T, bool kIndices>
TETRAGAN_INLINE void nearest(const T* points, const T* boxes, int64_t blocks, int64_t stride, const T* other,
                             const T* other_boxes, const int32_t* other_ids, int64_t other_blocks, int64_t other_stride,
                             T* gap, T* best, int32_t* index) {
  for (int64_t block = 0; block < blocks; ++block) {
    Search<T, kIndices> search(points + block * 3 * kBlock);
    T box[6];
    for (int side = 0; side < 6; ++side) box[side] = boxes[side * stride + block];
    using Values = typename Register<T>::Values;
    Values low = Values{} + static_cast<T>(INFINITY);
    for (int64_t start = 0; start < other_blocks; start += kBlock) {
      gaps<T>(box, other_boxes + start, other_stride, gap + start, &low);
    }
    T least = low[0];
    for (int lane = 1; lane < kLanes<T>; ++lane) least = low[lane] < least ? low[lane] : least;
    int64_t first = 0;
    for (int64_t start = 0; start < other_blocks; start += kBlock) {
      if (const uint32_t near = at_most<T>(gap + start, least)) {
        first = start + __builtin_ctz(near);
        break;
      }
    }
    if (other_blocks > 0) search.tile(other + first * 3 * kBlock, other_ids + first * kBlock);
    T bound = largest<T>(search.best);
    if (other_blocks > 0) gap[first] = NAN;  // done: NaN is never within a bound
    // Near blocks first, so that the bound is small when the others are tested.
    for (T share : {static_cast<T>(0.1), static_cast<T>(0.4), static_cast<T>(1)}) {
      for (int64_t start = 0; start < other_blocks; start += kBlock) {
        for (uint32_t near = at_most<T>(gap + start, share * bound); near != 0; near &= near - 1) {
          const int64_t j = start + __builtin_ctz(near);
          if (gap[j] > bound) continue;
          search.tile(other + j * 3 * kBlock, other_ids + j * kBlock);
          gap[j] = NAN;
          bound = largest<T>(search.best);
        }
      }
    }
    __builtin_memcpy(best + block * kBlock, search.best, sizeof search.best);
    if (kIndices) {
      for (int lane = 0; lane < kBlock; ++lane) {
        index[block * kBlock + lane] = static_cast<int32_t>(search.index[lane / kLanes<T>][lane % kLanes<T>]);
      }
    }
  }
}

}  // namespace

// points [blocks][3][16]; boxes [6][stride]: low x, y, z, high x, y, z of each block; the other set likewise, with the
// id of each point. gap: scratch of other_stride. best [blocks × 16]: squared distances; index [blocks × 16] the ids of
// the nearest, or null. Strides are multiples of 16; boxes beyond the last block hold NaN.
void nearest_f32(const float* points, const float* boxes, int64_t blocks, int64_t stride, const float* other,
                 const float* other_boxes, const int32_t* other_ids, int64_t other_blocks, int64_t other_stride, float* gap,
                 float* best, int32_t* index) {
  if (index == nullptr) {
    nearest<float, false>(points, boxes, blocks, stride, other, other_boxes, other_ids, other_blocks, other_stride, gap,
                          best, index);
  } else {
    nearest<float, true>(points, boxes, blocks, stride, other, other_boxes, other_ids, other_blocks, other_stride, gap,
                         best, index);
  }
}

void nearest_f64(const double* points, const double* boxes, int64_t blocks, int64_t stride, const double* other,
                 const double* other_boxes, const int32_t* other_ids, int64_t other_blocks, int64_t other_stride,
                 double* gap, double* best, int32_t* index) {
  if (index == nullptr) {
    nearest<double, false>(points, boxes, blocks, stride, other, other_boxes, other_ids, other_blocks, other_stride, gap,
                           best, index);
  } else {
    nearest<double, true>(points, boxes, blocks, stride, other, other_boxes, other_ids, other_blocks, other_stride, gap,
                          best, index);
  }
}

}  // namespace tetragan::TETRAGAN_ISA
