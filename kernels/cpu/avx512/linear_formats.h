// Unpacking of quantised blocks into vectors of unsigned bytes, one struct per weight format.
//
// `weights` yields the eight vectors of a 32-wide block (16 rows x 4 k). `scales` yields the float
// scale and the minimum per row, one for the block or one for each 16 columns (kHalves). Signed
// weights are stored with `kOffset` added; sums are preset with -kOffset * sum(x), in integers.
#pragma once

#include "kernels/cpu/level_tables.h"
#include "kernels/cpu/simd_avx512.h"
#include "kernels/linear_format.h"

namespace onnuri::avx512 {
namespace {

// Formats are too many for the compiler to inline them by itself.
#define ONNURI_INLINE inline __attribute__((always_inline))

struct RowScales {
  __m512 scale[2];
  __m512 min[2];  // used when the format has one
};

ONNURI_INLINE RowScales same_scales(__m512 scale) { return {{scale, scale}, {scale, scale}}; }

enum class ScaleType { kHalf, kFloat, kBrain };

/// Scales of 16 rows, the i-th such run of a record.
template <ScaleType kType>
ONNURI_INLINE __m512 load_scales(const uint8_t* record, int i) {
  if constexpr (kType == ScaleType::kHalf) return floats_from_halves(record + i * 32);
  if constexpr (kType == ScaleType::kBrain) return floats_from_bfloat16(record + i * 32);
  return _mm512_loadu_ps(reinterpret_cast<const float*>(record) + i * 16);
}

ONNURI_INLINE void unpack_nibbles(const uint8_t* block, __m512i* w) {
  const __m512i mask = _mm512_set1_epi8(15);
  for (int v = 0; v < 4; ++v) {
    const __m512i bytes = load_bytes(block + v * 64);
    w[v] = _mm512_and_si512(bytes, mask);
    w[v + 4] = _mm512_and_si512(_mm512_srli_epi16(bytes, 4), mask);
  }
}

ONNURI_INLINE void unpack_two_bits(const uint8_t* block, __m512i* w) {
  const __m512i mask = _mm512_set1_epi8(3);
  for (int p = 0; p < 2; ++p) {
    const __m512i plane = load_bytes(block + p * 64);
    const __m512i moved[4] = {plane, _mm512_srli_epi16(plane, 2), _mm512_srli_epi16(plane, 4),
                              _mm512_srli_epi16(plane, 6)};
    for (int v = 0; v < 4; ++v) w[p * 4 + v] = _mm512_and_si512(moved[v], mask);
  }
}

// Nibbles as levels of a table.
ONNURI_INLINE void unpack_levels(const uint8_t* block, const LevelTable& table, __m512i* w) {
  const __m512i levels =
      _mm512_broadcast_i32x4(_mm_load_si128(reinterpret_cast<const __m128i*>(table.bytes)));
  unpack_nibbles(block, w);
  for (int v = 0; v < 8; ++v) w[v] = _mm512_shuffle_epi8(levels, w[v]);
}

// Adds bit v of the plane as the fifth bit of vector v.
ONNURI_INLINE void add_fifth_bits(const uint8_t* plane_bytes, __m512i* w) {
  const __m512i plane = load_bytes(plane_bytes);
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

// The same as the third bit.
ONNURI_INLINE void add_third_bits(const uint8_t* plane_bytes, __m512i* w) {
  const __m512i plane = load_bytes(plane_bytes);
  const __m512i bit = _mm512_set1_epi8(4);
  const __m512i moved[8] = {
      _mm512_slli_epi16(plane, 2), _mm512_slli_epi16(plane, 1), plane,
      _mm512_srli_epi16(plane, 1), _mm512_srli_epi16(plane, 2), _mm512_srli_epi16(plane, 3),
      _mm512_srli_epi16(plane, 4), _mm512_srli_epi16(plane, 5)};
  for (int v = 0; v < 8; ++v) w[v] = _mm512_or_si512(w[v], _mm512_and_si512(moved[v], bit));
}

template <WeightFormat kFormat, bool kHasMin_, bool kHasFifthBit, ScaleType kScale>
struct SmallFormat {
  static constexpr WeightFormat kWeightFormat = kFormat;
  static constexpr bool kHasMin = kHasMin_;
  static constexpr bool kHalves = false;
  static constexpr int kOffset = kHasMin_ ? 0 : (kHasFifthBit ? 16 : 8);

  static ONNURI_INLINE void weights(const uint8_t* block, __m512i* w) {
    unpack_nibbles(block, w);
    if constexpr (kHasFifthBit) add_fifth_bits(block + 256, w);
  }
  static ONNURI_INLINE RowScales scales(const uint8_t* record, int b) {
    RowScales out = same_scales(load_scales<kScale>(record, b));
    if constexpr (kHasMin) out.min[0] = floats_from_halves(record + 64 + b * 32);
    return out;
  }
};

template <WeightFormat kFormat, bool kHasMin_, ScaleType kScale>
struct BytesFormat {
  static constexpr WeightFormat kWeightFormat = kFormat;
  static constexpr bool kHasMin = kHasMin_;
  static constexpr bool kHalves = false;
  static constexpr int kOffset = 128;

  static ONNURI_INLINE void weights(const uint8_t* block, __m512i* w) {
    const __m512i sign = _mm512_set1_epi8(static_cast<char>(0x80));
    for (int v = 0; v < 8; ++v) w[v] = _mm512_xor_si512(load_bytes(block + v * 64), sign);
  }
  static ONNURI_INLINE RowScales scales(const uint8_t* record, int b) {
    RowScales out = same_scales(load_scales<kScale>(record, b));
    if constexpr (kHasMin) out.min[0] = load_scales<kScale>(record + 128, b);
    return out;
  }
};

/// Levels of eight bits behind nibbles.
struct I4Format {
  static constexpr WeightFormat kWeightFormat = WeightFormat::kI4;
  static constexpr bool kHasMin = false;
  static constexpr bool kHalves = false;
  static constexpr int kOffset = 128;

  static ONNURI_INLINE void weights(const uint8_t* block, __m512i* w) {
    unpack_levels(block, kIq4Plus128, w);
  }
  static ONNURI_INLINE RowScales scales(const uint8_t* record, int b) {
    return same_scales(load_scales<ScaleType::kHalf>(record, b));
  }
};

struct I4KFormat : I4Format {
  static constexpr WeightFormat kWeightFormat = WeightFormat::kI4K;

  static ONNURI_INLINE RowScales scales(const uint8_t* record, int b) {
    return same_scales(
        _mm512_mul_ps(floats_from_halves(record), floats_from_i8(record + 32 + b * 16)));
  }
};

struct F4Format {
  static constexpr WeightFormat kWeightFormat = WeightFormat::kF4;
  static constexpr bool kHasMin = false;
  static constexpr bool kHalves = false;
  static constexpr int kOffset = 16;

  static ONNURI_INLINE void weights(const uint8_t* block, __m512i* w) {
    unpack_levels(block, kFp4Plus16, w);
  }
  static ONNURI_INLINE RowScales scales(const uint8_t* record, int b) {
    return same_scales(load_scales<ScaleType::kBrain>(record, b));
  }
};

struct F4HFormat : F4Format {
  static constexpr WeightFormat kWeightFormat = WeightFormat::kF4H;
  static constexpr bool kHalves = true;

  static ONNURI_INLINE RowScales scales(const uint8_t* record, int b) {
    const __m512 low = load_scales<ScaleType::kFloat>(record, b * 2);
    return {{low, load_scales<ScaleType::kFloat>(record, b * 2 + 1)}, {low, low}};
  }
};

struct Q2KFormat {
  static constexpr WeightFormat kWeightFormat = WeightFormat::kQ2K;
  static constexpr bool kHasMin = true;
  static constexpr bool kHalves = true;
  static constexpr int kOffset = 0;

  static ONNURI_INLINE void weights(const uint8_t* block, __m512i* w) { unpack_two_bits(block, w); }
  static ONNURI_INLINE RowScales scales(const uint8_t* record, int b) {
    const __m512 d = floats_from_halves(record);
    const __m512 minus_dmin = _mm512_sub_ps(_mm512_setzero_ps(), floats_from_halves(record + 32));
    RowScales out = same_scales(d);
    for (int part = 0; part < 2; ++part) {
      uint8_t low[16], high[16];
      for (int r = 0; r < 16; ++r) {
        const uint8_t byte = record[64 + (b * 2 + part) * 16 + r];
        low[r] = byte & 15;
        high[r] = byte >> 4;
      }
      out.scale[part] = _mm512_mul_ps(d, floats_from_u8(low));
      out.min[part] = _mm512_mul_ps(minus_dmin, floats_from_u8(high));
    }
    return out;
  }
};

struct Q3KFormat {
  static constexpr WeightFormat kWeightFormat = WeightFormat::kQ3K;
  static constexpr bool kHasMin = false;
  static constexpr bool kHalves = true;
  static constexpr int kOffset = 4;

  static ONNURI_INLINE void weights(const uint8_t* block, __m512i* w) {
    unpack_two_bits(block, w);
    add_third_bits(block + 128, w);
  }
  static ONNURI_INLINE RowScales scales(const uint8_t* record, int b) {
    const __m512 d = load_scales<ScaleType::kFloat>(record, 0);
    const uint8_t* bytes = record + 64 + b * 32;
    return {{_mm512_mul_ps(d, floats_from_i8(bytes)), _mm512_mul_ps(d, floats_from_i8(bytes + 16))},
            {d, d}};
  }
};

template <WeightFormat kFormat, bool kHasFifthBit>
struct SuperFormat {
  static constexpr WeightFormat kWeightFormat = kFormat;
  static constexpr bool kHasMin = true;
  static constexpr bool kHalves = false;
  static constexpr int kOffset = 0;

  static ONNURI_INLINE void weights(const uint8_t* block, __m512i* w) {
    unpack_nibbles(block, w);
    if constexpr (kHasFifthBit) add_fifth_bits(block + 256, w);
  }
  static ONNURI_INLINE RowScales scales(const uint8_t* record, int b) {
    const __m512 scale =
        _mm512_mul_ps(floats_from_halves(record), floats_from_u8(record + 64 + b * 16));
    const __m512 min =
        _mm512_mul_ps(floats_from_halves(record + 32), floats_from_u8(record + 192 + b * 16));
    const __m512 minus_min = _mm512_sub_ps(_mm512_setzero_ps(), min);
    return {{scale, scale}, {minus_min, minus_min}};
  }
};

struct Q6KFormat {
  static constexpr WeightFormat kWeightFormat = WeightFormat::kQ6K;
  static constexpr bool kHasMin = false;
  static constexpr bool kHalves = true;
  static constexpr int kOffset = 32;

  static ONNURI_INLINE void weights(const uint8_t* block, __m512i* w) {
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
  static ONNURI_INLINE RowScales scales(const uint8_t* record, int b) {
    const __m512 d = _mm512_loadu_ps(reinterpret_cast<const float*>(record));
    const uint8_t* bytes = record + 64 + b * 32;
    return {{_mm512_mul_ps(d, floats_from_i8(bytes)), _mm512_mul_ps(d, floats_from_i8(bytes + 16))},
            {d, d}};
  }
};

using Q4Format = SmallFormat<WeightFormat::kQ4, false, false, ScaleType::kHalf>;
using Q4MFormat = SmallFormat<WeightFormat::kQ4M, true, false, ScaleType::kHalf>;
using Q5Format = SmallFormat<WeightFormat::kQ5, false, true, ScaleType::kHalf>;
using Q5MFormat = SmallFormat<WeightFormat::kQ5M, true, true, ScaleType::kHalf>;
using Q4SFormat = SmallFormat<WeightFormat::kQ4S, false, false, ScaleType::kFloat>;
using Q5SFormat = SmallFormat<WeightFormat::kQ5S, false, true, ScaleType::kFloat>;
using Q4KFormat = SuperFormat<WeightFormat::kQ4K, false>;
using Q5KFormat = SuperFormat<WeightFormat::kQ5K, true>;
using Q8Format = BytesFormat<WeightFormat::kQ8, false, ScaleType::kHalf>;
using Q8SFormat = BytesFormat<WeightFormat::kQ8S, false, ScaleType::kFloat>;
using Q8MFormat = BytesFormat<WeightFormat::kQ8M, true, ScaleType::kFloat>;

}  // namespace
}  // namespace onnuri::avx512
