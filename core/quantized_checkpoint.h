// A checkpoint of quantised weights, seen as if it held plain ones.
//
// "x.weight" stands for all stored parts of a quantised matrix (qweight, scales, zeros, ...): its
// view has DType::kEncoded and (N, K) as a plain checkpoint would. Stacked matrices that are stored
// as x_blocks and x_scales keep the name x_blocks. Scales of activations and caches are left out.
#pragma once

#include <memory>

#include "core/checkpoint.h"
#include "core/quantization_config.h"

namespace onnuri {

/// Pairs up the parts of every quantised weight of `stored` and checks them against each other.
/// Throws kCorruptData or kUnsupported naming the tensor.
std::shared_ptr<const Checkpoint> open_quantized(std::shared_ptr<const Checkpoint> stored,
                                                 const QuantizationConfig& config);

/// What `inspect` says of a tensor: its scheme or its element type, and the bytes it takes.
std::string stored_type(const TensorView& view);
int64_t stored_bytes(const TensorView& view);

}  // namespace onnuri
