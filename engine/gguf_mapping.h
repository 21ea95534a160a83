// What GGUF files of every kind of attention have in common.
#pragma once

#include "engine/decoder_mapping.h"

namespace onnuri {

/// Sizes and layers, without the last `num_extra_layers`, which are not run. The vocabulary is the
/// height of token_embd.weight; without output.weight the head is tied.
DecoderConfig read_gguf_sizes(const ModelFiles& files, const ConfigReader& config,
                              int64_t num_extra_layers);
/// Names rope factors and the layers that are not run as known.
void ignore_gguf_extras(const ConfigReader& config, ModelConfig& model);

}  // namespace onnuri
