// Key names: transformers configuration classes, and the GGUF key list of llama.cpp (llama-arch).
#include "engine/decoder_mapping.h"

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "core/check.h"
#include "kernels/linear.h"

namespace onnuri {

void finish_decoder_sizes(DecoderConfig& out, int64_t num_layers, const std::string& where,
                          bool shared_evenly) {
  constexpr int64_t kMaxHeadDim = 4096;
  if (num_layers > kMaxDecoderLayers)
    fail(ErrorCode::kCorruptData, "expected at most ", kMaxDecoderLayers, " layers in ", where,
         ", found ", num_layers);
  if (shared_evenly && out.num_heads % out.num_kv_heads != 0)
    fail(ErrorCode::kCorruptData, "expected num_key_value_heads that divide num_attention_heads, ",
         out.num_heads, ", in ", where, ", found ", out.num_kv_heads);
  if (out.head_dim > kMaxHeadDim)
    fail(ErrorCode::kCorruptData, "expected heads of at most ", kMaxHeadDim, " columns in ", where,
         ", found ", out.head_dim);
  out.v_dim = out.head_dim;
  out.attention_scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(out.head_dim)));
  out.layers.resize(static_cast<size_t>(num_layers));
}

int64_t derived_head_dim(int64_t hidden, int64_t heads, const std::string& where) {
  if (hidden % heads != 0)
    fail(ErrorCode::kCorruptData, "no head_dim in ", where, ", and hidden size ", hidden,
         " is not a multiple of ", heads, " heads");
  return hidden / heads;
}

namespace {

int64_t size_or_required(const ConfigReader& config, std::string_view key, int64_t fallback) {
  return fallback > 0 ? config.size_or(key, fallback) : config.size(key);
}

}  // namespace

ConfigReader text_config(const ModelFiles& files) {
  const ConfigReader config(files.config, "config.json");
  return config.has("text_config") ? config.sub("text_config") : config;
}

std::string gguf_architecture(const ModelFiles& files) {
  if (!files.is_gguf()) return {};
  return ConfigReader(files.checkpoint->metadata(), files.path)
      .string_or("general.architecture", "");
}

ConfigReader gguf_config(const ModelFiles& files) {
  return ConfigReader(files.checkpoint->metadata(), files.path, gguf_architecture(files) + ".");
}

bool config_names(const ModelFiles& files, std::initializer_list<std::string_view> model_types,
                  std::initializer_list<std::string_view> classes) {
  if (files.is_gguf() || !files.config.is_object()) return false;
  const ConfigReader config(files.config, "config.json");
  const std::string type = config.string_or("model_type", "");
  if (std::find(model_types.begin(), model_types.end(), type) != model_types.end()) return true;
  if (!type.empty() || !config.has("architectures")) return false;
  for (const std::string& name : config.strings("architectures"))
    if (std::find(classes.begin(), classes.end(), name) != classes.end()) return true;
  return false;
}

DecoderConfig read_decoder(const ConfigReader& config, const ConfigDefaults& defaults) {
  DecoderConfig out;
  out.vocab_size = size_or_required(config, "vocab_size", defaults.vocab_size);
  out.hidden_size = size_or_required(config, "hidden_size", defaults.hidden_size);
  out.num_heads = size_or_required(config, "num_attention_heads", defaults.num_heads);
  // Null always stands for that.
  const bool as_heads =
      defaults.num_kv_heads == kAsManyAsHeads || config.contains("num_key_value_heads");
  out.num_kv_heads = size_or_required(config, "num_key_value_heads",
                                      as_heads ? out.num_heads : defaults.num_kv_heads);
  if (config.has("head_dim"))
    out.head_dim = config.size("head_dim");
  else if (defaults.head_dim > 0)
    out.head_dim = defaults.head_dim;
  else
    out.head_dim = derived_head_dim(out.hidden_size, out.num_heads, config.where());
  out.max_position = size_or_required(config, "max_position_embeddings", defaults.max_position);
  out.norm_eps = static_cast<float>(defaults.norm_eps > 0
                                        ? config.positive_or("rms_norm_eps", defaults.norm_eps)
                                        : config.positive("rms_norm_eps"));
  out.tied_head = config.boolean_or("tie_word_embeddings", defaults.tied_head);
  finish_decoder_sizes(out, size_or_required(config, "num_hidden_layers", defaults.num_layers),
                       config.where(), defaults.shared_evenly);
  if (!defaults.dense_layers) return out;
  const int64_t intermediate = config.size("intermediate_size");
  for (LayerSpec& layer : out.layers) layer.intermediate_size = intermediate;
  return out;
}

void set_attention_biases(DecoderConfig& decoder, bool qkv, bool output) {
  for (LayerSpec& layer : decoder.layers) {
    layer.q_bias = layer.k_bias = layer.v_bias = qkv;
    layer.o_bias = output;
  }
}

int64_t read_window_or_null(const ConfigReader& config) {
  return config.contains("sliding_window") ? config.size_or("sliding_window", 0)
                                           : config.size("sliding_window");
}

