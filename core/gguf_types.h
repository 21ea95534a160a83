// Numbers that GGUF files use for types of values and of tensors.
#pragma once

#include <cstdint>

#include "core/dtype.h"

namespace onnuri {

enum GgufValueType : uint32_t {
  kGgufU8,
  kGgufI8,
  kGgufU16,
  kGgufI16,
  kGgufU32,
  kGgufI32,
  kGgufF32,
  kGgufBool,
  kGgufString,
  kGgufArray,
  kGgufU64,
  kGgufI64,
  kGgufF64,
  kNumGgufTypes
};

/// Bytes of a value in the file; of strings and arrays the least there can be. Throws kCorruptData
/// for numbers that are no value type.
uint64_t gguf_value_bytes(uint32_t type);

/// ggml's number of an element type. Throws kUnsupported where it has none.
uint32_t gguf_type_id(DType dtype);

}  // namespace onnuri
