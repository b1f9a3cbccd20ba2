// Bits of many samples and ranks in bitmaps, for *_simd.cpp. Included inside such a file, so everything lands in the namespace of
// the instruction set; see common/isa.h.
#pragma once
#if defined(__AVX2__) || defined(__AVX512F__)
#include <immintrin.h>
#endif

#include "common/isa.h"
#include "marching_tets/marching_tets.h"

namespace tetragan::TETRAGAN_ISA {

namespace {

// Bit `sample` of each of `count` words, a multiple of 8, as one word.
template <int count = 64>
TETRAGAN_INLINE uint64_t column(const uint64_t* words, int sample) {
  uint64_t result = 0;
#if defined(__AVX512BW__)
  const __m512i bit = _mm512_set1_epi64(static_cast<long long>(uint64_t{1} << sample));
  for (int i = 0; i < count / 8; ++i) {
    result |= static_cast<uint64_t>(_mm512_test_epi64_mask(_mm512_loadu_si512(words + 8 * i), bit)) << (8 * i);
  }
#elif defined(__AVX2__)
  const __m128i shift = _mm_cvtsi32_si128(63 - sample);
  for (int i = 0; i < count / 4; ++i) {
    const __m256i four = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(words + 4 * i));
    const int signs = _mm256_movemask_pd(_mm256_castsi256_pd(_mm256_sll_epi64(four, shift)));
    result |= static_cast<uint64_t>(signs) << (4 * i);
  }
#else
  for (int i = 0; i < count; ++i) result |= (words[i] >> sample & 1) << i;
#endif
  return result;
}

// The number of set bits below bit index & 63 of a word. (Compilers keep a mask of those bits in the slow mask registers.)
TETRAGAN_INLINE int bits_below(uint64_t word, int64_t index) { return __builtin_popcountll(word << 1 << (~index & 63)); }

// The number of set bits before bit `index` of a bitmap.
TETRAGAN_INLINE int64_t rank_of(const marching::Rank* ranks, int64_t index) {
  const marching::Rank& r = ranks[index >> 6];
  return r.before + bits_below(r.bits, index);
}

}  // namespace

}  // namespace tetragan::TETRAGAN_ISA
