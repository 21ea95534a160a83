// The quantization_config of a checkpoint's config.json.
//
// Which tensors are quantised, and in which of the schemes, is seen from the tensors themselves:
// an excluded module simply has a plain weight. The config says what tensors cannot say, and what
// they must agree with.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "core/json.h"

namespace onnuri {

enum class QuantMethod { kFp8, kFbgemmFp8, kGptq, kAwq, kCompressedTensors, kMxfp4, kModelOpt };

struct QuantizationConfig {
  QuantMethod method = QuantMethod::kFp8;
  int bits = 0;                           // GPTQ and AWQ
  std::vector<int64_t> group_sizes;       // those allowed, -1: a group spans K; empty: any
  std::array<int64_t, 2> block = {0, 0};  // rows and columns that share an FP8 scale, 0: not given
  bool zero_is_stored_less_one = false;   // the first GPTQ format
  bool act_order = false;                 // g_idx is required
  bool centred = false;                   // AWQ without zero points
  bool needs_zeros = false;               // every scheme of compressed-tensors has zero points
};

/// Reads config["quantization_config"]. Throws kUnsupported for what is not known, listing what is,
/// and kCorruptData for impossible values. `where` names the file.
QuantizationConfig read_quantization_config(const JsonValue& config, const std::string& where);

}  // namespace onnuri
