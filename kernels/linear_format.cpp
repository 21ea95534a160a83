#include "kernels/linear_format.h"

#include <cstring>

#include "core/check.h"
#include "kernels/float_bits.h"
#include "kernels/quant_types.h"
#include "kernels/ref/quant.h"

namespace onnuri {
namespace {

constexpr int64_t round_up(int64_t value, int64_t unit) { return (value + unit - 1) / unit * unit; }

// Float formats: decode the rows, then interleave.
void pack_f32(DType dtype, const std::byte* rows, int64_t row_bytes, int64_t num_rows, int64_t cols,
              float* row_scratch, std::byte* out) {
  for (int64_t r = 0; r < num_rows; ++r) {
    ref::dequantize_row(dtype, rows + r * row_bytes, cols, row_scratch + r * cols);
  }
  float* packed = reinterpret_cast<float*>(out);
  for (int64_t k = 0; k < cols; ++k) {
    for (int64_t r = 0; r < kGroupRows; ++r) {
      packed[k * kGroupRows + r] = r < num_rows ? row_scratch[r * cols + k] : 0.0f;
    }
  }
}

// Plain 16-bit formats keep their bits; other sources are converted when that loses nothing.
void pack_u16(DType dtype, const std::byte* rows, int64_t row_bytes, int64_t num_rows, int64_t cols,
              int64_t k_step, std::byte* out) {
  uint16_t* packed = reinterpret_cast<uint16_t*>(out);
  for (int64_t r = 0; r < num_rows; ++r) {
    const std::byte* row = rows + r * row_bytes;
    for (int64_t k = 0; k < cols; ++k) {
      uint16_t value = 0;
      if (dtype == DType::kF8E4M3) {
        value = half_from_f8e4m3(static_cast<uint8_t>(row[k]));
      } else if (dtype == DType::kF8E5M2) {
        value = static_cast<uint16_t>(static_cast<uint8_t>(row[k]) << 8);
      } else {
        std::memcpy(&value, row + k * 2, sizeof(value));
      }
      packed[(k / k_step * kGroupRows + r) * k_step + k % k_step] = value;
    }
  }
}

constexpr uint32_t kLowNibbles = 0x0f0f0f0fu;

uint32_t load_u32(const uint8_t* bytes) {
  uint32_t value;
  std::memcpy(&value, bytes, sizeof(value));
  return value;
}

// Writes the word of row r in vector v of a block plane.
void put_word(uint8_t* plane, int64_t v, int64_t r, uint32_t word) {
  std::memcpy(plane + v * 64 + r * 4, &word, sizeof(word));
}

void put_half(uint8_t* halves, int64_t i, const uint8_t* half) {
  std::memcpy(halves + i * 2, half, 2);
}

// Bits c, c + 4, c + 8, ... of `bits` as byte c of the result: the bit plane word of one row.
uint32_t transpose_bits(uint32_t bits) {
  uint32_t word = 0;
  for (int c = 0; c < 4; ++c) {
    uint32_t v = bits >> c & 0x11111111u;
    v = (v | v >> 3) & 0x03030303u;
    v = (v | v >> 6) & 0x000f000fu;
    v = (v | v >> 12) & 0xffu;
    word |= v << (8 * c);
  }
  return word;
}

// Formats of 32-wide blocks whose nibbles pair weights i and i + 16, as ours do.
template <typename Block>
void pack_small_block(const Block& source, int64_t b, int64_t r, uint8_t* record, uint8_t* block) {
  constexpr bool kHasMin = requires { source.m; };
  put_half(record, b * kGroupRows + r, source.d);
  if constexpr (kHasMin) put_half(record + 64, b * kGroupRows + r, source.m);
  for (int64_t v = 0; v < 4; ++v) put_word(block, v, r, load_u32(source.qs + v * 4));
  if constexpr (requires { source.qh; }) {
    put_word(block + 256, 0, r, transpose_bits(load_u32(source.qh)));
  }
}

void pack_small_block(const BlockQ8_0& source, int64_t b, int64_t r, uint8_t* record,
                      uint8_t* block) {
  put_half(record, b * kGroupRows + r, source.d);
  for (int64_t v = 0; v < 8; ++v) {
    put_word(block, v, r, load_u32(reinterpret_cast<const uint8_t*>(source.qs) + v * 4));
  }
}

template <typename Block>
void pack_small(WeightFormat format, const std::byte* rows, int64_t row_bytes, int64_t num_rows,
                int64_t cols, std::byte* out) {
  const RecordLayout layout = record_layout(format);
  for (int64_t i = 0; i < cols / kBlockCols; ++i) {
    uint8_t* record = reinterpret_cast<uint8_t*>(out) + i / 2 * layout.bytes();
    uint8_t* block = record + layout.block_begin + i % 2 * layout.block_bytes;
    for (int64_t r = 0; r < num_rows; ++r) {
      const Block* source = reinterpret_cast<const Block*>(rows + r * row_bytes) + i;
      pack_small_block(*source, i % 2, r, record, block);
    }
  }
}

// Sub-block b of Q4_K and Q5_K: nibbles are low for even b, high for odd b.
template <typename Block>
void pack_k_block(const Block& source, int b, int64_t r, uint8_t* record, uint8_t* block) {
  uint8_t scale = 0, min = 0;
  unpack_scale_min(source.scales, b, &scale, &min);
  record[64 + b * kGroupRows + r] = scale;
  record[192 + b * kGroupRows + r] = min;
  const uint8_t* qs = source.qs + b / 2 * 32;
  const int shift = b % 2 * 4;
  for (int64_t v = 0; v < 4; ++v) {
    const uint32_t low = load_u32(qs + v * 4) >> shift & kLowNibbles;
    const uint32_t high = load_u32(qs + v * 4 + 16) >> shift & kLowNibbles;
    put_word(block, v, r, low | high << 4);
  }
  if constexpr (requires { source.qh; }) {
    uint32_t plane = 0;
    for (int64_t v = 0; v < 8; ++v) {
      plane |= (load_u32(source.qh + v * 4) >> b & 0x01010101u) << v;
    }
    put_word(block + 256, 0, r, plane);
  }
}

void pack_k_block(const BlockQ6K& source, int b, int64_t r, uint8_t* record, uint8_t* block) {
  record[64 + (b * 2) * kGroupRows + r] = static_cast<uint8_t>(source.scales[b * 2]);
  record[64 + (b * 2 + 1) * kGroupRows + r] = static_cast<uint8_t>(source.scales[b * 2 + 1]);
  const uint8_t* ql = source.ql + b / 4 * 64 + b % 2 * 32;
  const uint8_t* qh = source.qh + b / 4 * 32;
  const int low_shift = b % 4 < 2 ? 0 : 4;
  const int high_shift = b % 4 * 2;
  for (int64_t v = 0; v < 4; ++v) {
    const uint32_t low = load_u32(ql + v * 4) >> low_shift & kLowNibbles;
    const uint32_t high = load_u32(ql + v * 4 + 16) >> low_shift & kLowNibbles;
    put_word(block, v, r, low | high << 4);
  }
  for (int64_t plane = 0; plane < 2; ++plane) {
    uint32_t word = 0;
    for (int64_t v = 0; v < 4; ++v) {
      const uint32_t bits = load_u32(qh + (plane * 4 + v) * 4) >> high_shift & 0x03030303u;
      word |= bits << (2 * v);
    }
    put_word(block + 256, plane, r, word);
  }
}

template <typename Block>
void pack_k(WeightFormat format, const std::byte* rows, int64_t row_bytes, int64_t num_rows,
            int64_t cols, std::byte* out) {
  const RecordLayout layout = record_layout(format);
  for (int64_t i = 0; i < cols / 256; ++i) {
    uint8_t* record = reinterpret_cast<uint8_t*>(out) + i * layout.bytes();
    for (int64_t r = 0; r < num_rows; ++r) {
      const Block& source = reinterpret_cast<const Block*>(rows + r * row_bytes)[i];
      if constexpr (requires { source.dmin; }) {
        put_half(record, r, source.d);
        put_half(record + 32, r, source.dmin);
      } else {
        const float d = float_from_half(load_half_bits(source.d));
        std::memcpy(record + r * 4, &d, sizeof(d));
      }
      for (int b = 0; b < 8; ++b) {
        pack_k_block(source, b, r, record, record + layout.block_begin + b * layout.block_bytes);
      }
    }
  }
}

}  // namespace

int64_t packed_group_bytes(WeightFormat format, int64_t cols) {
  switch (format) {
    case WeightFormat::kF32: return cols * kGroupRows * 4;
    case WeightFormat::kF16:
    case WeightFormat::kBF16: return round_up(cols * kGroupRows * 2, 64);
    case WeightFormat::kBF16Pairs: return round_up(cols, 2) * kGroupRows * 2;
    default: break;
  }
  const RecordLayout layout = record_layout(format);
  const int64_t record_cols = layout.num_blocks * kBlockCols;
  return (cols + record_cols - 1) / record_cols * layout.bytes();
}

WeightFormat exact_weight_format(DType dtype, WeightFormat bfloat16_format) {
  switch (dtype) {
    case DType::kF16:
    case DType::kF8E4M3:
    case DType::kF8E5M2: return WeightFormat::kF16;
    case DType::kBF16: return bfloat16_format;
    case DType::kQ4_0: return WeightFormat::kQ4;
    case DType::kQ4_1: return WeightFormat::kQ4M;
    case DType::kQ5_0: return WeightFormat::kQ5;
    case DType::kQ5_1: return WeightFormat::kQ5M;
    case DType::kQ8_0: return WeightFormat::kQ8;
    case DType::kQ4_K: return WeightFormat::kQ4K;
    case DType::kQ5_K: return WeightFormat::kQ5K;
    case DType::kQ6_K: return WeightFormat::kQ6K;
    default: return WeightFormat::kF32;
  }
}

void pack_group(WeightFormat format, DType dtype, const std::byte* rows, int64_t row_bytes,
                int64_t num_rows, int64_t cols, float* row_scratch, std::byte* out) {
  ONNURI_CHECK(num_rows >= 1 && num_rows <= kGroupRows);
  const size_t bytes = static_cast<size_t>(packed_group_bytes(format, cols));
  if (num_rows < kGroupRows || (is_quantized(format) && cols % 64 != 0) || cols % 2 != 0) {
    std::memset(out, 0, bytes);
  }
  const auto pack = [&](auto packer) { packer(format, rows, row_bytes, num_rows, cols, out); };
  switch (format) {
    case WeightFormat::kF32:
      return pack_f32(dtype, rows, row_bytes, num_rows, cols, row_scratch, out);
    case WeightFormat::kF16:
    case WeightFormat::kBF16: return pack_u16(dtype, rows, row_bytes, num_rows, cols, 1, out);
    case WeightFormat::kBF16Pairs: return pack_u16(dtype, rows, row_bytes, num_rows, cols, 2, out);
    case WeightFormat::kQ4: return pack(pack_small<BlockQ4_0>);
    case WeightFormat::kQ4M: return pack(pack_small<BlockQ4_1>);
    case WeightFormat::kQ5: return pack(pack_small<BlockQ5_0>);
    case WeightFormat::kQ5M: return pack(pack_small<BlockQ5_1>);
    case WeightFormat::kQ8: return pack(pack_small<BlockQ8_0>);
    case WeightFormat::kQ4K: return pack(pack_k<BlockQ4K>);
    case WeightFormat::kQ5K: return pack(pack_k<BlockQ5K>);
    case WeightFormat::kQ6K: return pack(pack_k<BlockQ6K>);
  }
}

}  // namespace onnuri
