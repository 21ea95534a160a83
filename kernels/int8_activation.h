// Input rows quantised to int8: one record per 32 values.
//
// x = d * q with d = max|x| / 127, q rounded to nearest even. The sums serve formats whose weights
// carry an offset or a minimum: sum((w - o) x) = sum(w x) - o sum(x). The `minus_*` pairs preset
// 16-bit lanes that add two neighbouring products each: lane 0 sees k % 4 in {0, 1}, lane 1 the
// rest.
#pragma once

#include <cstdint>

namespace onnuri {

struct Int8Block {
  int8_t q[32];
  float d;
  float sum;               // d * sum of q
  float half_sum[2];       // the same for the first and last 16
  int16_t minus_8[2];      // -8 * sum of q, per lane
  int16_t minus_16[2];     // -16 * sum of q, per lane
  int16_t minus_32[2][2];  // -32 * sum of q, per half and lane
};
static_assert(sizeof(Int8Block) == 64);

/// Records of a row: K rounded up to a pair of blocks, as the weights are.
constexpr int64_t int8_blocks(int64_t cols) { return (cols + 63) / 64 * 2; }

}  // namespace onnuri
