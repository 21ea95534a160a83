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
  float min[kPanelBlocks][16];
};

// -kOffset * sum of x over the block, or over one half of it.
template <int kOffset>
__m512i preset_sums(const Int8Block& x, int half) {
  const __m512i ones = _mm512_set1_epi16(1);
  if constexpr (kOffset == 8) return _mm512_madd_epi16(broadcast_word(x.minus_8), ones);
  if constexpr (kOffset == 16) return _mm512_madd_epi16(broadcast_word(x.minus_16), ones);
  if constexpr (kOffset == 32) return _mm512_madd_epi16(broadcast_word(x.minus_32[half]), ones);
  if constexpr (kOffset == 128) {
    return _mm512_madd_epi16(broadcast_word(x.minus_16), _mm512_set1_epi16(8));
  }
  return _mm512_setzero_si512();
}

__m512 add_scaled_sum(__m512 total, __m512i sums, __m512 scale, const Int8Block& x) {
  return _mm512_fmadd_ps(floats_from_int32(sums), _mm512_mul_ps(scale, _mm512_set1_ps(x.d)), total);
}

// One block of 16 rows times kRows input rows. `w` may be registers or a panel.
template <typename Format, int kRows>
void add_block(__m512* totals, const __m512i* w, const RowScales& scales, const Int8Block* const* x,
               int64_t b) {
  constexpr bool kHalves = Format::kWeightFormat == WeightFormat::kQ6K;
  __m512i sums[kRows];
  for (int m = 0; m < kRows; ++m) sums[m] = preset_sums<Format::kOffset>(x[m][b], 0);
  for (int v = 0; v < 8; ++v) {
    if (kHalves && v == 4) {
      for (int m = 0; m < kRows; ++m) {
        totals[m] = add_scaled_sum(totals[m], sums[m], scales.scale[0], x[m][b]);
        sums[m] = preset_sums<Format::kOffset>(x[m][b], 1);
      }
    }
    const __m512i weights = w[v];
    for (int m = 0; m < kRows; ++m) {
      sums[m] = dot_bytes(sums[m], weights, broadcast_word(x[m][b].q + v * 4));
    }
  }
  for (int m = 0; m < kRows; ++m) {
    totals[m] = add_scaled_sum(totals[m], sums[m], scales.scale[1], x[m][b]);
    if constexpr (Format::kHasMin) {
      totals[m] = _mm512_fmadd_ps(scales.min, _mm512_set1_ps(x[m][b].sum), totals[m]);
    }
  }
}

// Asks for the bytes of a block some way ahead: one core alone cannot keep enough misses in flight.
template <typename Format>
void prefetch_block(const uint8_t* record, int b) {
  constexpr RecordLayout kLayout = record_layout(Format::kWeightFormat);
  constexpr int64_t kAhead = 4096;
  // An address, not a pointer: near the end it lies outside the matrix, and is harmless.
  const uintptr_t block = reinterpret_cast<uintptr_t>(record) +
                          static_cast<uintptr_t>(kLayout.block_begin + kAhead) +
                          static_cast<uintptr_t>(b * kLayout.block_bytes);
  for (uintptr_t i = 0; i < static_cast<uintptr_t>(kLayout.block_bytes); i += 64) {
    __builtin_prefetch(reinterpret_cast<const void*>(block + i));
  }
}

template <typename Format>
void product_one_row(const LinearChunk& c) {
  constexpr RecordLayout kLayout = record_layout(Format::kWeightFormat);
  const Int8Block* x = reinterpret_cast<const Int8Block*>(c.x);
  const int64_t num_records = c.group_bytes / kLayout.bytes();
  for (int64_t g = 0; g < c.num_groups; ++g) {
    const uint8_t* record = reinterpret_cast<const uint8_t*>(c.weights + g * c.group_bytes);
    __m512 total = _mm512_setzero_ps();
    for (int64_t i = 0; i < num_records; ++i, record += kLayout.bytes()) {
      for (int b = 0; b < kLayout.num_blocks; ++b) {
        prefetch_block<Format>(record, b);
        __m512i w[8];
        Format::weights(record + kLayout.block_begin + b * kLayout.block_bytes, w);
        add_block<Format, 1>(&total, w, Format::scales(record, b), &x, i * kLayout.num_blocks + b);
      }
    }
    finish_row(c, 0, g, total);
  }
}

