// What families with latent attention share: their config keys and the names of their tensors.
#pragma once

#include <string>
#include <vector>

#include "engine/decoder_mapping.h"

namespace onnuri {

/// Sizes, ranks and latent layers of a config.json; every key is required, q_lora_rank may be null.
/// Rope tables, attention scale and feed-forward kinds are left to the family.
DecoderConfig read_latent_decoder(const ConfigReader& config);
/// One rope table for all layers, and the softmax scale that its scaling asks for.
void set_latent_rope(const ConfigReader& config, RopeLayout layout, DecoderConfig& decoder);
/// 1 / sqrt(key width), times (0.1 mscale_all_dim ln(factor) + 1)^2 under YaRN.
float latent_attention_scale(const MlaSpec& mla, const RopeScaling& scaling);

/// Throws kUnsupported for "layer_types" other than `kinds`, and kCorruptData when they are not
/// one for each layer. Absent is fine.
void require_layer_types(const ConfigReader& config, int64_t num_layers,
                         std::initializer_list<std::string_view> kinds);

/// index_n_heads, index_head_dim, index_topk.
IndexSpec read_index(const ConfigReader& config);

/// Names of transformers checkpoints below `prefixes`.
void add_latent_names(NameTable& table, const std::vector<std::string>& prefixes);
/// Names of the indexer's tensors.
void add_index_names(NameTable& table, const std::vector<std::string>& prefixes);
/// Names that llama.cpp writes, kv_b whole or in two parts.
void add_gguf_latent_names(NameTable& table);

/// Sizes and ranks from GGUF keys; rope and scale included.
DecoderConfig read_gguf_latent_decoder(const ModelFiles& files, const ConfigReader& config);

}  // namespace onnuri