void read_optional_windows(const ConfigReader& config, DecoderConfig& decoder) {
  const int64_t window =
      config.boolean_or("use_sliding_window", false) ? read_window_or_null(config) : 0;
  if (window == 0) {
    if (!config.has("layer_types")) return;
    const std::vector<bool> sliding = read_sliding_layers(config, decoder.num_layers(), 0);
    if (std::find(sliding.begin(), sliding.end(), true) != sliding.end())
      fail(ErrorCode::kCorruptData, "sliding layers at ", config.place("layer_types"),
           ", but no sliding_window with use_sliding_window");
    return;
  }
  std::vector<bool> sliding;
  if (config.has("layer_types")) {
    sliding = read_sliding_layers(config, decoder.num_layers(), 0);
  } else {
    const int64_t first = config.count("max_window_layers");
    for (int64_t i = 0; i < decoder.num_layers(); ++i) sliding.push_back(i >= first);
  }
  for (size_t i = 0; i < sliding.size(); ++i) decoder.layers[i].window = sliding[i] ? window : 0;
}

int64_t read_experts_per_token(const ConfigReader& config, int64_t num_experts) {
  const char* key = config.has("num_experts_per_tok") || !config.has("experts_per_token")
                        ? "num_experts_per_tok"
                        : "experts_per_token";
  const int64_t count = config.size(key);
  if (count > num_experts)
    fail(ErrorCode::kCorruptData, "expected at most the ", num_experts, " experts at ",
         config.place(key), ", found ", count);
  return count;
}

void read_softmax_experts(const ConfigReader& config, DecoderConfig& decoder,
                          bool always_renormalized) {
  MoeSpec& moe = decoder.moe;
  moe.num_experts = config.size_of_any({"num_experts", "num_local_experts"});
  moe.num_experts_per_token = read_experts_per_token(config, moe.num_experts);
  moe.intermediate_size = config.size("moe_intermediate_size");
  moe.router.renormalize = always_renormalized || config.boolean("norm_topk_prob");
  const int64_t step = config.size_or("decoder_sparse_step", 1);
  const std::vector<int32_t> dense = config.ids("mlp_only_layers");
  for (int64_t i = 0; i < decoder.num_layers(); ++i) {
    if ((i + 1) % step != 0 || std::find(dense.begin(), dense.end(), i) != dense.end()) continue;
    decoder.layers[static_cast<size_t>(i)].ffn = FfnKind::kMoe;
    decoder.layers[static_cast<size_t>(i)].intermediate_size = 0;
  }
}

int64_t read_shared_width(const ConfigReader& config, std::string_view key, int64_t expert_width,
                          int64_t fallback) {
  const int64_t count = config.integer_or(key, fallback);
  if (count < 0 || count > kMaxSharedExperts)
    fail(ErrorCode::kCorruptData, "expected 0 to ", kMaxSharedExperts, " at ", config.place(key),
         ", found ", count);
  return count * expert_width;
}

ModelConfig read_text_model(const ModelFiles& files, std::string family, const TextRules& rules) {
  ModelConfig model = base_model(files, std::move(family));
  const ConfigReader config = text_config(files);
  require_activation(config, "hidden_act", "silu");
  model.decoder = read_decoder(config, rules.defaults);
  model.decoder.rope_tables = {
      make_table(read_rope(config, model.decoder.head_dim, "", rules.theta), rules.rope)};
  for (LayerSpec& layer : model.decoder.layers) layer.rope = 0;
  NameTable names;
  add_names(names, rules.prefixes, rules.norms);
  model.names = names.map();
  // Old files store what the rope table is made of.
  for (const std::string& prefix : rules.prefixes)
    for (int64_t i = 0; i < model.decoder.num_layers(); ++i)
      model.ignored_prefixes.push_back(prefix + "layers." + std::to_string(i) +
                                       ".self_attn.rotary_emb.");
  return model;
}

RopeTable make_table(const RopeSettings& settings, RopeLayout layout) {
  return make_rope_table(settings.theta, settings.rotary_dim, layout, settings.scaling);
}

void require_activation(const ConfigReader& config, std::string_view key,
                        std::string_view expected) {
  const std::string found = config.string_or(key, std::string(expected));
  if (found != expected)
    fail(ErrorCode::kUnsupported, "expected activation \"", expected, "\" at ", config.place(key),
         ", found \"", found, "\"");
}

ModelConfig base_model(const ModelFiles& files, std::string family) {
  ModelConfig out;
  out.family = std::move(family);
  const std::filesystem::path path(files.path);
  out.model_name =
      path.has_filename() ? path.filename().string() : path.parent_path().filename().string();
  auto add_eos = [&](const std::vector<int32_t>& ids) {
    for (int32_t id : ids)
      if (std::find(out.special.eos.begin(), out.special.eos.end(), id) == out.special.eos.end())
        out.special.eos.push_back(id);
  };
  auto first_or = [](const std::vector<int32_t>& ids) { return ids.empty() ? -1 : ids[0]; };
  if (files.is_gguf()) {
    const ConfigReader meta(files.checkpoint->metadata(), files.path);
    out.model_name = meta.string_or("general.name", out.model_name);
    out.special.bos = first_or(meta.ids("tokenizer.ggml.bos_token_id"));
    for (const char* key : {"eos", "eot", "eom"})
      add_eos(meta.ids("tokenizer.ggml." + std::string(key) + "_token_id"));
    return out;
  }
  if (files.generation_config.is_object()) {
    const ConfigReader generation(files.generation_config, "generation_config.json");
    add_eos(generation.ids("eos_token_id"));
    out.special.bos = first_or(generation.ids("bos_token_id"));
  }
  for (const ConfigReader& config :
       {ConfigReader(files.config, "config.json"), text_config(files)}) {
    add_eos(config.ids("eos_token_id"));
    if (out.special.bos < 0) out.special.bos = first_or(config.ids("bos_token_id"));
  }
  return out;
}

}  // namespace onnuri