template <typename Format, int kRows>
void multiply_tile(const Panel& panel, int num_blocks, const Int8Block* const* x, bool first,
                   float* sums) {
  __m512 totals[kRows];
  for (int m = 0; m < kRows; ++m) {
    totals[m] = first ? _mm512_setzero_ps() : _mm512_loadu_ps(sums + m * kGroupRows);
  }
  for (int b = 0; b < num_blocks; ++b) {
    const RowScales scales = {
        {_mm512_load_ps(panel.scale[b][0]), _mm512_load_ps(panel.scale[b][1])},
        _mm512_load_ps(panel.min[b])};
    add_block<Format, kRows>(totals, reinterpret_cast<const __m512i*>(panel.weights[b]), scales, x,
                             b);
  }
  for (int m = 0; m < kRows; ++m) _mm512_storeu_ps(sums + m * kGroupRows, totals[m]);
}

template <typename Format>
void multiply_panel(const LinearChunk& c, const Panel& panel, int64_t group, int64_t first_block,
                    int num_blocks) {
  const bool first = first_block == 0;
  for (int64_t m = 0; m < c.num_rows;) {
    const Int8Block* x[kTileRows] = {};
    const int64_t left = c.num_rows - m;
    const int count = left >= 8 ? 8 : (left >= 4 ? 4 : (left >= 2 ? 2 : 1));
    for (int i = 0; i < count; ++i) {
      x[i] = reinterpret_cast<const Int8Block*>(c.x + (m + i) * c.x_stride_bytes) + first_block;
    }
    float* sums = workspace_sums(c, group, m);
    switch (count) {
      case 8: multiply_tile<Format, 8>(panel, num_blocks, x, first, sums); break;
      case 4: multiply_tile<Format, 4>(panel, num_blocks, x, first, sums); break;
      case 2: multiply_tile<Format, 2>(panel, num_blocks, x, first, sums); break;
      default: multiply_tile<Format, 1>(panel, num_blocks, x, first, sums);
    }
    m += count;
  }
}

template <typename Format>
void unpack_block(const uint8_t* record, int b, int i, Panel* panel) {
  constexpr RecordLayout kLayout = record_layout(Format::kWeightFormat);
  __m512i w[8];
  Format::weights(record + kLayout.block_begin + b * kLayout.block_bytes, w);
  for (int v = 0; v < 8; ++v) _mm512_store_si512(panel->weights[i][v], w[v]);
  const RowScales scales = Format::scales(record, b);
  _mm512_store_ps(panel->scale[i][0], scales.scale[0]);
  _mm512_store_ps(panel->scale[i][1], scales.scale[1]);
  _mm512_store_ps(panel->min[i], scales.min);
}

template <typename Format>
void product_many_rows(const LinearChunk& c) {
  constexpr RecordLayout kLayout = record_layout(Format::kWeightFormat);
  const int64_t total_blocks = c.group_bytes / kLayout.bytes() * kLayout.num_blocks;
  Panel panel;
  for (int64_t first = 0; first < total_blocks; first += kPanelBlocks) {
    const int64_t left = total_blocks - first;
    const int count = static_cast<int>(left < kPanelBlocks ? left : kPanelBlocks);
    for (int64_t g = 0; g < c.num_groups; ++g) {
      const uint8_t* group = reinterpret_cast<const uint8_t*>(c.weights + g * c.group_bytes);
      for (int i = 0; i < count; ++i) {
        const int64_t block = first + i;
        unpack_block<Format>(group + block / kLayout.num_blocks * kLayout.bytes(),
                             static_cast<int>(block % kLayout.num_blocks), i, &panel);
      }
      multiply_panel<Format>(c, panel, g, first, count);
    }
  }
  finish_chunk(c);
}

template <typename Format>
void product_format(const LinearChunk& c) {
  if (c.num_rows == 1) {
    product_one_row<Format>(c);
  } else {
    product_many_rows<Format>(c);
  }
}

}  // namespace

void product_int8(const LinearChunk& c) {
  switch (c.format) {
    case WeightFormat::kQ4: return product_format<Q4Format>(c);
    case WeightFormat::kQ4M: return product_format<Q4MFormat>(c);
    case WeightFormat::kQ5: return product_format<Q5Format>(c);
    case WeightFormat::kQ5M: return product_format<Q5MFormat>(c);
    case WeightFormat::kQ8: return product_format<Q8Format>(c);
    case WeightFormat::kQ4K: return product_format<Q4KFormat>(c);
    case WeightFormat::kQ5K: return product_format<Q5KFormat>(c);
    case WeightFormat::kQ6K: return product_format<Q6KFormat>(c);
    default: return;
  }
}

}  // namespace onnuri::avx512
