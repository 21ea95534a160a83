// Decoding of every real DType into float32, the definition of each format.
#pragma once

#include <cstdint>

#include "core/dtype.h"

namespace onnuri::ref {

/// True for the types `dequantize_row` decodes: floats and the block formats.
bool is_real_dtype(DType dtype);

/// Decodes `count` elements (whole blocks) starting at `source`.
void dequantize_row(DType dtype, const void* source, int64_t count, float* out);

}  // namespace onnuri::ref
