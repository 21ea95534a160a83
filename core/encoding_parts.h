// From the stored parts of one quantised weight to its encoding, one function per scheme.
#pragma once

#include <string>

#include "core/quantization_config.h"
#include "core/tensor.h"
#include "core/weight_encoding.h"

namespace onnuri {

/// What was found beside a weight; absent parts are empty views.
struct EncodingParts {
  std::string where;  // for messages: file and tensor
  TensorView codes, scales, zeros, groups, tensor_scale, logical_shape;
  bool divide_tensor_scale = false;
};

struct EncodedWeight {
  WeightEncoding encoding;
  Shape shape;  // (N, K) or (E, N, K)
};

// All check the sizes of the parts against each other, and every group index. They throw
// kCorruptData, and kUnsupported for forms that no kernel reads.

/// qweight (K * bits / 32, N) words, qzeros (G, N * bits / 32) words, scales (G, N), g_idx (K).
EncodedWeight encode_gptq(const EncodingParts& parts, const QuantizationConfig& config);
/// qweight (K, N / 8) words, qzeros (G, N / 8) words, scales (G, N).
EncodedWeight encode_awq(const EncodingParts& parts, const QuantizationConfig& config);
/// weight_packed (N, K * bits / 32) words, weight_scale (N, G), weight_zero_point
/// (N * bits / 32, G) words, weight_shape (2), weight_g_idx (K).
EncodedWeight encode_packed(const EncodingParts& parts, const QuantizationConfig& config);
/// weight (.., N, K) of E4M3 or int8; scales per tensor, row, group of columns or block.
EncodedWeight encode_scaled(const EncodingParts& parts, const QuantizationConfig& config);
/// E2M1 pairs (.., N, K / 2), low half first; scales E4M3 per 16 columns or E8M0 per 32.
EncodedWeight encode_float4(const EncodingParts& parts, const QuantizationConfig& config);
/// E2M1 pairs (E, N, K / 32, 16) with scales E8M0 (E, N, K / 32).
EncodedWeight encode_blocks(const EncodingParts& parts);

}  // namespace onnuri
