// Eight float32 lanes, named as the shared kernels of kernels/cpu name them.
//
// Everything is in an unnamed namespace: code compiled for one instruction set must never be
// merged with that of another by the linker.
#pragma once

#include <immintrin.h>

#include <cstdint>
#include <cstring>

namespace onnuri::avx2 {
namespace {

using Vec = __m256;
using Mask = __m256;
constexpr int64_t kLanes = 8;
constexpr int64_t kPvVecs = 3;  // accumulators of a 4-row value tile, with 16 registers

inline Vec v_zero() { return _mm256_setzero_ps(); }
inline Vec v_set(float x) { return _mm256_set1_ps(x); }
inline Vec v_load(const float* p) { return _mm256_loadu_ps(p); }
inline void v_store(float* p, Vec v) { _mm256_storeu_ps(p, v); }

inline void v_prefetch(const void* p) { _mm_prefetch(static_cast<const char*>(p), _MM_HINT_T0); }

inline __m256i v_first_n(int64_t n) {
  const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(n)), lane);
}
// The first n lanes; the others read as zero and are not stored.
inline Vec v_load_n(const float* p, int64_t n) { return _mm256_maskload_ps(p, v_first_n(n)); }
inline void v_store_n(float* p, Vec v, int64_t n) { _mm256_maskstore_ps(p, v_first_n(n), v); }

inline Vec v_set_n(float x, int64_t n) {  // x in the first n lanes, else zero
  return _mm256_and_ps(_mm256_castsi256_ps(v_first_n(n)), _mm256_set1_ps(x));
}

inline Vec v_add(Vec a, Vec b) { return _mm256_add_ps(a, b); }
inline Vec v_sub(Vec a, Vec b) { return _mm256_sub_ps(a, b); }
inline Vec v_mul(Vec a, Vec b) { return _mm256_mul_ps(a, b); }
inline Vec v_div(Vec a, Vec b) { return _mm256_div_ps(a, b); }
inline Vec v_fma(Vec a, Vec b, Vec c) { return _mm256_fmadd_ps(a, b, c); }    // ab + c
inline Vec v_fnma(Vec a, Vec b, Vec c) { return _mm256_fnmadd_ps(a, b, c); }  // c - ab
// A NaN in b is kept.
inline Vec v_max(Vec a, Vec b) { return _mm256_max_ps(a, b); }
inline Vec v_min(Vec a, Vec b) { return _mm256_min_ps(a, b); }
inline Vec v_abs(Vec a) { return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), a); }
inline Vec v_round(Vec a) {
  return _mm256_round_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
// Whether not a < b, not a > b; true for NaN.
inline Mask v_not_less(Vec a, Vec b) { return _mm256_cmp_ps(a, b, _CMP_NLT_UQ); }
inline Mask v_not_greater(Vec a, Vec b) { return _mm256_cmp_ps(a, b, _CMP_NGT_UQ); }
inline Vec v_keep(Mask mask, Vec v) { return _mm256_and_ps(mask, v); }  // else zero
inline Vec v_select(Mask mask, Vec yes, Vec no) { return _mm256_blendv_ps(no, yes, mask); }
// v * 2^n for whole n, by its exponent bits.
inline Vec v_scale2(Vec v, Vec n) {
  const __m256i shift = _mm256_slli_epi32(_mm256_cvtps_epi32(n), 23);
  return _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(v), shift));
}

inline float v_first(Vec v) { return _mm256_cvtss_f32(v); }
inline float v_sum(Vec v) {
  __m128 s = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
  s = _mm_add_ps(s, _mm_movehl_ps(s, s));
  return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
}
inline float v_max_lane(Vec v) {
  __m128 s = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
  s = _mm_max_ps(s, _mm_movehl_ps(s, s));
  return _mm_cvtss_f32(_mm_max_ss(s, _mm_movehdup_ps(s)));
}
// Four sums over lanes, to to[0..3].
inline void v_store_sums(float* to, Vec a, Vec b, Vec c, Vec d) {
  const Vec ab = _mm256_add_ps(_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b));
  const Vec cd = _mm256_add_ps(_mm256_unpacklo_ps(c, d), _mm256_unpackhi_ps(c, d));
  const Vec s = _mm256_add_ps(_mm256_shuffle_ps(ab, cd, 0x44), _mm256_shuffle_ps(ab, cd, 0xee));
  _mm_storeu_ps(to, _mm_add_ps(_mm256_castps256_ps128(s), _mm256_extractf128_ps(s, 1)));
}

// Neighbouring lanes for rope on pairs.
inline Vec v_swap_pairs(Vec v) { return _mm256_permute_ps(v, 0xb1); }
// p[0], p[0], p[1], p[1], ... from four floats.
inline Vec v_load_twice(const float* p) {
  const __m256i index = _mm256_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3);
  return _mm256_permutevar8x32_ps(_mm256_castps128_ps256(_mm_loadu_ps(p)), index);
}
// -1, 1, -1, 1, ...
inline Vec v_pair_signs() { return _mm256_setr_ps(-1, 1, -1, 1, -1, 1, -1, 1); }

inline Vec v_load_f16(const uint16_t* p) {
  return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
}
inline Vec v_load_bf16(const uint16_t* p) {
  const __m128i bits = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(bits), 16));
}
inline void v_store_f16(uint16_t* p, Vec v) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p),
                   _mm256_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}
// Nearest, ties to even; NaN stays NaN.
inline void v_store_bf16(uint16_t* p, Vec v) {
  const __m256i bits = _mm256_castps_si256(v);
  const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
  const __m256i near = _mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff)));
  const __m256i quiet = _mm256_or_si256(bits, _mm256_set1_epi32(0x400000));
  const __m256i nan = _mm256_castps_si256(_mm256_cmp_ps(v, v, _CMP_UNORD_Q));
  const __m256i high = _mm256_srli_epi32(_mm256_blendv_epi8(near, quiet, nan), 16);
  const __m128i packed =
      _mm_packus_epi32(_mm256_castsi256_si128(high), _mm256_extracti128_si256(high, 1));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), packed);
}

}  // namespace
}  // namespace onnuri::avx2
