// What families with experts share when they read a config.json.
#pragma once

#include <string_view>
#include <vector>

#include "engine/decoder_mapping.h"

namespace onnuri {

/// Sigmoid-routed experts with a correction bias (DeepSeek-V3 report, section 2.1.2); shared ones
/// at `shared_key`. Groups may be absent unless they are required.
MoeSpec read_sigmoid_moe(const ConfigReader& config, std::string_view shared_key,
                         bool groups_required = false);
/// "mlp_layer_types", "is_moe_layer", or the first_k_dense_replace (first_last_k_dense_replace)
/// first layers and those between multiples of moe_layer_freq are dense.
std::vector<bool> read_expert_layers(const ConfigReader& config, int64_t num_layers);
void set_expert_layers(const std::vector<bool>& sparse, DecoderConfig& decoder);

}  // namespace onnuri
