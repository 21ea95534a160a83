// Packed weights: 16 output rows interleaved, so that one vector load serves 16 rows.
//
// A group holds 16 rows over all of K. Plain formats store K steps of 16 values. Quantised formats
// store records of several 32-wide blocks; inside a block, vector j (0..7) holds for each of the 16
// rows the four weights k = 4j..4j+3 (64 bytes, row-major). Rows past N are zero.
//
//   kF8  [scale 16 f32][128 columns x 16 bytes]                     w = scale * E4M3 value / 256
//   kQ4  [d 2x16 f16]            [blocks: nibbles 256]              2 blocks, w = d (q - 8)
//   kQ4M [d 2x16 f16][m 2x16 f16][blocks: nibbles 256]              2 blocks, w = d q + m
//   kQ5, kQ5M as above with      [blocks: nibbles 256, bit plane 64]          q - 16
//   kQ8  [d 2x16 f16]            [blocks: bytes 512]                2 blocks, w = d q
//   kQ4S, kQ5S, kQ8S as kQ4, kQ5, kQ8 with [d 2x16 f32]
//   kQ8M as kQ8S with            [d 2x16 f32][m 2x16 f32]           w = d q + m
//   kI4  as kQ4 with             w = d kIq4Values[q]
//   kF4  [d 2x16 bf16]           [blocks: nibbles 256]              2 blocks, w = d kFp4Values[q]
//   kF4H [d 4x16 f32]            as kF4, d per 16 columns
//   kQ2K [d 16 f16][dmin 16 f16][scale + 16 min, 16x16 u8][blocks: two-bit planes 128]
//   kQ3K [d 16 f32][scale 16x16 i8][blocks: two-bit planes 128, bit plane 64]  w = d scale (q - 4)
//   kI4K [d 16 f16][scale 8x16 i8][32 unused][blocks: nibbles 256]  w = d scale kIq4Values[q]
//   kQ4K [d 16 f16][dmin 16 f16][scale 8x16 u8][min 8x16 u8][blocks: nibbles 256]
//   kQ5K as kQ4K with            [blocks: nibbles 256, bit plane 64]
//   kQ6K [d 16 f32][scale 16x16 i8][blocks: nibbles 256, two-bit planes 128]  w = d scale (q - 32)
//
// Nibbles: byte of vector i (0..3) holds vector i in its low and vector i + 4 in its high half.
// Bit plane: bit j belongs to vector j. Two-bit planes: plane p holds vectors 4p..4p+3.
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/dtype.h"

namespace onnuri {

inline constexpr int64_t kGroupRows = 16;
inline constexpr int64_t kBlockCols = 32;

enum class WeightFormat : uint8_t {
  kF32,        // K x 16 floats
  kF16,        // K x 16 halves
  kBF16,       // K x 16 brain floats
  kBF16Pairs,  // ceil(K / 2) x 16 x 2 brain floats
  kF8,
  kQ4,
  kQ4M,
  kQ5,
  kQ5M,
  kQ8,
  kQ4S,
  kQ5S,
  kQ8S,
  kQ8M,
  kI4,
  kF4,
  kF4H,
  kQ2K,
  kQ3K,
  kI4K,
  kQ4K,
  kQ5K,
  kQ6K,
};

/// Sizes and offsets, in bytes, of a quantised record.
struct RecordLayout {
  int64_t num_blocks;   // blocks of 32 columns per record
  int64_t block_begin;  // offset of the first block
  int64_t block_bytes;
  int64_t bytes() const { return block_begin + num_blocks * block_bytes; }
};

constexpr bool is_quantized(WeightFormat format) { return format >= WeightFormat::kQ4; }

constexpr RecordLayout record_layout(WeightFormat format) {
  switch (format) {
    case WeightFormat::kQ4: return {2, 64, 256};
    case WeightFormat::kQ4M: return {2, 128, 256};
    case WeightFormat::kQ5: return {2, 64, 320};
    case WeightFormat::kQ5M: return {2, 128, 320};
    case WeightFormat::kQ8: return {2, 64, 512};
    case WeightFormat::kQ4S: return {2, 128, 256};
    case WeightFormat::kQ5S: return {2, 128, 320};
    case WeightFormat::kQ8S: return {2, 128, 512};
    case WeightFormat::kQ8M: return {2, 256, 512};
    case WeightFormat::kI4:
    case WeightFormat::kF4: return {2, 64, 256};
    case WeightFormat::kF4H: return {2, 256, 256};
    case WeightFormat::kQ2K: return {8, 320, 128};
    case WeightFormat::kQ3K: return {8, 320, 192};
    case WeightFormat::kI4K: return {8, 192, 256};
    case WeightFormat::kQ4K: return {8, 320, 256};
    case WeightFormat::kQ5K: return {8, 320, 320};
    case WeightFormat::kQ6K: return {8, 320, 384};
    default: return {0, 0, 0};
  }
}

/// Columns that share a scale in kF8, and the bytes of a whole record.
inline constexpr int64_t kF8Cols = 128;
inline constexpr int64_t kF8RecordBytes = kGroupRows * 4 + kF8Cols * kGroupRows;

/// Bytes of one group of 16 rows, a multiple of 64.
int64_t packed_group_bytes(WeightFormat format, int64_t cols);

/// The packed form that keeps every bit of `dtype`.
WeightFormat exact_weight_format(DType dtype, WeightFormat bfloat16_format);

/// Packs `num_rows` (1..16) rows, `row_bytes` apart, into one group at `out` (64-byte aligned).
/// `row_scratch` holds 16 * cols floats.
void pack_group(WeightFormat format, DType dtype, const std::byte* rows, int64_t row_bytes,
                int64_t num_rows, int64_t cols, float* row_scratch, std::byte* out);

/// Writes 32 codes of row r into a block whose codes are nibbles, nibbles and a bit plane, two-bit
/// planes, or bytes; two-bit and bit planes as the format has them. For packers.
void put_codes(WeightFormat format, const uint8_t* codes, int64_t r, uint8_t* block);

}  // namespace onnuri
