// Element types of tensors, plain and block-quantised.
//
// Block types follow the GGUF layouts: `block_elements` consecutive elements of a row share one
// record of `block_bytes` bytes. Plain types are blocks of one element.
#pragma once

#include <cstdint>
#include <string_view>

namespace onnuri {

enum class DType : uint8_t {
  kF32,
  kF16,
  kBF16,
  kF8E4M3,
  kF8E5M2,
  kI64,
  kI32,
  kI16,
  kI8,
  kU8,
  kBool,
  kQ4_0,
  kQ4_1,
  kQ5_0,
  kQ5_1,
  kQ8_0,
  kQ2_K,
  kQ3_K,
  kQ4_K,
  kQ5_K,
  kQ6_K,
  kIQ4_NL,
  kIQ4_XS,
  kMXFP4,
  kNVFP4,
  kEncoded,  // several stored tensors make one: see TensorView::encoding
};

struct DTypeInfo {
  std::string_view name;  // "f32", "q4_k"
  int64_t block_elements;
  int64_t block_bytes;
};

const DTypeInfo& dtype_info(DType dtype);
inline std::string_view dtype_name(DType dtype) { return dtype_info(dtype).name; }
bool is_block_quantized(DType dtype);

/// Bytes of `num_elements` elements. Throws kInvalidArgument unless they fill whole blocks, and
/// kCorruptData on overflow.
int64_t dtype_bytes(DType dtype, int64_t num_elements);

}  // namespace onnuri
