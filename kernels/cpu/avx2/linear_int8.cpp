// Products of quantised weights and int8 inputs on AVX2.
//
// vpmaddubsw multiplies unsigned weights by signed inputs and adds neighbours into 16-bit lanes. A
// whole block (16 steps for 6 bits: half a block) is summed in 16 bits; lanes may wrap on the way,
// since with the offset preset the final value always fits. Then one vpmaddwd, one conversion and
// one fused multiply-add per block. The order of additions per output is the order of blocks, for
// one row and for many: both paths run `add_block`.
#include "kernels/cpu/avx2/linear_avx2.h"
#include "kernels/cpu/avx2/linear_formats.h"

namespace onnuri::avx2 {
namespace {

constexpr int kPanelBlocks = 16;  // columns of a panel: 512
constexpr int kTileRows = 3;      // input rows per register tile

// Weights of 16 rows unpacked to bytes, with float scales: reused by all rows of a chunk.
struct alignas(64) Panel {
  uint8_t weights[kPanelBlocks * 2][2][8][32];  // two entries per block, the second for two passes
  float scale[kPanelBlocks * 2][2][8];
  float min[kPanelBlocks * 2][2][8];
  int16_t sub_scale[kPanelBlocks][2][2][16];  // (block, half, sub-block, row twice)
};

struct Totals {
  __m256 half[2];
};

Totals zero_totals() { return {{_mm256_setzero_ps(), _mm256_setzero_ps()}}; }

void finish_totals(const LinearChunk& c, int64_t row, int64_t group, const Totals& totals) {
  finish_row(c, row, group, totals.half[0], totals.half[1]);
}

// Keeps a running sum a running sum: compilers turn such chains into trees and spill the leaves.
__m256i pinned(__m256i v) {
  asm("" : "+x"(v));
  return v;
}

__m256i broadcast4(const void* p) {
  int value;
  __builtin_memcpy(&value, p, sizeof(value));
  return _mm256_set1_epi32(value);
}

template <Preset kPreset>
__m256i preset_sums(const Int8Block& x, int sub_block) {
  if constexpr (kPreset == Preset::kMinus8) return broadcast4(x.minus_8);
  if constexpr (kPreset == Preset::kMinus16) return broadcast4(x.minus_16);
  if constexpr (kPreset == Preset::kMinus32) return broadcast4(x.minus_32[sub_block]);
  return _mm256_setzero_si256();
}

// The same for 16 of the columns: -32 times their sum is at hand.
template <Preset kPreset>
__m256i preset_half_sums(const Int8Block& x, int part) {
  const __m256i minus_32 = broadcast4(x.minus_32[part]);
  if constexpr (kPreset == Preset::kMinus4) return _mm256_srai_epi16(minus_32, 3);
  if constexpr (kPreset == Preset::kMinus16) return _mm256_srai_epi16(minus_32, 1);
  return _mm256_setzero_si256();
}

__m256i add_product(__m256i sums, __m256i weights, const Int8Block& x, int v) {
  return pinned(_mm256_add_epi16(sums, _mm256_maddubs_epi16(weights, broadcast4(x.q + v * 4))));
}

__m256 add_scaled_sum(__m256 total, __m256i sums, __m256 scale, const Int8Block& x) {
  return _mm256_fmadd_ps(_mm256_cvtepi32_ps(sums), _mm256_mul_ps(scale, _mm256_set1_ps(x.d)),
                         total);
}

// One block of 8 rows times one input row, weights in registers.
template <Preset kPreset, bool kHasMin>
__m256 add_block(__m256 total, const __m256i* w, const RowScales& scales, const Int8Block& x) {
  __m256i sums = preset_sums<kPreset>(x, 0);
  for (int v = 0; v < 8; ++v) sums = add_product(sums, w[v], x, v);
  total = add_scaled_sum(total, _mm256_madd_epi16(sums, _mm256_set1_epi16(1)), scales.scale, x);
  if constexpr (kHasMin) total = _mm256_fmadd_ps(scales.min, _mm256_set1_ps(x.sum), total);
  return total;
}

__m256 add_block_q6(__m256 total, const __m256i* w, __m256 d, __m256i scale0, __m256i scale1,
                    const Int8Block& x) {
  __m256i sums0 = preset_sums<Preset::kMinus32>(x, 0);
  __m256i sums1 = preset_sums<Preset::kMinus32>(x, 1);
  for (int v = 0; v < 4; ++v) {
    sums0 = add_product(sums0, w[v], x, v);
    sums1 = add_product(sums1, w[v + 4], x, v + 4);
  }
  const __m256i sums =
      _mm256_add_epi32(_mm256_madd_epi16(sums0, scale0), _mm256_madd_epi16(sums1, scale1));
  return add_scaled_sum(total, sums, d, x);
}

// Each 16 columns with a scale, and a minimum, of their own.
template <typename Format>
__m256 add_block_halves(__m256 total, const __m256i* w, const RowScales* scales,
                        const Int8Block& x) {
  for (int part = 0; part < 2; ++part) {
    __m256i sums = preset_half_sums<Format::kPreset>(x, part);
    for (int v = part * 4; v < part * 4 + 4; ++v) sums = add_product(sums, w[v], x, v);
    total =
        add_scaled_sum(total, _mm256_madd_epi16(sums, _mm256_set1_epi16(1)), scales[part].scale, x);
    if constexpr (Format::kHasMin) {
      total = _mm256_fmadd_ps(scales[part].min, _mm256_set1_ps(x.half_sum[part]), total);
    }
  }
  return total;
}

// 8 rows of a block times one input row: weights go from memory through registers once.
template <typename Format>
__m256 stream_half(__m256 total, const uint8_t* record, int b, int half, const Int8Block& x) {
  constexpr RecordLayout kLayout = record_layout(Format::kWeightFormat);
  const uint8_t* block = record + kLayout.block_begin + b * kLayout.block_bytes;
  __m256i w[8];
  if constexpr (Format::kPass == Pass::kTwo) {
    RowScales scales = Format::scales(record, b, half);
    Format::low(block, half, w);
    total = add_block<Preset::kNone, false>(total, w, scales, x);
    Format::high(block, half, w);
    scales.scale = _mm256_mul_ps(scales.scale, _mm256_set1_ps(16.0f));
    return add_block<Preset::kMinus8, Format::kHasMin>(total, w, scales, x);
  } else if constexpr (Format::kPass == Pass::kSixBit) {
    Format::weights(block, half, w);
    return add_block_q6(total, w, Format::scales(record, b, half).scale,
                        Format::sub_scales(record, b * 2, half),
                        Format::sub_scales(record, b * 2 + 1, half), x);
  } else if constexpr (Format::kPass == Pass::kHalves) {
    Format::weights(block, half, w);
    const RowScales scales[2] = {Format::scales(record, b * 2, half),
                                 Format::scales(record, b * 2 + 1, half)};
    return add_block_halves<Format>(total, w, scales, x);
  } else {
    Format::weights(block, half, w);
    return add_block<Format::kPreset, Format::kHasMin>(total, w, Format::scales(record, b, half),
                                                       x);
  }
}

template <typename Format, int kRows>
void stream_block(const uint8_t* record, int b, const Int8Block* const* x, int64_t block,
                  Totals* totals) {
  static_assert(kRows == 1, "sixteen registers hold no more");
  totals->half[0] = stream_half<Format>(totals->half[0], record, b, 0, x[0][block]);
  totals->half[1] = stream_half<Format>(totals->half[1], record, b, 1, x[0][block]);
}

void store_scales(Panel* panel, int entry, int half, const RowScales& scales) {
  _mm256_store_ps(panel->scale[entry][half], scales.scale);
  _mm256_store_ps(panel->min[entry][half], scales.min);
}

void store_entry(Panel* panel, int entry, int half, const __m256i* w, const RowScales& scales) {
  for (int v = 0; v < 8; ++v) {
    _mm256_store_si256(reinterpret_cast<__m256i*>(panel->weights[entry][half][v]), w[v]);
  }
  store_scales(panel, entry, half, scales);
}

// Unpacks block b of a record as panel block `i`. Scales of the second pass, or of the second 16
// columns, are in the odd entries.
template <typename Format>
void unpack_block(const uint8_t* record, int b, int i, Panel* panel) {
  constexpr RecordLayout kLayout = record_layout(Format::kWeightFormat);
  const uint8_t* block = record + kLayout.block_begin + b * kLayout.block_bytes;
  for (int half = 0; half < 2; ++half) {
    __m256i w[8];
    if constexpr (Format::kPass == Pass::kTwo) {
      RowScales scales = Format::scales(record, b, half);
      Format::low(block, half, w);
      store_entry(panel, i * 2, half, w, scales);
      Format::high(block, half, w);
      scales.scale = _mm256_mul_ps(scales.scale, _mm256_set1_ps(16.0f));
      store_entry(panel, i * 2 + 1, half, w, scales);
    } else if constexpr (Format::kPass == Pass::kHalves) {
      Format::weights(block, half, w);
      store_entry(panel, i * 2, half, w, Format::scales(record, b * 2, half));
      store_scales(panel, i * 2 + 1, half, Format::scales(record, b * 2 + 1, half));
    } else {
      Format::weights(block, half, w);
      store_entry(panel, i * 2, half, w, Format::scales(record, b, half));
      if constexpr (Format::kPass == Pass::kSixBit) {
        for (int s = 0; s < 2; ++s) {
          _mm256_store_si256(reinterpret_cast<__m256i*>(panel->sub_scale[i][half][s]),
                             Format::sub_scales(record, b * 2 + s, half));
        }
      }
    }
  }
}

// 16 rows of weights times kRows input rows over one panel entry.
template <Preset kPreset, bool kHasMin, int kRows>
void add_entry(const Panel& panel, int entry, const Int8Block* const* x, int64_t b,
               __m256 (*totals)[2]) {
  __m256i sums[kRows][2];
  for (int m = 0; m < kRows; ++m) {
    sums[m][0] = preset_sums<kPreset>(x[m][b], 0);
    sums[m][1] = sums[m][0];
  }
  for (int v = 0; v < 8; ++v) {
    const __m256i w0 = load_vector(panel.weights[entry][0][v]);
    const __m256i w1 = load_vector(panel.weights[entry][1][v]);
    for (int m = 0; m < kRows; ++m) {
      const __m256i q = broadcast4(x[m][b].q + v * 4);
      sums[m][0] = pinned(_mm256_add_epi16(sums[m][0], _mm256_maddubs_epi16(w0, q)));
      sums[m][1] = pinned(_mm256_add_epi16(sums[m][1], _mm256_maddubs_epi16(w1, q)));
    }
  }
  const __m256i ones = _mm256_set1_epi16(1);
  for (int half = 0; half < 2; ++half) {
    const __m256 scale = _mm256_load_ps(panel.scale[entry][half]);
    for (int m = 0; m < kRows; ++m) {
      totals[m][half] =
          add_scaled_sum(totals[m][half], _mm256_madd_epi16(sums[m][half], ones), scale, x[m][b]);
      if constexpr (kHasMin) {
        totals[m][half] = _mm256_fmadd_ps(_mm256_load_ps(panel.min[entry][half]),
                                          _mm256_set1_ps(x[m][b].sum), totals[m][half]);
      }
    }
  }
}

template <int kRows>
void add_entry_q6(const Panel& panel, int i, const Int8Block* const* x, int64_t b,
                  __m256 (*totals)[2]) {
  __m256i wide[kRows][2];
  for (int m = 0; m < kRows; ++m) wide[m][0] = wide[m][1] = _mm256_setzero_si256();
  for (int s = 0; s < 2; ++s) {
    __m256i sums[kRows][2];
    for (int m = 0; m < kRows; ++m) {
      sums[m][0] = preset_sums<Preset::kMinus32>(x[m][b], s);
      sums[m][1] = sums[m][0];
    }
    for (int v = s * 4; v < s * 4 + 4; ++v) {
      const __m256i w0 = load_vector(panel.weights[i * 2][0][v]);
      const __m256i w1 = load_vector(panel.weights[i * 2][1][v]);
      for (int m = 0; m < kRows; ++m) {
        const __m256i q = broadcast4(x[m][b].q + v * 4);
        sums[m][0] = pinned(_mm256_add_epi16(sums[m][0], _mm256_maddubs_epi16(w0, q)));
        sums[m][1] = pinned(_mm256_add_epi16(sums[m][1], _mm256_maddubs_epi16(w1, q)));
      }
    }
    for (int half = 0; half < 2; ++half) {
      const __m256i scale =
          _mm256_load_si256(reinterpret_cast<const __m256i*>(panel.sub_scale[i][half][s]));
      for (int m = 0; m < kRows; ++m) {
        wide[m][half] = _mm256_add_epi32(wide[m][half], _mm256_madd_epi16(sums[m][half], scale));
      }
    }
  }
  for (int half = 0; half < 2; ++half) {
    const __m256 scale = _mm256_load_ps(panel.scale[i * 2][half]);
    for (int m = 0; m < kRows; ++m) {
      totals[m][half] = add_scaled_sum(totals[m][half], wide[m][half], scale, x[m][b]);
    }
  }
}

template <typename Format, int kRows>
void add_entry_halves(const Panel& panel, int entry, const Int8Block* const* x, int64_t b,
                      __m256 (*totals)[2]) {
  const __m256i ones = _mm256_set1_epi16(1);
  for (int part = 0; part < 2; ++part) {
    __m256i sums[kRows][2];
    for (int m = 0; m < kRows; ++m) {
      sums[m][0] = preset_half_sums<Format::kPreset>(x[m][b], part);
      sums[m][1] = sums[m][0];
    }
    for (int v = part * 4; v < part * 4 + 4; ++v) {
      const __m256i w0 = load_vector(panel.weights[entry][0][v]);
      const __m256i w1 = load_vector(panel.weights[entry][1][v]);
      for (int m = 0; m < kRows; ++m) {
        sums[m][0] = add_product(sums[m][0], w0, x[m][b], v);
        sums[m][1] = add_product(sums[m][1], w1, x[m][b], v);
      }
    }
    for (int half = 0; half < 2; ++half) {
      const __m256 scale = _mm256_load_ps(panel.scale[entry + part][half]);
      for (int m = 0; m < kRows; ++m) {
        totals[m][half] =
            add_scaled_sum(totals[m][half], _mm256_madd_epi16(sums[m][half], ones), scale, x[m][b]);
        if constexpr (Format::kHasMin) {
          totals[m][half] =
              _mm256_fmadd_ps(_mm256_load_ps(panel.min[entry + part][half]),
                              _mm256_set1_ps(x[m][b].half_sum[part]), totals[m][half]);
        }
      }
    }
  }
}

// kRows input rows times one panel; sums (kRows, 16) continue from the panel before.
template <typename Format, int kRows>
void multiply_rows(const Panel& panel, int num_blocks, const Int8Block* const* x, bool first,
                   float* sums) {
  __m256 totals[kRows][2];
  for (int m = 0; m < kRows; ++m) {
    for (int half = 0; half < 2; ++half) {
      totals[m][half] =
          first ? _mm256_setzero_ps() : _mm256_load_ps(sums + m * kGroupRows + half * 8);
    }
  }
  for (int b = 0; b < num_blocks; ++b) {
    if constexpr (Format::kPass == Pass::kTwo) {
      add_entry<Preset::kNone, false, kRows>(panel, b * 2, x, b, totals);
      add_entry<Preset::kMinus8, Format::kHasMin, kRows>(panel, b * 2 + 1, x, b, totals);
    } else if constexpr (Format::kPass == Pass::kSixBit) {
      add_entry_q6<kRows>(panel, b, x, b, totals);
    } else if constexpr (Format::kPass == Pass::kHalves) {
      add_entry_halves<Format, kRows>(panel, b * 2, x, b, totals);
    } else {
      add_entry<Format::kPreset, Format::kHasMin, kRows>(panel, b * 2, x, b, totals);
    }
  }
  for (int m = 0; m < kRows; ++m) {
    for (int half = 0; half < 2; ++half) {
      _mm256_store_ps(sums + m * kGroupRows + half * 8, totals[m][half]);
    }
  }
}

int tile_rows(int64_t left) { return static_cast<int>(left < kTileRows ? left : kTileRows); }

template <typename Format>
void multiply_tile(int count, const Panel& panel, int num_blocks, const Int8Block* const* x,
                   bool first, float* sums) {
  switch (count) {
    case 3: return multiply_rows<Format, 3>(panel, num_blocks, x, first, sums);
    case 2: return multiply_rows<Format, 2>(panel, num_blocks, x, first, sums);
    default: return multiply_rows<Format, 1>(panel, num_blocks, x, first, sums);
  }
}

}  // namespace
}  // namespace onnuri::avx2

#define ONNURI_ISA avx2
#include "kernels/cpu/linear_impl.h"

namespace onnuri::avx2 {
namespace {

// Many rows unpack a panel of weights first and reuse it.
template <typename Format>
void multiply_panel(const LinearChunk& c, const Panel& panel, int64_t group, int64_t first_block,
                    int num_blocks) {
  for (int64_t m = 0; m < c.num_rows;) {
    const Int8Block* x[kTileRows] = {};
    const int count = tile_rows(c.num_rows - m);
    for (int i = 0; i < count; ++i) {
      x[i] = reinterpret_cast<const Int8Block*>(c.x + (m + i) * c.x_stride_bytes) + first_block;
    }
    multiply_tile<Format>(count, panel, num_blocks, x, first_block == 0,
                          workspace_sums(c, group, m));
    m += count;
  }
}

template <typename Format>
void product_many_rows(const LinearChunk& c) {
  constexpr RecordLayout kLayout = layout_of<Format>();
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
  if (c.num_rows == 1) return product_few_rows<Format, 1>(c);
  product_many_rows<Format>(c);
}

}  // namespace

void product_int8(const LinearChunk& c) { product_quantized(c); }

}  // namespace onnuri::avx2
