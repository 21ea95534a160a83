// Encoding of float32 rows into storage types: the inverse of `dequantize`, as near as the type
// allows.
#pragma once

#include <cstdint>

#include "core/dtype.h"

namespace onnuri {

/// F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q5_0, Q5_1, Q2_K to Q6_K, IQ4_NL, IQ4_XS and MXFP4.
bool is_encodable(DType dtype);

/// Encodes `count` values (whole blocks). Values must be finite. Throws kUnsupported for types that
/// are not encodable. Deterministic.
void quantize_row(DType dtype, const float* values, int64_t count, void* out);

/// One symmetric scale for `count` values and codes in [low, high], found by search for the least
/// squared error, large values counting more. Codes are written unless `codes` is null.
float fit_symmetric(const float* values, int64_t count, int low, int high, int8_t* codes);

struct AffineFit {
  float scale = 0.0f;
  int zero = 0;
};

/// Scale and zero point of codes in [0, top]: w = scale * (code - zero), found as above. Zero
/// itself stays exact.
AffineFit fit_affine_codes(const float* values, int64_t count, int top);

}  // namespace onnuri
