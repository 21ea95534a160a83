// Unpacking of quantised blocks into vectors of unsigned bytes, one struct per weight format.
//
// A half is 8 of the group's 16 rows. `weights` yields the eight vectors of a 32-wide block
// (8 rows x 4 k), `scales` its float scale and minimum per row. Formats whose q is signed declare
// how sums are preset in `kPreset`; centred 5-bit formats keep 16-bit sums in range.
#pragma once

#include <immintrin.h>

#include "kernels/cpu/level_tables.h"
#include "kernels/linear_format.h"

namespace onnuri::avx2 {
namespace {

/// How the 16-bit sums of a block start: minus an offset times the sum of the inputs.
enum class Preset { kNone, kMinus4, kMinus8, kMinus16, kMinus32 };

/// How a block is multiplied.
enum class Pass {
  kOne,     // one scale for 32 columns
  kTwo,     // as kOne in two passes of four bits: q = 16 (high - 8) + low
  kHalves,  // a float scale for each 16 columns
  kSixBit,  // an integer scale for each 16 columns and a float one
};

struct RowScales {
  __m256 scale;
  __m256 min;  // used when the format has one
};

enum class ScaleType { kHalf, kFloat, kBrain };

__m256i load_vector(const uint8_t* p) {
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
}

__m256 load_floats(const uint8_t* p) { return _mm256_loadu_ps(reinterpret_cast<const float*>(p)); }

__m256 load_halves(const uint8_t* p) {
  return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
}

__m256 load_brain_floats(const uint8_t* p) {
  const __m128i bits = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(bits), 16));
}

__m128i load_8_bytes(const uint8_t* p) {
  return _mm_loadl_epi64(reinterpret_cast<const __m128i*>(p));
}

__m256 load_bytes_as_floats(const uint8_t* p) {
  return _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(load_8_bytes(p)));
}

__m256 load_signed_as_floats(const uint8_t* p) {
  return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(load_8_bytes(p)));
}

/// Scales of 8 rows, `i` rows into a run of scales.
template <ScaleType kType>
__m256 load_scales(const uint8_t* record, int i) {
  if constexpr (kType == ScaleType::kHalf) return load_halves(record + i * 2);
  if constexpr (kType == ScaleType::kBrain) return load_brain_floats(record + i * 2);
  return load_floats(record + i * 4);
}

void unpack_nibbles(const uint8_t* block, int half, __m256i* w) {
  const __m256i mask = _mm256_set1_epi8(15);
  for (int v = 0; v < 4; ++v) {
    const __m256i bytes = load_vector(block + v * 64 + half * 32);
    w[v] = _mm256_and_si256(bytes, mask);
    w[v + 4] = _mm256_and_si256(_mm256_srli_epi16(bytes, 4), mask);
  }
}

void unpack_two_bits(const uint8_t* block, int half, __m256i* w) {
  const __m256i mask = _mm256_set1_epi8(3);
  for (int p = 0; p < 2; ++p) {
    const __m256i plane = load_vector(block + p * 64 + half * 32);
    for (int v = 0; v < 4; ++v) {
      w[p * 4 + v] = _mm256_and_si256(_mm256_srli_epi16(plane, v * 2), mask);
    }
  }
}

// Nibbles as levels of a table.
void unpack_levels(const uint8_t* block, int half, const LevelTable& table, __m256i* w) {
  const __m256i levels =
      _mm256_broadcastsi128_si256(_mm_load_si128(reinterpret_cast<const __m128i*>(table.bytes)));
  unpack_nibbles(block, half, w);
  for (int v = 0; v < 8; ++v) w[v] = _mm256_shuffle_epi8(levels, w[v]);
}

// Adds bit v of a plane as bit kBit of vector v.
template <int kBit>
void add_bits(const uint8_t* plane_bytes, int half, __m256i* w) {
  const __m256i plane = load_vector(plane_bytes + half * 32);
  const __m256i bit = _mm256_set1_epi8(1 << kBit);
  for (int v = 0; v < 8; ++v) {
    const __m256i moved =
        v < kBit ? _mm256_slli_epi16(plane, kBit - v) : _mm256_srli_epi16(plane, v - kBit);
    w[v] = _mm256_or_si256(w[v], _mm256_and_si256(moved, bit));
  }
}

template <WeightFormat kFormat, bool kHasMin_, bool kHasFifthBit, ScaleType kScale>
struct SmallFormat {
  static constexpr WeightFormat kWeightFormat = kFormat;
  static constexpr Pass kPass = Pass::kOne;
  static constexpr bool kHasMin = kHasMin_;
  static constexpr Preset kPreset =
      kHasFifthBit ? Preset::kMinus16 : (kHasMin_ ? Preset::kNone : Preset::kMinus8);

  static void weights(const uint8_t* block, int half, __m256i* w) {
    unpack_nibbles(block, half, w);
    if constexpr (kHasFifthBit) add_bits<4>(block + 256, half, w);
  }
  static RowScales scales(const uint8_t* record, int b, int half) {
    const __m256 scale = load_scales<kScale>(record, b * 16 + half * 8);
    if constexpr (!kHasMin) return {scale, scale};
    __m256 min = load_halves(record + 64 + b * 32 + half * 16);
    if constexpr (kHasFifthBit) min = _mm256_fmadd_ps(scale, _mm256_set1_ps(16.0f), min);
    return {scale, min};
  }
};

