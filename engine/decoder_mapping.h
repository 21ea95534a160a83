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

constexpr int64_t kAsManyAsHeads = -1;

/// What transformers assumes where a config.json is silent; 0 means that the key is required.
struct ConfigDefaults {
  int64_t vocab_size = 0;
  int64_t num_heads = 0;
  int64_t num_kv_heads = 0;  // kAsManyAsHeads: those of num_attention_heads
  int64_t head_dim = 0;      // 0: hidden_size / heads
  int64_t hidden_size = 0;
  int64_t num_layers = 0;
  int64_t max_position = 0;
  double norm_eps = 0;
  bool tied_head = false;
  bool dense_layers = true;   // false: every layer has experts, "intermediate_size" is not read
  bool shared_evenly = true;  // key heads divide the query heads
};

constexpr int64_t kMaxDecoderLayers = 4096;
constexpr int64_t kMaxSharedExperts = 64;

/// Number of layers, width of values, attention scale 1/sqrt(head_dim); checks what is set.
void finish_decoder_sizes(DecoderConfig& out, int64_t num_layers, const std::string& where,
                          bool shared_evenly = true);
/// hidden / heads, or an error when that leaves a rest.
int64_t derived_head_dim(int64_t hidden, int64_t heads, const std::string& where);

/// Sizes, eps, tied head, attention scale 1/sqrt(head_dim), and `num_hidden_layers` dense layers of
/// `intermediate_size`. Rope tables and layer kinds are left to the family.
DecoderConfig read_decoder(const ConfigReader& config, const ConfigDefaults& defaults);

/// The same from GGUF keys; the vocabulary is the height of token_embd.weight, and the head is tied
/// when there is no output.weight. `num_extra_layers` are counted in block_count but not run.
DecoderConfig read_gguf_decoder(const ModelFiles& files, const ConfigReader& config,
                                int64_t num_extra_layers = 0);

/// Table of GGUF rope keys; `rope_freqs.weight`, when stored, divides the frequencies.
RopeTable read_gguf_rope(const ModelFiles& files, const ConfigReader& config, int64_t head_dim,
                         RopeLayout layout, bool truncate_yarn = true);
/// Which GGUF layers are sliding: a list or a period.
std::vector<bool> read_gguf_sliding_layers(const ConfigReader& config, int64_t num_layers,
                                           int64_t fallback_period);

RopeTable make_table(const RopeSettings& settings, RopeLayout layout = RopeLayout::kHalf);

/// Throws kUnsupported unless the activation named at `key` is `expected`.
void require_activation(const ConfigReader& config, std::string_view key,
                        std::string_view expected);

/// Names of the norms of a layer in config.json checkpoints, without ".weight"; empty: none.
struct NormNames {
  std::string pre_mixer = "input_layernorm";
  std::string post_mixer;
  std::string pre_ffn = "post_attention_layernorm";
  std::string post_ffn;
};

/// What tells the text families of config.json checkpoints apart.
struct TextRules {
  ConfigDefaults defaults = {};
  double theta = 0;  // where rope_theta is absent; 0: required
  RopeLayout rope = RopeLayout::kHalf;
  NormNames norms = {};
  std::vector<std::string> prefixes = {"model."};
};
/// Sizes, one rope table for every layer, SiLU, names of dense layers.
ModelConfig read_text_model(const ModelFiles& files, std::string family, const TextRules& rules);

/// What tells the families of GGUF files apart.
struct GgufRules {
  RopeLayout rope = RopeLayout::kHalf;
  NormNames norms = {"attn_norm", "", "ffn_norm", ""};
  bool truncate_yarn = true;
};
/// The same from GGUF: biases where they are stored, names of dense and expert layers.
ModelConfig read_gguf_model(const ModelFiles& files, std::string family, const GgufRules& rules);
/// Experts in all layers but the leading dense ones. The score of the router is the family's.
void read_gguf_experts(const ModelFiles& files, const ConfigReader& config, DecoderConfig& decoder);
enum class GgufGating { kSoftmax = 1, kSigmoid = 2, kSoftmaxAfterTopk = 3 };
/// Throws kUnsupported when "expert_gating_func" is another one.
void require_gguf_gating(const ConfigReader& config, GgufGating expected, bool required);

void set_attention_biases(DecoderConfig& decoder, bool qkv, bool output);
/// "sliding_window", 0 for null. The key is required: classes differ in what they assume.
int64_t read_window_or_null(const ConfigReader& config);
/// "sliding_window" counts only with "use_sliding_window", then on the sliding "layer_types" or
/// from layer "max_window_layers" on.
void read_optional_windows(const ConfigReader& config, DecoderConfig& decoder);
/// "num_experts_per_tok", or "experts_per_token" in old files: at most all of them.
int64_t read_experts_per_token(const ConfigReader& config, int64_t num_experts);
/// Experts scored by softmax over all of them, on every "decoder_sparse_step"-th layer that
/// "mlp_only_layers" does not name.
/// Weights sum to one when "norm_topk_prob" says so, or always.
void read_softmax_experts(const ConfigReader& config, DecoderConfig& decoder,
                          bool always_renormalized = false);
/// Width of all shared experts as one: their number at `key` times `expert_width`.
int64_t read_shared_width(const ConfigReader& config, std::string_view key, int64_t expert_width,
                          int64_t fallback);

/// Adds the names of transformers checkpoints for each of `prefixes` ("model.").
void add_names(NameTable& table, const std::vector<std::string>& prefixes, const NormNames& norms);
/// Adds expert names, one tensor per expert and stacked. `correction` is the router bias below
/// "mlp.".
void add_moe_names(NameTable& table, const std::vector<std::string>& prefixes,
                   int64_t moe_intermediate_size, const std::string& correction);
/// Adds the names of a prediction module whose layer is stored at `stored_layer` ("mtp.layers.0.");
/// call it after the names of the other layers.
struct MtpNames {
  std::string stored_layer;
  std::string embed_norm, hidden_norm, join, norm;  // with ".weight"
  std::string embed, head;                          // empty: those of the trunk
};
void add_mtp_names(NameTable& table, const MtpNames& names);
/// Adds the names that llama.cpp writes.
void add_gguf_names(NameTable& table, const NormNames& norms);
void add_gguf_moe_names(NameTable& table);

/// ModelConfig with name and special tokens of config.json, generation_config.json or GGUF.
ModelConfig base_model(const ModelFiles& files, std::string family);

}  // namespace onnuri
