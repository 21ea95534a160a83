// Unpacking of quantised blocks into vectors of unsigned bytes, one struct per weight format.
//
// `weights` yields the eight vectors of a 32-wide block (16 rows x 4 k). `scales` yields the float
// scale of each 16-wide half and the minimum per row. Signed weights are stored with `kOffset`
// added; sums are preset with -kOffset * sum(x), in integers.
#pragma once

#include "kernels/cpu/simd_avx512.h"
#include "kernels/linear_format.h"

namespace onnuri::avx512 {
namespace {

struct RowScales {
  __m512 scale[2];
  __m512 min;  // used when the format has one
};

void unpack_nibbles(const uint8_t* block, __m512i* w) {
  const __m512i mask = _mm512_set1_epi8(15);
  for (int v = 0; v < 4; ++v) {
    const __m512i bytes = load_bytes(block + v * 64);
    w[v] = _mm512_and_si512(bytes, mask);
    w[v + 4] = _mm512_and_si512(_mm512_srli_epi16(bytes, 4), mask);
  }
}

// Adds bit v of the plane as the fifth bit of vector v.
void add_fifth_bits(const uint8_t* block, __m512i* w) {
  const __m512i plane = load_bytes(block + 256);
  const __m512i bit = _mm512_set1_epi8(16);
  const __m512i moved[8] = {_mm512_slli_epi16(plane, 4),
                            _mm512_slli_epi16(plane, 3),
                            _mm512_slli_epi16(plane, 2),
                            _mm512_slli_epi16(plane, 1),
                            plane,
                            _mm512_srli_epi16(plane, 1),
                            _mm512_srli_epi16(plane, 2),
                            _mm512_srli_epi16(plane, 3)};
  for (int v = 0; v < 8; ++v) w[v] = _mm512_or_si512(w[v], _mm512_and_si512(moved[v], bit));
}

template <WeightFormat kFormat, bool kHasMin_, bool kHasFifthBit>
struct SmallFormat {
  static constexpr WeightFormat kWeightFormat = kFormat;
  static constexpr bool kHasMin = kHasMin_;
  static constexpr int kOffset = kHasMin_ ? 0 : (kHasFifthBit ? 16 : 8);

  static void weights(const uint8_t* block, __m512i* w) {
    unpack_nibbles(block, w);
    if constexpr (kHasFifthBit) add_fifth_bits(block, w);
  }
  static RowScales scales(const uint8_t* record, int b) {
    const __m512 scale = floats_from_halves(record + b * 32);
    if constexpr (!kHasMin) return {{scale, scale}, scale};
    return {{scale, scale}, floats_from_halves(record + 64 + b * 32)};
  }
};

struct Q8Format {
  static constexpr WeightFormat kWeightFormat = WeightFormat::kQ8;
  static constexpr bool kHasMin = false;
  static constexpr int kOffset = 128;

  static void weights(const uint8_t* block, __m512i* w) {
    const __m512i sign = _mm512_set1_epi8(static_cast<char>(0x80));
    for (int v = 0; v < 8; ++v) w[v] = _mm512_xor_si512(load_bytes(block + v * 64), sign);
  }
  static RowScales scales(const uint8_t* record, int b) {
    const __m512 scale = floats_from_halves(record + b * 32);
    return {{scale, scale}, scale};
  }
};

template <WeightFormat kFormat, bool kHasFifthBit>
struct SuperFormat {
  static constexpr WeightFormat kWeightFormat = kFormat;
  static constexpr bool kHasMin = true;
  static constexpr int kOffset = 0;

  static void weights(const uint8_t* block, __m512i* w) {
    unpack_nibbles(block, w);
    if constexpr (kHasFifthBit) add_fifth_bits(block, w);
  }
  static RowScales scales(const uint8_t* record, int b) {
    const __m512 scale =
        _mm512_mul_ps(floats_from_halves(record), floats_from_u8(record + 64 + b * 16));
    const __m512 min =
        _mm512_mul_ps(floats_from_halves(record + 32), floats_from_u8(record + 192 + b * 16));
    return {{scale, scale}, _mm512_sub_ps(_mm512_setzero_ps(), min)};
  }
};

struct Q6KFormat {
  static constexpr WeightFormat kWeightFormat = WeightFormat::kQ6K;
  static constexpr bool kHasMin = false;
  static constexpr int kOffset = 32;

  static void weights(const uint8_t* block, __m512i* w) {
    unpack_nibbles(block, w);
    const __m512i bits = _mm512_set1_epi8(0x30);
    for (int p = 0; p < 2; ++p) {
      const __m512i plane = load_bytes(block + 256 + p * 64);
      const __m512i moved[4] = {_mm512_slli_epi16(plane, 4), _mm512_slli_epi16(plane, 2), plane,
                                _mm512_srli_epi16(plane, 2)};
      for (int v = 0; v < 4; ++v) {
        w[p * 4 + v] = _mm512_or_si512(w[p * 4 + v], _mm512_and_si512(moved[v], bits));
      }
    }
  }
  static RowScales scales(const uint8_t* record, int b) {
    const __m512 d = _mm512_loadu_ps(reinterpret_cast<const float*>(record));
    const uint8_t* bytes = record + 64 + b * 32;
    return {{_mm512_mul_ps(d, floats_from_i8(bytes)), _mm512_mul_ps(d, floats_from_i8(bytes + 16))},
            d};
  }
};

using Q4Format = SmallFormat<WeightFormat::kQ4, false, false>;
using Q4MFormat = SmallFormat<WeightFormat::kQ4M, true, false>;
using Q5Format = SmallFormat<WeightFormat::kQ5, false, true>;
using Q5MFormat = SmallFormat<WeightFormat::kQ5M, true, true>;
using Q4KFormat = SuperFormat<WeightFormat::kQ4K, false>;
using Q5KFormat = SuperFormat<WeightFormat::kQ5K, true>;

}  // namespace
}  // namespace onnuri::avx512
