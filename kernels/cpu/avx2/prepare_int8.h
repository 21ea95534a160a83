// Quantisation of input rows with 256-bit vectors; wider tables use it too.
#pragma once

#include "kernels/int8_activation.h"

namespace onnuri::avx2 {

/// Writes int8_blocks(cols) records; the same bits as the reference.
void prepare_int8(const float* x, int64_t cols, Int8Block* blocks);

}  // namespace onnuri::avx2
