// One light-field distance for one instruction set; see common/isa.h. Layouts in lfd_distance_cpu.cpp.
#include <cmath>
#include <cstdint>

#include "common/isa.h"

#if defined(__AVX2__)
#include <immintrin.h>
#endif

namespace tetragan::TETRAGAN_ISA {

namespace {

constexpr int kViews = 10, kFields = 10, kBytes = 64, kGroups = 8, kGroupViews = 8, kPadded = 104, kAlignments = 64;

// costs[w] = Σ over 64 bytes |a − b_w| for 104 views b: b is [13 groups of 8 views][8 octets of 8 bytes][8 views][8 bytes].
inline void view_costs(const uint8_t* a, const uint8_t* b, uint16_t* costs) {
#if defined(__AVX512BW__)
  __m512i part[kGroups];
  for (int k = 0; k < kGroups; ++k) {
    int64_t eight;
    __builtin_memcpy(&eight, a + 8 * k, 8);
    part[k] = _mm512_set1_epi64(eight);
  }
  for (int group = 0; group < kPadded / kGroupViews; ++group) {
    const uint8_t* views = b + group * kBytes * kGroupViews;
    __m512i even = _mm512_setzero_si512(), odd = _mm512_setzero_si512();
    for (int k = 0; k < kGroups; k += 2) {
      even = _mm512_add_epi64(even, _mm512_sad_epu8(part[k], _mm512_loadu_si512(views + 64 * k)));
      odd = _mm512_add_epi64(odd, _mm512_sad_epu8(part[k + 1], _mm512_loadu_si512(views + 64 * k + 64)));
    }
    _mm_storeu_si128(reinterpret_cast<__m128i*>(costs + group * kGroupViews),
                     _mm512_maskz_cvtepi64_epi16(0xff, _mm512_add_epi64(even, odd)));
  }
#elif defined(__AVX2__)
  for (int group = 0; group < kPadded / kGroupViews; ++group) {
    const uint8_t* views = b + group * kBytes * kGroupViews;
    __m256i low = _mm256_setzero_si256(), high = _mm256_setzero_si256();
    for (int k = 0; k < kGroups; ++k) {
      int64_t eight;
      __builtin_memcpy(&eight, a + 8 * k, 8);
      const __m256i part = _mm256_set1_epi64x(eight);
      const auto load = [&](int half) {
        return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(views + 64 * k + 32 * half));
      };
      low = _mm256_add_epi64(low, _mm256_sad_epu8(part, load(0)));
      high = _mm256_add_epi64(high, _mm256_sad_epu8(part, load(1)));
    }
    // Views 0 … 3 in `low`, 4 … 7 in `high`, 64 bits each with values below 2¹⁶: pack twice, then put the halves in order.
    const __m256i once = _mm256_packus_epi32(low, high), twice = _mm256_packus_epi32(once, once);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(costs + group * kGroupViews),
                     _mm_unpacklo_epi32(_mm256_castsi256_si128(twice), _mm256_extracti128_si256(twice, 1)));
  }
#else
  for (int view = 0; view < kPadded; ++view) {
    const uint8_t* other = b + (view / kGroupViews) * kBytes * kGroupViews + 8 * (view % kGroupViews);
    int sum = 0;
    for (int k = 0; k < kGroups; ++k) {
      for (int byte = 0; byte < 8; ++byte) {
        const int difference = a[8 * k + byte] - other[64 * k + byte];
        sum += difference < 0 ? -difference : difference;
      }
    }
    costs[view] = static_cast<uint16_t>(sum);
  }
#endif
}

inline int32_t least_alignment_plain(const uint16_t (*costs)[kPadded + 32], int field, const uint16_t* alignments) {
  int32_t least = INT32_MAX;
  for (int alignment = 0; alignment < kAlignments; ++alignment) {
    int32_t sum = 0;
    for (int view = 0; view < kViews; ++view) sum += costs[view][field + alignments[view * kAlignments + alignment]];
    least = sum < least ? sum : least;
  }
  return least;
}

// The least Σ_v costs[v][alignment(v)] over the alignments: costs has kPadded columns a row; `field` is the first column.
// The vector paths add 16-bit numbers that saturate at 65,535; a saturated result is computed again.
inline int32_t least_alignment(const uint16_t (*costs)[kPadded + 32], int field, const uint16_t* alignments,
                               const uint8_t* shuffles) {
#if defined(__AVX512BW__)
  __m512i low = _mm512_setzero_si512(), high = _mm512_setzero_si512();
  for (int view = 0; view < kViews; ++view) {
    const __m512i row = _mm512_loadu_si512(costs[view] + field);
    const uint16_t* index = alignments + view * kAlignments;
    low = _mm512_adds_epu16(low, _mm512_permutexvar_epi16(_mm512_loadu_si512(index), row));
    high = _mm512_adds_epu16(high, _mm512_permutexvar_epi16(_mm512_loadu_si512(index + 32), row));
  }
  const __m512i least = _mm512_min_epu16(low, high);
  const __m256i half = _mm256_min_epu16(_mm512_castsi512_si256(least), _mm512_extracti64x4_epi64(least, 1));
  const __m128i quarter = _mm_min_epu16(_mm256_castsi256_si128(half), _mm256_extracti128_si256(half, 1));
  const int32_t found = _mm_extract_epi16(_mm_minpos_epu16(quarter), 0);
  return found < UINT16_MAX ? found : least_alignment_plain(costs, field, alignments);
#elif defined(__AVX2__)
  __m256i sums[4] = {};
  for (int view = 0; view < kViews; ++view) {
    const uint16_t* row = costs[view] + field;
    const __m256i first = _mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(row)));
    const __m256i rest = _mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(row + 8)));
    const uint8_t* masks = shuffles + view * kAlignments * 4;
    for (int part = 0; part < 4; ++part) {
      const auto mask = [&](int which) {
        return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(masks + which * 2 * kAlignments + 32 * part));
      };
      sums[part] = _mm256_adds_epu16(
          sums[part], _mm256_or_si256(_mm256_shuffle_epi8(first, mask(0)), _mm256_shuffle_epi8(rest, mask(1))));
    }
  }
  const __m256i half = _mm256_min_epu16(_mm256_min_epu16(sums[0], sums[1]), _mm256_min_epu16(sums[2], sums[3]));
  const __m128i quarter = _mm_min_epu16(_mm256_castsi256_si128(half), _mm256_extracti128_si256(half, 1));
  const int32_t found = _mm_extract_epi16(_mm_minpos_epu16(quarter), 0);
  return found < UINT16_MAX ? found : least_alignment_plain(costs, field, alignments);
#else
  return least_alignment_plain(costs, field, alignments);
#endif
}

}  // namespace

// a [100 views][64 bytes], b in groups as above, alignments [10][64] (a repeated one fills up), shuffles [10][2][128]: the
// same as byte shuffles of a row's first and last eight entries.
int32_t light_field_distance(const uint8_t* a, const uint8_t* b, const uint16_t* alignments, const uint8_t* shuffles) {
  int32_t least = INT32_MAX;
  for (int own = 0; own < kFields; ++own) {
    uint16_t costs[kViews][kPadded + 32] = {};
    for (int view = 0; view < kViews; ++view) view_costs(a + (own * kViews + view) * kBytes, b, costs[view]);
    for (int other = 0; other < kFields; ++other) {
      const int32_t found = least_alignment(costs, other * kViews, alignments, shuffles);
      least = found < least ? found : least;
    }
  }
  return least;
}

}  // namespace tetragan::TETRAGAN_ISA
