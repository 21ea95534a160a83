#include "core/dtype.h"

#include "core/check.h"

namespace onnuri {

const DTypeInfo& dtype_info(DType dtype) {
  static constexpr DTypeInfo kF32{"f32", 1, 4}, kF16{"f16", 1, 2}, kBF16{"bf16", 1, 2},
      kF8E4M3{"f8_e4m3", 1, 1}, kF8E5M2{"f8_e5m2", 1, 1}, kI64{"i64", 1, 8}, kI32{"i32", 1, 4},
      kI16{"i16", 1, 2}, kI8{"i8", 1, 1}, kU8{"u8", 1, 1}, kBool{"bool", 1, 1},
      kQ4_0{"q4_0", 32, 18}, kQ4_1{"q4_1", 32, 20}, kQ5_0{"q5_0", 32, 22}, kQ5_1{"q5_1", 32, 24},
      kQ8_0{"q8_0", 32, 34}, kQ2_K{"q2_k", 256, 84}, kQ3_K{"q3_k", 256, 110},
      kQ4_K{"q4_k", 256, 144}, kQ5_K{"q5_k", 256, 176}, kQ6_K{"q6_k", 256, 210},
      kIQ4_NL{"iq4_nl", 32, 18}, kIQ4_XS{"iq4_xs", 256, 136}, kMXFP4{"mxfp4", 32, 17},
      kNVFP4{"nvfp4", 64, 36}, kEncoded{"encoded", 1, 0};
  switch (dtype) {
    case DType::kF32: return kF32;
    case DType::kF16: return kF16;
    case DType::kBF16: return kBF16;
    case DType::kF8E4M3: return kF8E4M3;
    case DType::kF8E5M2: return kF8E5M2;
    case DType::kI64: return kI64;
    case DType::kI32: return kI32;
    case DType::kI16: return kI16;
    case DType::kI8: return kI8;
    case DType::kU8: return kU8;
    case DType::kBool: return kBool;
    case DType::kQ4_0: return kQ4_0;
    case DType::kQ4_1: return kQ4_1;
    case DType::kQ5_0: return kQ5_0;
    case DType::kQ5_1: return kQ5_1;
    case DType::kQ8_0: return kQ8_0;
    case DType::kQ2_K: return kQ2_K;
    case DType::kQ3_K: return kQ3_K;
    case DType::kQ4_K: return kQ4_K;
    case DType::kQ5_K: return kQ5_K;
    case DType::kQ6_K: return kQ6_K;
    case DType::kIQ4_NL: return kIQ4_NL;
    case DType::kIQ4_XS: return kIQ4_XS;
    case DType::kMXFP4: return kMXFP4;
    case DType::kNVFP4: return kNVFP4;
    case DType::kEncoded: return kEncoded;
  }
  fail(ErrorCode::kInternal, "unknown dtype ", static_cast<int>(dtype));
}

bool is_block_quantized(DType dtype) { return dtype_info(dtype).block_elements > 1; }

int64_t dtype_bytes(DType dtype, int64_t num_elements) {
  const DTypeInfo& info = dtype_info(dtype);
  if (num_elements < 0 || num_elements % info.block_elements != 0) {
    fail(ErrorCode::kInvalidArgument, "expected a multiple of ", info.block_elements,
         " elements for ", info.name, ", found ", num_elements);
  }
  int64_t bytes = 0;
  if (__builtin_mul_overflow(num_elements / info.block_elements, info.block_bytes, &bytes)) {
    fail(ErrorCode::kCorruptData, "size overflow: ", num_elements, " elements of ", info.name);
  }
  return bytes;
}

}  // namespace onnuri