template <WeightFormat kFormat, bool kHasFifthBit>
struct SuperFormat {
  static constexpr WeightFormat kWeightFormat = kFormat;
  static constexpr Pass kPass = Pass::kOne;
  static constexpr bool kHasMin = true;
  static constexpr Preset kPreset = kHasFifthBit ? Preset::kMinus16 : Preset::kNone;

  static void weights(const uint8_t* block, int half, __m256i* w) {
    unpack_nibbles(block, half, w);
    if constexpr (kHasFifthBit) add_bits<4>(block + 256, half, w);
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
  static constexpr Pass kPass = Pass::kSixBit;

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
    const __m256 d = load_floats(record + half * 32);
    return {d, d};
  }
  /// The signed scales of 16 columns, twice per row as 16-bit lanes.
  static __m256i sub_scales(const uint8_t* record, int sub_block, int half) {
    const __m128i bytes = load_8_bytes(record + 64 + sub_block * 16 + half * 8);
    return _mm256_cvtepi8_epi16(_mm_unpacklo_epi8(bytes, bytes));
  }
};

struct Q2KFormat {
  static constexpr WeightFormat kWeightFormat = WeightFormat::kQ2K;
  static constexpr Pass kPass = Pass::kHalves;
  static constexpr bool kHasMin = true;
  static constexpr Preset kPreset = Preset::kNone;

  static void weights(const uint8_t* block, int half, __m256i* w) {
    unpack_two_bits(block, half, w);
  }
  /// Of 16 columns.
  static RowScales scales(const uint8_t* record, int sub_block, int half) {
    const __m128i bytes = load_8_bytes(record + 64 + sub_block * 16 + half * 8);
    const __m128i mask = _mm_set1_epi8(15);
    const auto floats = [](__m128i v) { return _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(v)); };
    const __m256 scale = floats(_mm_and_si128(bytes, mask));
    const __m256 min = floats(_mm_and_si128(_mm_srli_epi16(bytes, 4), mask));
    return {_mm256_mul_ps(load_halves(record + half * 16), scale),
            _mm256_fnmadd_ps(load_halves(record + 32 + half * 16), min, _mm256_setzero_ps())};
  }
};

struct Q3KFormat {
  static constexpr WeightFormat kWeightFormat = WeightFormat::kQ3K;
  static constexpr Pass kPass = Pass::kHalves;
  static constexpr bool kHasMin = false;
  static constexpr Preset kPreset = Preset::kMinus4;

  static void weights(const uint8_t* block, int half, __m256i* w) {
    unpack_two_bits(block, half, w);
    add_bits<2>(block + 128, half, w);
  }
  static RowScales scales(const uint8_t* record, int sub_block, int half) {
    const __m256 scale =
        _mm256_mul_ps(load_floats(record + half * 32),
                      load_signed_as_floats(record + 64 + sub_block * 16 + half * 8));
    return {scale, scale};
  }
};

struct F4Format {
  static constexpr WeightFormat kWeightFormat = WeightFormat::kF4;
  static constexpr Pass kPass = Pass::kOne;
  static constexpr bool kHasMin = false;
  static constexpr Preset kPreset = Preset::kMinus16;

  static void weights(const uint8_t* block, int half, __m256i* w) {
    unpack_levels(block, half, kFp4Plus16, w);
  }
  static RowScales scales(const uint8_t* record, int b, int half) {
    const __m256 scale = load_scales<ScaleType::kBrain>(record, b * 16 + half * 8);
    return {scale, scale};
  }
};

struct F4HFormat : F4Format {
  static constexpr WeightFormat kWeightFormat = WeightFormat::kF4H;
  static constexpr Pass kPass = Pass::kHalves;

  static RowScales scales(const uint8_t* record, int sub_block, int half) {
    const __m256 scale = load_scales<ScaleType::kFloat>(record, sub_block * 16 + half * 8);
    return {scale, scale};
  }
};

template <WeightFormat kFormat, bool kHasMin_, ScaleType kScale>
struct BytesFormat {
  static constexpr WeightFormat kWeightFormat = kFormat;
  static constexpr Pass kPass = Pass::kTwo;
  static constexpr bool kHasMin = kHasMin_;

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
    const __m256 scale = load_scales<kScale>(record, b * 16 + half * 8);
    if constexpr (!kHasMin) return {scale, scale};
    return {scale, load_scales<kScale>(record + 128, b * 16 + half * 8)};
  }
};

/// Levels of eight bits behind nibbles.
struct I4Format {
  static constexpr WeightFormat kWeightFormat = WeightFormat::kI4;
  static constexpr Pass kPass = Pass::kTwo;
  static constexpr bool kHasMin = false;

  static void low(const uint8_t* block, int half, __m256i* w) {
    unpack_levels(block, half, kIq4Low, w);
  }
  static void high(const uint8_t* block, int half, __m256i* w) {
    unpack_levels(block, half, kIq4High, w);
  }
  static RowScales scales(const uint8_t* record, int b, int half) {
    const __m256 scale = load_scales<ScaleType::kHalf>(record, b * 16 + half * 8);
    return {scale, scale};
  }
};

struct I4KFormat : I4Format {
  static constexpr WeightFormat kWeightFormat = WeightFormat::kI4K;

  static RowScales scales(const uint8_t* record, int b, int half) {
    const __m256 scale = _mm256_mul_ps(load_halves(record + half * 16),
                                       load_signed_as_floats(record + 32 + b * 16 + half * 8));
    return {scale, scale};
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
}  // namespace onnuri::avx2
