// What families with linear layers share: Qwen3-Next and Qwen3.5.
#pragma once

#include <string>
#include <vector>

#include "engine/decoder_mapping.h"

namespace onnuri {

/// Sizes of a text part whose layers are linear but for some full ones ("layer_types", else every
/// "full_attention_interval"-th), those with gated output; norms of 1 + weight. Dense layers.
DecoderConfig read_linear_decoder(const ConfigReader& text, const ConfigDefaults& defaults);

/// Rope keys, of which a quarter of the columns turns where no share is told.
RopeTable read_quarter_rope(const ConfigReader& text, int64_t head_dim);

/// "shared_expert_intermediate_size" of the one shared expert, which has a gate of its own.
void read_gated_shared_expert(const ConfigReader& text, MoeSpec& moe);

/// Adds the names of linear layers, and of the gated shared expert.
void add_linear_names(NameTable& names, const std::vector<std::string>& prefixes);

}  // namespace onnuri
