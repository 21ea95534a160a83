// AVX-512 intrinsics, native or emulated.
//
// Natively this is <immintrin.h>. With ONNURI_EMULATE_AVX512 the SIMDe library supplies the same
// names in portable code, so that tests can run AVX-512 kernels on any machine. The functions below
// are the few steps that SIMDe lacks; all are static, for no code may leave its translation unit.
#pragma once

#include <cstdint>
#include <cstring>

#ifdef ONNURI_EMULATE_AVX512
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wall"
#pragma GCC diagnostic ignored "-Wextra"
#pragma GCC diagnostic ignored "-Wpedantic"
#pragma GCC diagnostic ignored "-Wconversion"
#pragma GCC diagnostic ignored "-Wshadow"
#define SIMDE_ENABLE_NATIVE_ALIASES
#include <simde/x86/avx2.h>
#include <simde/x86/avx512.h>
#include <simde/x86/fma.h>
#pragma GCC diagnostic pop
// SIMDe 0.7 names this one with the parameters of another.
#undef _mm512_madd_epi16
#define _mm512_madd_epi16(a, b) simde_mm512_madd_epi16(a, b)
#else
// GCC 12 believes that the undefined inputs inside its own AVX-512 header are ours (PR 105593).
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif
#include <immintrin.h>
#endif

#include "kernels/float_bits.h"

namespace onnuri::avx512 {

/// Sixteen int32 as floats.
static inline __m512 floats_from_int32(__m512i values) {
#ifdef ONNURI_EMULATE_AVX512
  int32_t in[16];
  float out[16];
  std::memcpy(in, &values, sizeof(in));
  for (int i = 0; i < 16; ++i) out[i] = static_cast<float>(in[i]);
  return _mm512_loadu_ps(out);
#else
  return _mm512_cvtepi32_ps(values);
#endif
}

/// Sixteen binary16 values at any address as floats.
static inline __m512 floats_from_halves(const void* p) {
#ifdef ONNURI_EMULATE_AVX512
  uint16_t in[16];
  float out[16];
  std::memcpy(in, p, sizeof(in));
  for (int i = 0; i < 16; ++i) out[i] = float_from_half(in[i]);
  return _mm512_loadu_ps(out);
#else
  return _mm512_cvtph_ps(_mm256_loadu_si256(static_cast<const __m256i*>(p)));
#endif
}

/// Sixteen E4M3 bytes at any address as floats, 2^-8 times their value: moved up, their bits are
/// binary16 values. Not-a-number is no value of such bytes.
static inline __m512 floats_from_f8e4m3_bits(const void* p) {
#ifdef ONNURI_EMULATE_AVX512
  uint8_t in[16];
  float out[16];
  std::memcpy(in, p, sizeof(in));
  for (int i = 0; i < 16; ++i) out[i] = float_from_f8e4m3(in[i]) * 0x1p-8f;
  return _mm512_loadu_ps(out);
#else
  const __m256i wide = _mm256_cvtepi8_epi16(_mm_loadu_si128(static_cast<const __m128i*>(p)));
  return _mm512_cvtph_ps(_mm256_and_si256(_mm256_slli_epi16(wide, 7),
                                          _mm256_set1_epi16(static_cast<int16_t>(0xbfff))));
#endif
}

/// Sixteen brain floats at any address as floats.
static inline __m512 floats_from_bfloat16(const void* p) {
#ifdef ONNURI_EMULATE_AVX512
  uint16_t in[16];
  float out[16];
  std::memcpy(in, p, sizeof(in));
  for (int i = 0; i < 16; ++i) out[i] = float_from_bfloat16(in[i]);
  return _mm512_loadu_ps(out);
#else
  return _mm512_castsi512_ps(_mm512_slli_epi32(
      _mm512_cvtepu16_epi32(_mm256_loadu_si256(static_cast<const __m256i*>(p))), 16));
#endif
}

/// Sixteen bytes at any address, unsigned or signed, as floats.
static inline __m512 floats_from_u8(const void* p) {
#ifdef ONNURI_EMULATE_AVX512
  uint8_t in[16];
  float out[16];
  std::memcpy(in, p, sizeof(in));
  for (int i = 0; i < 16; ++i) out[i] = static_cast<float>(in[i]);
  return _mm512_loadu_ps(out);
#else
  return _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128(static_cast<const __m128i*>(p))));
#endif
}
static inline __m512 floats_from_i8(const void* p) {
#ifdef ONNURI_EMULATE_AVX512
  int8_t in[16];
  float out[16];
  std::memcpy(in, p, sizeof(in));
  for (int i = 0; i < 16; ++i) out[i] = static_cast<float>(in[i]);
  return _mm512_loadu_ps(out);
#else
  return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(static_cast<const __m128i*>(p))));
#endif
}

/// sums + the products of two neighbouring brain floats per 32-bit lane.
static inline __m512 dot_bfloat16(__m512 sums, __m512i a, __m512i b) {
#ifdef ONNURI_EMULATE_AVX512
  uint16_t x[32], y[32];
  float out[16];
  std::memcpy(x, &a, sizeof(x));
  std::memcpy(y, &b, sizeof(y));
  std::memcpy(out, &sums, sizeof(out));
  for (int i = 0; i < 16; ++i) {
    out[i] += float_from_bfloat16(x[2 * i + 1]) * float_from_bfloat16(y[2 * i + 1]);
    out[i] += float_from_bfloat16(x[2 * i]) * float_from_bfloat16(y[2 * i]);
  }
  return _mm512_loadu_ps(out);
#else
  return _mm512_dpbf16_ps(sums, (__m512bh)a, (__m512bh)b);
#endif
}

/// sums + four products of unsigned by signed bytes per 32-bit lane.
static inline __m512i dot_bytes(__m512i sums, __m512i unsigned_bytes, __m512i signed_bytes) {
  return _mm512_dpbusd_epi32(sums, unsigned_bytes, signed_bytes);
}

// Sixteen signed numbers divided by 2^kBits, rounding down.
template <int kBits>
static inline __m512i shift_right_int32(__m512i values) {
#ifdef ONNURI_EMULATE_AVX512
  alignas(64) int32_t lanes[16];
  _mm512_storeu_si512(lanes, values);
  for (int32_t& lane : lanes) lane >>= kBits;
  return _mm512_loadu_si512(lanes);
#else
  return _mm512_srai_epi32(values, kBits);
#endif
}

/// Four bytes at any address in every lane.
static inline __m512i broadcast_word(const void* p) {
  int value;
  std::memcpy(&value, p, sizeof(value));
  return _mm512_set1_epi32(value);
}

static inline __m512i load_bytes(const void* p) { return _mm512_loadu_si512(p); }

}  // namespace onnuri::avx512
