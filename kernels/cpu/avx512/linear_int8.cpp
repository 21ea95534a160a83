// Products of quantised weights and int8 inputs on AVX-512 with VNNI.
//
// vpdpbusd adds four products of unsigned weights and signed inputs per 32-bit lane; a block of 32
// is eight of them, then one conversion and one fused multiply-add. Blocks are added in order, for
// one input row as for many.
#include "kernels/cpu/avx512/linear_avx512.h"
#include "kernels/cpu/avx512/linear_formats.h"

namespace onnuri::avx512 {
namespace {

constexpr int64_t kTileRows = 8;  // input rows in registers beside a block of weights

struct Totals {
  __m512 sums;
};

Totals zero_totals() { return {_mm512_setzero_ps()}; }

void finish_totals(const LinearChunk& c, int64_t row, int64_t group, const Totals& totals) {
  finish_row(c, row, group, totals.sums);
}

// -kOffset * sum of x over the block.
template <int kOffset>
ONNURI_INLINE __m512i preset_sums(const Int8Block& x) {
  const __m512i ones = _mm512_set1_epi16(1);
  if constexpr (kOffset == 8) return _mm512_madd_epi16(broadcast_word(x.minus_8), ones);
  if constexpr (kOffset == 16) return _mm512_madd_epi16(broadcast_word(x.minus_16), ones);
  if constexpr (kOffset == 128) {
    return _mm512_madd_epi16(broadcast_word(x.minus_16), _mm512_set1_epi16(8));
  }
  return _mm512_setzero_si512();
}

// The same over 16 of the columns: -32 times their sum is at hand.
template <int kOffset>
ONNURI_INLINE __m512i preset_half_sums(const Int8Block& x, int part) {
  const __m512i sums = _mm512_madd_epi16(broadcast_word(x.minus_32[part]), _mm512_set1_epi16(1));
  if constexpr (kOffset == 4) return shift_right_int32<3>(sums);
  if constexpr (kOffset == 16) return shift_right_int32<1>(sums);
  if constexpr (kOffset == 32) return sums;
  return _mm512_setzero_si512();
}

ONNURI_INLINE __m512 add_scaled_sum(__m512 total, __m512i sums, __m512 scale, const Int8Block& x) {
  return _mm512_fmadd_ps(floats_from_int32(sums), _mm512_mul_ps(scale, _mm512_set1_ps(x.d)), total);
}

// Eight or four steps of a block of 16 rows times kRows input rows.
template <int kRows>
ONNURI_INLINE void add_steps(__m512i* sums, const __m512i* w, int begin, int end,
                             const Int8Block* const* x, int64_t b) {
  for (int v = begin; v < end; ++v) {
    const __m512i weights = w[v];
    for (int m = 0; m < kRows; ++m) {
      sums[m] = dot_bytes(sums[m], weights, broadcast_word(x[m][b].q + v * 4));
    }
  }
}

template <typename Format, int kRows>
ONNURI_INLINE void add_block(__m512* totals, const __m512i* w, const RowScales& scales,
                             const Int8Block* const* x, int64_t b) {
  __m512i sums[kRows];
  if constexpr (Format::kHalves) {
    for (int part = 0; part < 2; ++part) {
      for (int m = 0; m < kRows; ++m) {
        sums[m] = preset_half_sums<Format::kOffset>(x[m][b], part);
      }
      add_steps<kRows>(sums, w, part * 4, part * 4 + 4, x, b);
      for (int m = 0; m < kRows; ++m) {
        totals[m] = add_scaled_sum(totals[m], sums[m], scales.scale[part], x[m][b]);
        if constexpr (Format::kHasMin) {
          totals[m] =
              _mm512_fmadd_ps(scales.min[part], _mm512_set1_ps(x[m][b].half_sum[part]), totals[m]);
        }
      }
    }
  } else {
    for (int m = 0; m < kRows; ++m) sums[m] = preset_sums<Format::kOffset>(x[m][b]);
    add_steps<kRows>(sums, w, 0, 8, x, b);
    for (int m = 0; m < kRows; ++m) {
      totals[m] = add_scaled_sum(totals[m], sums[m], scales.scale[0], x[m][b]);
      if constexpr (Format::kHasMin) {
        totals[m] = _mm512_fmadd_ps(scales.min[0], _mm512_set1_ps(x[m][b].sum), totals[m]);
      }
    }
  }
}

template <typename Format, int kRows>
ONNURI_INLINE void stream_block(const uint8_t* record, int b, const Int8Block* const* x,
                                int64_t block, Totals* totals) {
  constexpr RecordLayout kLayout = record_layout(Format::kWeightFormat);
  __m512i w[8];
  Format::weights(record + kLayout.block_begin + b * kLayout.block_bytes, w);
  __m512 sums[kRows];
  for (int m = 0; m < kRows; ++m) sums[m] = totals[m].sums;
  add_block<Format, kRows>(sums, w, Format::scales(record, b), x, block);
  for (int m = 0; m < kRows; ++m) totals[m].sums = sums[m];
}

}  // namespace
}  // namespace onnuri::avx512

#define ONNURI_ISA avx512
#include "kernels/cpu/linear_impl.h"

namespace onnuri::avx512 {
namespace {

template <typename Format>
void product_tile(const LinearChunk& c) {
  switch (c.num_rows) {
    case 1: return product_few_rows<Format, 1>(c);
    case 2: return product_few_rows<Format, 2>(c);
    case 3: return product_few_rows<Format, 3>(c);
    case 4: return product_few_rows<Format, 4>(c);
    case 5: return product_few_rows<Format, 5>(c);
    case 6: return product_few_rows<Format, 6>(c);
    case 7: return product_few_rows<Format, 7>(c);
    default: return product_few_rows<Format, 8>(c);
  }
}

// Weights of a chunk stay in a cache: to unpack them again for every tile takes less than to write
// them down and read them again.
template <typename Format>
void product_format(const LinearChunk& c) {
  for (int64_t m = 0; m < c.num_rows; m += kTileRows) {
    LinearChunk tile = c;
    tile.x += m * c.x_stride_bytes;
    tile.y += m * c.y_stride;
    tile.num_rows = c.num_rows - m < kTileRows ? c.num_rows - m : kTileRows;
    product_tile<Format>(tile);
  }
}

}  // namespace

void product_int8(const LinearChunk& c) { product_quantized(c); }

}  // namespace onnuri::avx512
