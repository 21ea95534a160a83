// Sixteen float32 lanes, named as the shared kernels of kernels/cpu name them.
//
// Everything is in an unnamed namespace: code compiled for one instruction set must never be
// merged with that of another by the linker. The emulated forms stand in where the emulating
// library lacks an instruction.
#pragma once

#include <cstdint>
#include <cstring>

#include "kernels/cpu/simd_avx512.h"

#ifdef ONNURI_EMULATE_AVX512
#include "kernels/ref/convert.h"
#endif

namespace onnuri::avx512 {
namespace {

using Vec = __m512;
using Mask = uint16_t;  // __mmask16
constexpr int64_t kLanes = 16;
constexpr int64_t kPvVecs = 4;  // accumulators of a 4-row value tile, with 32 registers

constexpr int kNearest = 8;  // to nearest, ties to even, no exceptions

inline Vec v_zero() { return _mm512_setzero_ps(); }
inline Vec v_set(float x) { return _mm512_set1_ps(x); }
inline Vec v_load(const float* p) { return _mm512_loadu_ps(p); }
inline void v_store(float* p, Vec v) { _mm512_storeu_ps(p, v); }
inline void v_prefetch(const void* p) { _mm_prefetch(static_cast<const char*>(p), _MM_HINT_T0); }

inline Mask v_first_n(int64_t n) { return static_cast<Mask>((1u << n) - 1u); }
// The first n lanes; the others read as zero and are not stored.
inline Vec v_load_n(const float* p, int64_t n) {
#ifdef ONNURI_EMULATE_AVX512
  float lanes[kLanes] = {};
  memcpy(lanes, p, static_cast<size_t>(n) * sizeof(float));
  return v_load(lanes);
#else
  return _mm512_maskz_loadu_ps(v_first_n(n), p);
#endif
}
inline void v_store_n(float* p, Vec v, int64_t n) {
#ifdef ONNURI_EMULATE_AVX512
  float lanes[kLanes];
  v_store(lanes, v);
  memcpy(p, lanes, static_cast<size_t>(n) * sizeof(float));
#else
  _mm512_mask_storeu_ps(p, v_first_n(n), v);
#endif
}
inline Vec v_set_n(float x, int64_t n) {  // x in the first n lanes, else zero
  return _mm512_mask_mov_ps(v_zero(), v_first_n(n), v_set(x));
}

inline Vec v_add(Vec a, Vec b) { return _mm512_add_ps(a, b); }
inline Vec v_sub(Vec a, Vec b) { return _mm512_sub_ps(a, b); }
inline Vec v_mul(Vec a, Vec b) { return _mm512_mul_ps(a, b); }
inline Vec v_div(Vec a, Vec b) { return _mm512_div_ps(a, b); }
inline Vec v_fma(Vec a, Vec b, Vec c) { return _mm512_fmadd_ps(a, b, c); }    // ab + c
inline Vec v_fnma(Vec a, Vec b, Vec c) { return _mm512_fnmadd_ps(a, b, c); }  // c - ab
// Whether not a < b, not a > b; true for NaN.
inline Mask v_not_less(Vec a, Vec b) { return _mm512_cmp_ps_mask(a, b, _CMP_NLT_UQ); }
inline Mask v_not_greater(Vec a, Vec b) { return _mm512_cmp_ps_mask(a, b, _CMP_NGT_UQ); }
inline Vec v_keep(Mask mask, Vec v) { return _mm512_mask_mov_ps(v_zero(), mask, v); }  // else zero
inline Vec v_select(Mask mask, Vec yes, Vec no) { return _mm512_mask_mov_ps(no, mask, yes); }
// A NaN in b is kept.
inline Vec v_max(Vec a, Vec b) {
#ifdef ONNURI_EMULATE_AVX512
  return v_select(_mm512_cmp_ps_mask(a, b, _CMP_GT_OQ), a, b);
#else
  return _mm512_max_ps(a, b);
#endif
}
inline Vec v_min(Vec a, Vec b) {
#ifdef ONNURI_EMULATE_AVX512
  return v_select(_mm512_cmp_ps_mask(a, b, _CMP_LT_OQ), a, b);
#else
  return _mm512_min_ps(a, b);
#endif
}
inline Vec v_abs(Vec a) { return _mm512_abs_ps(a); }
inline Vec v_round(Vec a) { return _mm512_roundscale_ps(a, kNearest); }
// v * 2^n for whole n.
inline Vec v_scale2(Vec v, Vec n) { return _mm512_scalef_ps(v, n); }

// The quarters of v swapped: halves (0x4e) or neighbours (0xb1).
template <int kOrder>
inline Vec v_swap_quarters(Vec v) {
  const __m512i bits = _mm512_castps_si512(v);
  return _mm512_castsi512_ps(_mm512_shuffle_i32x4(bits, bits, kOrder));
}
// Pairwise over the four quarters: their sum stands in each of them.
inline Vec v_sum_quarters(Vec v) {
  v = _mm512_add_ps(v, v_swap_quarters<0x4e>(v));
  return _mm512_add_ps(v, v_swap_quarters<0xb1>(v));
}
inline float v_first(Vec v) { return _mm_cvtss_f32(_mm512_castps512_ps128(v)); }
inline float v_sum(Vec v) {
  v = v_sum_quarters(v);
  v = _mm512_add_ps(v, _mm512_shuffle_ps(v, v, 0x4e));
  return v_first(_mm512_add_ps(v, _mm512_shuffle_ps(v, v, 0xb1)));
}
inline float v_max_lane(Vec v) {
  v = v_max(v, v_swap_quarters<0x4e>(v));
  v = v_max(v, v_swap_quarters<0xb1>(v));
  v = v_max(v, _mm512_shuffle_ps(v, v, 0x4e));
  return v_first(v_max(v, _mm512_shuffle_ps(v, v, 0xb1)));
}
// Four sums over lanes, to to[0..3].
inline void v_store_sums(float* to, Vec a, Vec b, Vec c, Vec d) {
  const Vec ab = _mm512_add_ps(_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b));
  const Vec cd = _mm512_add_ps(_mm512_unpacklo_ps(c, d), _mm512_unpackhi_ps(c, d));
  const Vec s = _mm512_add_ps(_mm512_shuffle_ps(ab, cd, 0x44), _mm512_shuffle_ps(ab, cd, 0xee));
  _mm_storeu_ps(to, _mm512_castps512_ps128(v_sum_quarters(s)));
}

// Neighbouring lanes for rope on pairs.
inline Vec v_swap_pairs(Vec v) { return _mm512_shuffle_ps(v, v, 0xb1); }
// p[0], p[0], p[1], p[1], ... from eight floats.
inline Vec v_load_twice(const float* p) {
  const __m512i index = _mm512_set_epi32(7, 7, 6, 6, 5, 5, 4, 4, 3, 3, 2, 2, 1, 1, 0, 0);
  return _mm512_permutexvar_ps(index, v_load_n(p, 8));
}
// -1, 1, -1, 1, ...
inline Vec v_pair_signs() {
  return _mm512_set_ps(1, -1, 1, -1, 1, -1, 1, -1, 1, -1, 1, -1, 1, -1, 1, -1);
}

inline Vec v_load_f16(const uint16_t* p) { return floats_from_halves(p); }
inline Vec v_load_bf16(const uint16_t* p) { return floats_from_bfloat16(p); }
inline void v_store_f16(uint16_t* p, Vec v) {
#ifdef ONNURI_EMULATE_AVX512
  float lanes[kLanes];
  v_store(lanes, v);
  for (int i = 0; i < kLanes; ++i) p[i] = ref::f32_to_f16(lanes[i]);
#else
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtps_ph(v, kNearest));
#endif
}
// Nearest, ties to even; NaN stays NaN. The instruction for it would lose subnormals.
inline void v_store_bf16(uint16_t* p, Vec v) {
  const __m512i bits = _mm512_castps_si512(v);
  const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
  const __m512i near = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
  const __m512i quiet = _mm512_or_si512(bits, _mm512_set1_epi32(0x400000));
  const Mask nan = _mm512_cmp_ps_mask(v, v, _CMP_UNORD_Q);
  const __m512i high = _mm512_srli_epi32(_mm512_mask_mov_epi32(near, nan, quiet), 16);
#ifdef ONNURI_EMULATE_AVX512
  uint32_t lanes[kLanes];
  memcpy(lanes, &high, sizeof(lanes));
  for (int i = 0; i < kLanes; ++i) p[i] = static_cast<uint16_t>(lanes[i]);
#else
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtepi32_epi16(high));
#endif
}

}  // namespace
}  // namespace onnuri::avx512
