#include "kernels/linear_format.h"

#include <algorithm>
#include <cstring>
#include <limits>

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
      if (dtype == DType::kF8E5M2) {
        value = static_cast<uint16_t>(static_cast<uint8_t>(row[k]) << 8);
      } else {
        std::memcpy(&value, row + k * 2, sizeof(value));
      }
      packed[(k / k_step * kGroupRows + r) * k_step + k % k_step] = value;
    }
  }
}

// Bytes keep their bits. Not-a-number is no byte value to the kernels: it moves into the scale.
void pack_f8(const std::byte* rows, int64_t row_bytes, int64_t num_rows, int64_t cols,
             std::byte* out) {
  for (int64_t k0 = 0; k0 < cols; k0 += kF8Cols, out += kF8RecordBytes) {
    const int64_t count = std::min(kF8Cols, cols - k0);
    uint8_t* bytes = reinterpret_cast<uint8_t*>(out) + kGroupRows * 4;
    for (int64_t r = 0; r < num_rows; ++r) {
      const uint8_t* row = reinterpret_cast<const uint8_t*>(rows) + r * row_bytes + k0;
      float scale = 256.0f;
      for (int64_t k = 0; k < count; ++k) {
        bytes[k * kGroupRows + r] = row[k];
        if ((row[k] & 0x7f) == 0x7f) scale = std::numeric_limits<float>::quiet_NaN();
      }
      std::memcpy(out + r * 4, &scale, sizeof(scale));
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

// The power of two of a block as a brain float, whose exponents reach as far.
void pack_small_block(const BlockMXFP4& source, int64_t b, int64_t r, uint8_t* record,
                      uint8_t* block) {
  const auto scale = static_cast<uint16_t>(bits_from_float(half_of_e8m0(source.e)) >> 16);
  std::memcpy(record + (b * kGroupRows + r) * 2, &scale, sizeof(scale));
  for (int64_t v = 0; v < 4; ++v) put_word(block, v, r, load_u32(source.qs + v * 4));
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

void pack_nvfp4(WeightFormat format, const std::byte* rows, int64_t row_bytes, int64_t num_rows,
                int64_t cols, std::byte* out) {
  const RecordLayout layout = record_layout(format);
  for (int64_t i = 0; i < cols / 64; ++i, out += layout.bytes()) {
    uint8_t* record = reinterpret_cast<uint8_t*>(out);
    for (int64_t r = 0; r < num_rows; ++r) {
      const auto& source = reinterpret_cast<const BlockNVFP4*>(rows + r * row_bytes)[i];
      for (int64_t sub = 0; sub < 4; ++sub) {
        const float scale = half_of_ue4m3(source.d[sub]);
        std::memcpy(record + (sub * kGroupRows + r) * 4, &scale, sizeof(scale));
      }
      for (int64_t b = 0; b < 2; ++b) {
        uint8_t codes[kBlockCols];
        for (int j = 0; j < 16; ++j) {
          const uint8_t* qs = source.qs + (b * 2 + j / 8) * 8;
          codes[j / 8 * 16 + j % 8] = qs[j % 8] & 15;
          codes[j / 8 * 16 + j % 8 + 8] = qs[j % 8] >> 4;
        }
        put_codes(format, codes, r, record + layout.block_begin + b * layout.block_bytes);
      }
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

void pack_k_block(const BlockQ2K& source, int b, int64_t r, uint8_t* record, uint8_t* block) {
  for (int64_t s = b * 2; s < b * 2 + 2; ++s) record[64 + s * kGroupRows + r] = source.scales[s];
  uint8_t codes[kBlockCols];
  for (int i = 0; i < 32; ++i) codes[i] = static_cast<uint8_t>(unpack_two_bits(source.qs, b, i));
  put_codes(WeightFormat::kQ2K, codes, r, block);
}

void pack_k_block(const BlockQ3K& source, int b, int64_t r, uint8_t* record, uint8_t* block) {
  for (int s = b * 2; s < b * 2 + 2; ++s) {
    record[64 + s * kGroupRows + r] = static_cast<uint8_t>(unpack_q3_scale(source.scales, s) - 32);
  }
  uint8_t codes[kBlockCols];
  for (int i = 0; i < 32; ++i) {
    const int high = source.hmask[i] >> b & 1;
    codes[i] = static_cast<uint8_t>(unpack_two_bits(source.qs, b, i) | high << 2);
  }
  put_codes(WeightFormat::kQ3K, codes, r, block);
}

void pack_k_block(const BlockIQ4XS& source, int b, int64_t r, uint8_t* record, uint8_t* block) {
  record[32 + b * kGroupRows + r] = static_cast<uint8_t>(unpack_iq4_scale(source, b) - 32);
  for (int64_t v = 0; v < 4; ++v) put_word(block, v, r, load_u32(source.qs + b * 16 + v * 4));
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
      } else if constexpr (requires { source.scales_h; }) {
        put_half(record, r, source.d);
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

void put_codes(WeightFormat format, const uint8_t* codes, int64_t r, uint8_t* block) {
  const int64_t bytes = record_layout(format).block_bytes;
  if (bytes == 512) {
    for (int64_t v = 0; v < 8; ++v) put_word(block, v, r, load_u32(codes + v * 4));
    return;
  }
  const bool two_bits = bytes < 256;
  uint32_t plane = 0;  // the bit above nibbles or pairs of bits
  for (int64_t v = 0; v < 8; ++v) {
    plane |= (load_u32(codes + v * 4) >> (two_bits ? 2 : 4) & 0x01010101u) << v;
  }
  if (two_bits) {
    for (int64_t p = 0; p < 2; ++p) {
      uint32_t word = 0;
      for (int64_t v = 0; v < 4; ++v) {
        word |= (load_u32(codes + (p * 4 + v) * 4) & 0x03030303u) << (2 * v);
      }
      put_word(block, p, r, word);
    }
  } else {
    for (int64_t v = 0; v < 4; ++v) {
      const uint32_t low = load_u32(codes + v * 4) & kLowNibbles;
      const uint32_t high = load_u32(codes + v * 4 + 16) & kLowNibbles;
      put_word(block, v, r, low | high << 4);
    }
  }
  if (bytes == 192) put_word(block + 128, 0, r, plane);
  if (bytes == 320) put_word(block + 256, 0, r, plane);
}

int64_t packed_group_bytes(WeightFormat format, int64_t cols) {
  switch (format) {
    case WeightFormat::kF32: return cols * kGroupRows * 4;
    case WeightFormat::kF16:
    case WeightFormat::kBF16: return round_up(cols * kGroupRows * 2, 64);
    case WeightFormat::kBF16Pairs: return round_up(cols, 2) * kGroupRows * 2;
    case WeightFormat::kF8:
      return round_up(cols * kGroupRows + (cols + kF8Cols - 1) / kF8Cols * kGroupRows * 4, 64);
    default: break;
  }
  const RecordLayout layout = record_layout(format);
  const int64_t record_cols = layout.num_blocks * kBlockCols;
  return (cols + record_cols - 1) / record_cols * layout.bytes();
}

WeightFormat exact_weight_format(DType dtype, WeightFormat bfloat16_format) {
  switch (dtype) {
    case DType::kF8E4M3: return WeightFormat::kF8;
    case DType::kF16:
    case DType::kF8E5M2: return WeightFormat::kF16;
    case DType::kBF16: return bfloat16_format;
    case DType::kQ4_0: return WeightFormat::kQ4;
    case DType::kQ4_1: return WeightFormat::kQ4M;
    case DType::kQ5_0: return WeightFormat::kQ5;
    case DType::kQ5_1: return WeightFormat::kQ5M;
    case DType::kQ8_0: return WeightFormat::kQ8;
    case DType::kIQ4_NL: return WeightFormat::kI4;
    case DType::kMXFP4: return WeightFormat::kF4;
    case DType::kNVFP4: return WeightFormat::kF4H;
    case DType::kQ2_K: return WeightFormat::kQ2K;
    case DType::kQ3_K: return WeightFormat::kQ3K;
    case DType::kIQ4_XS: return WeightFormat::kI4K;
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
    case WeightFormat::kF8: return pack_f8(rows, row_bytes, num_rows, cols, out);
    case WeightFormat::kQ4: return pack(pack_small<BlockQ4_0>);
    case WeightFormat::kQ4M: return pack(pack_small<BlockQ4_1>);
    case WeightFormat::kQ5: return pack(pack_small<BlockQ5_0>);
    case WeightFormat::kQ5M: return pack(pack_small<BlockQ5_1>);
    case WeightFormat::kQ8: return pack(pack_small<BlockQ8_0>);
    case WeightFormat::kI4: return pack(pack_small<BlockIQ4NL>);
    case WeightFormat::kF4: return pack(pack_small<BlockMXFP4>);
    case WeightFormat::kF4H: return pack(pack_nvfp4);
    case WeightFormat::kQ2K: return pack(pack_k<BlockQ2K>);
    case WeightFormat::kQ3K: return pack(pack_k<BlockQ3K>);
    case WeightFormat::kI4K: return pack(pack_k<BlockIQ4XS>);
    case WeightFormat::kQ4S:
    case WeightFormat::kQ5S:
    case WeightFormat::kQ8S:
    case WeightFormat::kQ8M: break;  // no stored type of one tensor has these
    case WeightFormat::kQ4K: return pack(pack_k<BlockQ4K>);
    case WeightFormat::kQ5K: return pack(pack_k<BlockQ5K>);
    case WeightFormat::kQ6K: return pack(pack_k<BlockQ6K>);
  }
  fail(ErrorCode::kInternal, "expected a stored type of one tensor, found ", dtype_name(dtype));
}

}  // namespace onnuri
