// Products of quantised weights and int8 inputs on AVX-512 with VNNI.
//
// vpdpbusd adds four products of unsigned weights and signed inputs per 32-bit lane; a block of 32
// is eight of them, then one conversion and one fused multiply-add. Blocks are added in order, for
// one input row as for many.
#include "kernels/cpu/avx512/linear_avx512.h"
#include "kernels/cpu/avx512/linear_formats.h"

namespace onnuri::avx512 {
namespace {

constexpr int kPanelBlocks = 16;  // columns of a panel: 512
constexpr int kTileRows = 8;      // input rows per register tile

struct alignas(64) Panel {
  uint8_t weights[kPanelBlocks][8][64];
  float scale[kPanelBlocks][2][16];
  float min[kPanelBlocks][2][16];
};

struct Totals {
  __m512 sums;
};

Totals zero_totals() { return {_mm512_setzero_ps()}; }

void finish_totals(const LinearChunk& c, int64_t row, int64_t group, const Totals& totals) {
  finish_row(c, row, group, totals.sums);
}

// -kOffset * sum of x over the block.
template <int kOffset>
__m512i preset_sums(const Int8Block& x) {
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
__m512i preset_half_sums(const Int8Block& x, int part) {
  const __m512i sums = _mm512_madd_epi16(broadcast_word(x.minus_32[part]), _mm512_set1_epi16(1));
  if constexpr (kOffset == 4) return shift_right_int32<3>(sums);
  if constexpr (kOffset == 16) return shift_right_int32<1>(sums);
  if constexpr (kOffset == 32) return sums;
  return _mm512_setzero_si512();
}

__m512 add_scaled_sum(__m512 total, __m512i sums, __m512 scale, const Int8Block& x) {
  return _mm512_fmadd_ps(floats_from_int32(sums), _mm512_mul_ps(scale, _mm512_set1_ps(x.d)), total);
}

// Eight or four steps of a block of 16 rows times kRows input rows. `w` may be registers or a
// panel.
template <int kRows>
void add_steps(__m512i* sums, const __m512i* w, int begin, int end, const Int8Block* const* x,
               int64_t b) {
  for (int v = begin; v < end; ++v) {
    const __m512i weights = w[v];
    for (int m = 0; m < kRows; ++m) {
      sums[m] = dot_bytes(sums[m], weights, broadcast_word(x[m][b].q + v * 4));
    }
  }
}

template <typename Format, int kRows>
void add_block(__m512* totals, const __m512i* w, const RowScales& scales, const Int8Block* const* x,
               int64_t b) {
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

template <typename Format>
void stream_block(const uint8_t* record, int b, const Int8Block& x, Totals& totals) {
  constexpr RecordLayout kLayout = record_layout(Format::kWeightFormat);
  const Int8Block* row = &x;
  __m512i w[8];
  Format::weights(record + kLayout.block_begin + b * kLayout.block_bytes, w);
  add_block<Format, 1>(&totals.sums, w, Format::scales(record, b), &row, 0);
}

template <typename Format, int kRows>
void multiply_rows(const Panel& panel, int num_blocks, const Int8Block* const* x, bool first,
                   float* sums) {
  __m512 totals[kRows];
  for (int m = 0; m < kRows; ++m) {
    totals[m] = first ? _mm512_setzero_ps() : _mm512_loadu_ps(sums + m * kGroupRows);
  }
  for (int b = 0; b < num_blocks; ++b) {
    const RowScales scales = {
        {_mm512_load_ps(panel.scale[b][0]), _mm512_load_ps(panel.scale[b][1])},
        {_mm512_load_ps(panel.min[b][0]), _mm512_load_ps(panel.min[b][1])}};
    add_block<Format, kRows>(totals, reinterpret_cast<const __m512i*>(panel.weights[b]), scales, x,
                             b);
  }
  for (int m = 0; m < kRows; ++m) _mm512_storeu_ps(sums + m * kGroupRows, totals[m]);
}

int tile_rows(int64_t left) { return left >= 8 ? 8 : (left >= 4 ? 4 : (left >= 2 ? 2 : 1)); }

template <typename Format>
void multiply_tile(int count, const Panel& panel, int num_blocks, const Int8Block* const* x,
                   bool first, float* sums) {
  switch (count) {
    case 8: return multiply_rows<Format, 8>(panel, num_blocks, x, first, sums);
    case 4: return multiply_rows<Format, 4>(panel, num_blocks, x, first, sums);
    case 2: return multiply_rows<Format, 2>(panel, num_blocks, x, first, sums);
    default: return multiply_rows<Format, 1>(panel, num_blocks, x, first, sums);
  }
}

template <typename Format>
void unpack_block(const uint8_t* record, int b, int i, Panel* panel) {
  constexpr RecordLayout kLayout = record_layout(Format::kWeightFormat);
  __m512i w[8];
  Format::weights(record + kLayout.block_begin + b * kLayout.block_bytes, w);
  for (int v = 0; v < 8; ++v) _mm512_store_si512(panel->weights[i][v], w[v]);
  const RowScales scales = Format::scales(record, b);
  for (int part = 0; part < 2; ++part) {
    _mm512_store_ps(panel->scale[i][part], scales.scale[part]);
    _mm512_store_ps(panel->min[i][part], scales.min[part]);
  }
}

}  // namespace
}  // namespace onnuri::avx512

#define ONNURI_ISA avx512
#include "kernels/cpu/linear_impl.h"

namespace onnuri::avx512 {

void product_int8(const LinearChunk& c) { product_quantized(c); }

}  // namespace onnuri::avx512
