// A checkpoint folder with integer weights, in the layout of the compressed-tensors package.
#pragma once

#include "engine/model_config.h"
#include "onnuri/quantize.h"

namespace onnuri {

/// Writes the folder `out`: model.safetensors, config.json with its quantization_config, and the
/// other small files of the source. "int8": int8 `weight` and one scale per row. "int4": eight
/// codes per 32-bit word as `weight_packed`, a scale per 128 columns (per row where 128 does not
/// divide them). Only linear layers inside decoder layers change.
QuantizeResult quantize_to_safetensors(const ModelFiles& files, const std::string& out,
                                       const QuantizeOptions& options);

}  // namespace onnuri
