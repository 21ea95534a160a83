// Sixteen levels as bytes, for the byte shuffles of the instruction sets.
//
// Products want unsigned weights: levels carry an offset, or are cut into v = 16 (high - 8) + low
// where eight bits are too many for one pass.
#pragma once

#include "kernels/quant_types.h"

namespace onnuri {

struct alignas(16) LevelTable {
  uint8_t bytes[16];
};

/// ((level >> shift) + offset) & mask of each level.
constexpr LevelTable level_table(const int8_t (&levels)[16], int shift, int offset, int mask) {
  LevelTable table{};
  for (int i = 0; i < 16; ++i) {
    table.bytes[i] = static_cast<uint8_t>(((levels[i] >> shift) + offset) & mask);
  }
  return table;
}

static constexpr LevelTable kIq4Low = level_table(kIq4Values, 0, 0, 15);
static constexpr LevelTable kIq4High = level_table(kIq4Values, 4, 8, 15);
static constexpr LevelTable kIq4Plus128 = level_table(kIq4Values, 0, 128, 255);
static constexpr LevelTable kFp4Plus16 = level_table(kFp4Values, 0, 16, 255);

}  // namespace onnuri
