// How one head's row lies in a cache of keys and values.
//
//   f32, f16, bf16   the numbers
//   i8               a float32 scale, then one signed byte each: value = scale * code
//   f8_e4m3          a float32 scale, then one byte each: value = scale * code
//   q4_1             groups of 32: scale and least value as float16, then 16 bytes; byte i holds
//                    elements i and i + 16 of its group: value = least + scale * code
//
// Rows of bytes begin at multiples of four. A row that holds a number which is not finite has a
// scale that is none, and reads as NaN.
#pragma once

#include <cstdint>

#include "core/dtype.h"

namespace onnuri {

inline constexpr int64_t kKvGroup = 32;       // elements of a q4_1 group
inline constexpr int64_t kKvGroupBytes = 20;  // its bytes
inline constexpr int64_t kKvScaleBytes = 4;

constexpr bool is_kv_dtype(DType dtype) {
  return dtype == DType::kF32 || dtype == DType::kF16 || dtype == DType::kBF16 ||
         dtype == DType::kI8 || dtype == DType::kF8E4M3 || dtype == DType::kQ4_1;
}

/// Whether rows are bytes with scales, to be decoded before use.
constexpr bool is_coded_kv(DType dtype) {
  return dtype == DType::kI8 || dtype == DType::kF8E4M3 || dtype == DType::kQ4_1;
}

/// Bytes of a row of `n` numbers.
constexpr int64_t kv_row_bytes(DType dtype, int64_t n) {
  if (n == 0) return 0;
  switch (dtype) {
    case DType::kF32: return 4 * n;
    case DType::kI8:
    case DType::kF8E4M3: return kKvScaleBytes + (n + 3) / 4 * 4;
    case DType::kQ4_1: return (n + kKvGroup - 1) / kKvGroup * kKvGroupBytes;
    default: return 2 * n;
  }
}

namespace ref {

/// Stores `n` numbers as one row, to nearest; the best scale is that of the largest magnitude.
void encode_kv_row(DType dtype, const float* values, int64_t n, void* row);
/// The first `n` numbers of a row, coded or plain.
void decode_kv_row(DType dtype, const void* row, int64_t n, float* values);

}  // namespace ref
}  // namespace onnuri
