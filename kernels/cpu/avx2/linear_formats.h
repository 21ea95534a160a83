// Unpacking of quantised blocks into vectors of unsigned bytes, one struct per weight format.
//
// A half is 8 of the group's 16 rows. `weights` yields the eight vectors of a 32-wide block
// (8 rows x 4 k), `scales` its float scale and minimum per row. Formats whose q is signed declare
// how sums are preset in `kPreset`; centred 5-bit formats keep 16-bit sums in range.
#pragma once

#include <immintrin.h>

#include "kernels/linear_format.h"

namespace onnuri::avx2 {
namespace {

enum class Preset { kNone, kMinus8, kMinus16, kMinus32 };

struct RowScales {
  __m256 scale;
  __m256 min;  // used when the format has one
};

__m256i load_vector(const uint8_t* p) {
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
}

__m256 load_halves(const uint8_t* p) {
  return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
}

__m256 load_bytes_as_floats(const uint8_t* p) {
  return _mm256_cvtepi32_ps(
      _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p))));
}

void unpack_nibbles(const uint8_t* block, int half, __m256i* w) {
  const __m256i mask = _mm256_set1_epi8(15);
  for (int v = 0; v < 4; ++v) {
    const __m256i bytes = load_vector(block + v * 64 + half * 32);
    w[v] = _mm256_and_si256(bytes, mask);
    w[v + 4] = _mm256_and_si256(_mm256_srli_epi16(bytes, 4), mask);
  }
}

// Adds bit v of the plane as the fifth bit of vector v.
void add_fifth_bits(const uint8_t* block, int half, __m256i* w) {
  const __m256i plane = load_vector(block + 256 + half * 32);
  const __m256i bit = _mm256_set1_epi8(16);
  for (int v = 0; v < 8; ++v) {
    const __m256i moved = v < 4 ? _mm256_slli_epi16(plane, 4 - v) : _mm256_srli_epi16(plane, v - 4);
    w[v] = _mm256_or_si256(w[v], _mm256_and_si256(moved, bit));
  }
}

template <WeightFormat kFormat, bool kHasMin_, bool kHasFifthBit>
struct SmallFormat {
  static constexpr WeightFormat kWeightFormat = kFormat;
  static constexpr bool kHasMin = kHasMin_;
  static constexpr Preset kPreset =
      kHasFifthBit ? Preset::kMinus16 : (kHasMin_ ? Preset::kNone : Preset::kMinus8);

  static void weights(const uint8_t* block, int half, __m256i* w) {
    unpack_nibbles(block, half, w);
    if constexpr (kHasFifthBit) add_fifth_bits(block, half, w);
  }
  static RowScales scales(const uint8_t* record, int b, int half) {
    const __m256 scale = load_halves(record + b * 32 + half * 16);
    if constexpr (!kHasMin) return {scale, scale};
    __m256 min = load_halves(record + 64 + b * 32 + half * 16);
    if constexpr (kHasFifthBit) min = _mm256_fmadd_ps(scale, _mm256_set1_ps(16.0f), min);
    return {scale, min};
  }
};

template <WeightFormat kFormat, bool kHasFifthBit>
struct SuperFormat {
  static constexpr WeightFormat kWeightFormat = kFormat;
  static constexpr bool kHasMin = true;
  static constexpr Preset kPreset = kHasFifthBit ? Preset::kMinus16 : Preset::kNone;

  static void weights(const uint8_t* block, int half, __m256i* w) {
    unpack_nibbles(block, half, w);
    if constexpr (kHasFifthBit) add_fifth_bits(block, half, w);
  }
  static RowScales scales(const uint8_t* record, int b, int half) {
    const __m256 scale = _mm256_mul_ps(load_halves(record + half * 16),
                                       load_bytes_as_floats(record + 64 + b * 16 + half * 8));
    const __m256 dmin = load_halves(record + 32 + half * 16);
    const __m256 steps = load_bytes_as_floats(record + 192 + b * 16 + half * 8);
    // w = scale q - dmin m, and with q = 16 + (q - 16) the centre moves into the minimum.
    const __m256 centre =
        kHasFifthBit ? _mm256_mul_ps(scale, _mm256_set1_ps(16.0f)) : _mm256_setzero_ps();
    return {scale, _mm256_fnmadd_ps(dmin, steps, centre)};
  }
};

struct Q6KFormat {
  static constexpr WeightFormat kWeightFormat = WeightFormat::kQ6K;
  static constexpr bool kHasMin = false;
  static constexpr Preset kPreset = Preset::kMinus32;

  static void weights(const uint8_t* block, int half, __m256i* w) {
    unpack_nibbles(block, half, w);
    const __m256i bits = _mm256_set1_epi8(0x30);
    for (int p = 0; p < 2; ++p) {
      const __m256i plane = load_vector(block + 256 + p * 64 + half * 32);
      const __m256i moved[4] = {_mm256_slli_epi16(plane, 4), _mm256_slli_epi16(plane, 2), plane,
                                _mm256_srli_epi16(plane, 2)};
      for (int v = 0; v < 4; ++v) {
        w[p * 4 + v] = _mm256_or_si256(w[p * 4 + v], _mm256_and_si256(moved[v], bits));
      }
    }
  }
  static RowScales scales(const uint8_t* record, int, int half) {
    const __m256 d = _mm256_loadu_ps(reinterpret_cast<const float*>(record) + half * 8);
    return {d, d};
  }
  /// The signed scales of 16 columns, twice per row as 16-bit lanes.
  static __m256i sub_scales(const uint8_t* record, int sub_block, int half) {
    const __m128i bytes =
        _mm_loadl_epi64(reinterpret_cast<const __m128i*>(record + 64 + sub_block * 16 + half * 8));
    return _mm256_cvtepi8_epi16(_mm_unpacklo_epi8(bytes, bytes));
  }
};

using Q4Format = SmallFormat<WeightFormat::kQ4, false, false>;
using Q4MFormat = SmallFormat<WeightFormat::kQ4M, true, false>;
using Q5Format = SmallFormat<WeightFormat::kQ5, false, true>;
using Q5MFormat = SmallFormat<WeightFormat::kQ5M, true, true>;
using Q4KFormat = SuperFormat<WeightFormat::kQ4K, false>;
using Q5KFormat = SuperFormat<WeightFormat::kQ5K, true>;

/// Eight bits are two passes of four: q = 16 (high - 8) + low, each pass a block of its own.
struct Q8Format {
  static constexpr WeightFormat kWeightFormat = WeightFormat::kQ8;
  static constexpr bool kHasMin = false;

  static void low(const uint8_t* block, int half, __m256i* w) {
    const __m256i mask = _mm256_set1_epi8(15);
    for (int v = 0; v < 8; ++v) {
      w[v] = _mm256_and_si256(load_vector(block + v * 64 + half * 32), mask);
    }
  }
  static void high(const uint8_t* block, int half, __m256i* w) {
    const __m256i mask = _mm256_set1_epi8(15);
    const __m256i centre = _mm256_set1_epi8(8);
    for (int v = 0; v < 8; ++v) {
      const __m256i bytes = load_vector(block + v * 64 + half * 32);
      w[v] = _mm256_xor_si256(_mm256_and_si256(_mm256_srli_epi16(bytes, 4), mask), centre);
    }
  }
  static RowScales scales(const uint8_t* record, int b, int half) {
    const __m256 scale = load_halves(record + b * 32 + half * 16);
    return {scale, scale};
  }
};

}  // namespace
}  // namespace onnuri::avx2
