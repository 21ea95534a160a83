// A weight matrix that several stored tensors describe: packed codes, scales, zero points, groups.
//
//   w[n, k] = (code[n, k] - zero[n, g]) * scale[n, g],   g = group of column k
//
// Leading axes of stacked matrices are flattened into rows. Everything here points into the
// checkpoint and was checked against it; kernels/encoded_weight.h turns it into numbers.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "core/tensor.h"

namespace onnuri {

enum class CodeType : uint8_t {
  kSigned,    // two's complement
  kUnsigned,  //
  kFloat8,    // E4M3
  kFloat4,    // E2M1
};

/// Where the `bits` of code (n, k) are.
enum class CodeLayout : uint8_t {
  kRows,         // every row is a string of bits, first column in the lowest bits
  kWordsDown,    // (K * bits / 32, N) 32-bit words, first column in the lowest bits (GPTQ)
  kWordsAcross,  // (K, N * bits / 32) 32-bit words, eight rows interleaved (AWQ)
};

/// Where zero (n, g) is.
enum class ZeroLayout : uint8_t {
  kConstant,     // `zero` for all
  kBytes,        // (N, G) int8
  kRowWords,     // (N * bits / 32, G) 32-bit words: packed along rows (compressed-tensors)
  kWordsAcross,  // (G, N * bits / 32) 32-bit words, rows in order (GPTQ)
  kInterleaved,  // as kWordsAcross, eight rows interleaved (AWQ)
};

enum class ScaleType : uint8_t { kReal, kE8M0 };

struct WeightEncoding {
  std::string scheme;       // "gptq 4 bits", for people
  int64_t rows = 0;         // N, of all stacked matrices together
  int64_t cols = 0;         // K
  int64_t matrix_rows = 0;  // rows of one of the stacked matrices
  int64_t stored_bytes = 0;

  CodeType code_type = CodeType::kUnsigned;
  CodeLayout code_layout = CodeLayout::kRows;
  int bits = 8;
  const uint8_t* codes = nullptr;
  int64_t code_bytes = 0;
  const FilePages* file = nullptr;  // that the codes are in

  // Scale (n, g) is element s * scale_row_stride + g * scale_group_stride, where s counts blocks of
  // `block_rows` rows, starting again in each matrix.
  ScaleType scale_type = ScaleType::kReal;
  TensorView scales;
  int64_t block_rows = 1;
  int64_t block_cols = 0;  // columns per group
  int64_t num_groups = 1;  // G
  int64_t scale_row_stride = 0;
  int64_t scale_group_stride = 0;
  // A second scale: the first one is multiplied or divided by it, with one rounding to float32.
  // One value, or one for each of the stacked matrices.
  TensorView tensor_scale;
  bool divide_tensor_scale = false;

  ZeroLayout zero_layout = ZeroLayout::kConstant;
  TensorView zeros;
  int zero = 0;  // the constant, or what is added to every stored zero, modulo 2^bits (GPTQ)

  TensorView group_of_column;  // (K) int32, empty: k / block_cols
  // With group_of_column: the columns of one group after another, where each group then is a run of
  // block_cols columns; null where some is not.
  std::shared_ptr<const std::vector<int32_t>> column_order;

  /// Word formats round a row up to 32 bits; bytes of the others have no gaps.
  int64_t code_row_bytes() const {
    return code_type == CodeType::kUnsigned ? (cols * bits + 31) / 32 * 4 : cols * bits / 8;
  }
};

}  // namespace onnuri
