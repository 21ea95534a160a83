// Parts of the reference products that other tables build on.
#pragma once

#include "kernels/int8_activation.h"
#include "kernels/linear_kernels.h"

namespace onnuri::ref {

ActivationKind activation_kind(WeightFormat format);
int64_t activation_bytes(ActivationKind kind, int64_t cols);
void prepare(ActivationKind kind, const float* x, int64_t cols, std::byte* out);

/// Quantises `count` (0..32) values; the rest of the block is zero.
void quantize_block(const float* x, int64_t count, Int8Block* block);

}  // namespace onnuri::ref
