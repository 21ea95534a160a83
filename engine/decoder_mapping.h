// What text families share when they fill a DecoderConfig: sizes that every config has, and the
// tensor names of the two formats.
#pragma once

#include <string>
#include <vector>

#include "engine/config_reader.h"
#include "engine/model_config.h"
#include "engine/name_table.h"

namespace onnuri {

/// Reader of config.json, or of its "text_config" where there is one.
ConfigReader text_config(const ModelFiles& files);
/// Reader of the GGUF keys of the file's architecture ("qwen2.block_count" as "block_count").
ConfigReader gguf_config(const ModelFiles& files);
/// general.architecture, empty for other formats.
std::string gguf_architecture(const ModelFiles& files);
/// Whether config.json names this model_type or one of these classes.
bool config_names(const ModelFiles& files, std::initializer_list<std::string_view> model_types,
                  std::initializer_list<std::string_view> classes);

/// What transformers assumes where a config.json is silent; 0 means that the key is required.
struct ConfigDefaults {
  int64_t vocab_size = 0;
  int64_t num_heads = 0;
  int64_t num_kv_heads = 0;  // 0: as many as query heads
  int64_t head_dim = 0;      // 0: hidden_size / heads
  int64_t max_position = 0;
  double norm_eps = 0;
  bool tied_head = false;
};

/// Sizes, eps, tied head, attention scale 1/sqrt(head_dim), and `num_hidden_layers` dense layers of
/// `intermediate_size`. Rope tables and layer kinds are left to the family.
DecoderConfig read_decoder(const ConfigReader& config, const ConfigDefaults& defaults);

/// The same from GGUF keys; the vocabulary is the height of token_embd.weight, and the head is tied
/// when there is no output.weight. `num_extra_layers` are counted in block_count but not run.
DecoderConfig read_gguf_decoder(const ModelFiles& files, const ConfigReader& config,
                                int64_t num_extra_layers = 0);

/// Table of GGUF rope keys; `rope_freqs.weight`, when stored, divides the frequencies.
RopeTable read_gguf_rope(const ModelFiles& files, const ConfigReader& config, int64_t head_dim,
                         RopeLayout layout);
/// Which GGUF layers are sliding: a list or a period.
std::vector<bool> read_gguf_sliding_layers(const ConfigReader& config, int64_t num_layers,
                                           int64_t fallback_period);

RopeTable make_table(const RopeSettings& settings, RopeLayout layout = RopeLayout::kHalf);

/// Throws kUnsupported unless the activation named at `key` is `expected`.
void require_activation(const ConfigReader& config, std::string_view key, std::string_view expected);

/// Names of the norms of a layer in config.json checkpoints, without ".weight"; empty: none.
struct NormNames {
  std::string pre_mixer = "input_layernorm";
  std::string post_mixer;
  std::string pre_ffn = "post_attention_layernorm";
  std::string post_ffn;
};

/// Adds the names of transformers checkpoints for each of `prefixes` ("model.").
void add_names(NameTable& table, const std::vector<std::string>& prefixes, const NormNames& norms);
/// Adds expert names, one tensor per expert and stacked. `correction` is the router bias below "mlp.".
void add_moe_names(NameTable& table, const std::vector<std::string>& prefixes,
                   int64_t moe_intermediate_size, const std::string& correction);
/// Adds the names that llama.cpp writes.
void add_gguf_names(NameTable& table, const NormNames& norms);
void add_gguf_moe_names(NameTable& table);

/// ModelConfig with name and special tokens of config.json, generation_config.json or GGUF.
ModelConfig base_model(const ModelFiles& files, std::string family);

}  // namespace onnuri
