// GGUF files of llama.cpp to decoder configs. Key names: llama.cpp, src/llama-arch.cpp.
#include "engine/gguf_mapping.h"

#include <algorithm>

#include "core/check.h"
#include "kernels/linear.h"

namespace onnuri {
namespace {

// feed_forward_length and the head counts may be one number or one per layer.
std::vector<int64_t> per_layer(const ConfigReader& config, std::string_view key,
                               size_t num_layers) {
  const std::vector<int32_t> values = config.ids(key);
  if (values.empty()) fail(ErrorCode::kCorruptData, "missing key at ", config.place(key));
  std::vector<int64_t> out(values.begin(), values.end());
  if (out.size() == 1) out.resize(num_layers, out[0]);
  if (out.size() < num_layers)
    fail(ErrorCode::kCorruptData, "expected ", num_layers, " entries at ", config.place(key),
         ", found ", out.size());
  for (int64_t value : out)
    if (value < 0) fail(ErrorCode::kCorruptData, "expected sizes at ", config.place(key));
  return out;
}

int64_t uniform(const ConfigReader& config, std::string_view key, size_t num_layers) {
  const std::vector<int64_t> values = per_layer(config, key, num_layers);
  for (size_t i = 0; i < num_layers; ++i)
    if (values[i] != values[0] || values[i] < 1)
      fail(ErrorCode::kUnsupported, "expected the same count for every layer at ",
           config.place(key));
  return values[0];
}

}  // namespace

DecoderConfig read_gguf_sizes(const ModelFiles& files, const ConfigReader& config,
                              int64_t num_extra_layers) {
  DecoderConfig out;
  const TensorView embed = files.checkpoint->find("token_embd.weight");
  if (embed.empty() || embed.shape.rank() != 2)
    fail(ErrorCode::kNotFound, "expected a matrix token_embd.weight in ", files.path);
  out.vocab_size = embed.shape[0];
  out.hidden_size = config.size("embedding_length");
  if (num_extra_layers < 0 || num_extra_layers > kMaxDecoderLayers)
    fail(ErrorCode::kCorruptData, "expected 0 to ", kMaxDecoderLayers, " at ",
         config.place("nextn_predict_layers"), ", found ", num_extra_layers);
  const int64_t num_layers = config.size("block_count") - num_extra_layers;
  if (num_layers < 1 || num_layers > kMaxDecoderLayers)
    fail(ErrorCode::kCorruptData, "expected 1 to ", kMaxDecoderLayers, " layers at ",
         config.place("block_count"), ", found ", num_layers);
  const auto count = static_cast<size_t>(num_layers);
  out.num_heads = uniform(config, "attention.head_count", count);
  out.max_position = config.size("context_length");
  out.norm_eps = static_cast<float>(config.positive("attention.layer_norm_rms_epsilon"));
  out.tied_head = files.checkpoint->find("output.weight").empty();
  out.layers.resize(count);
  if (!config.has("feed_forward_length") && config.has("expert_count")) return out;
  const std::vector<int64_t> intermediate = per_layer(config, "feed_forward_length", count);
  for (size_t i = 0; i < count; ++i) out.layers[i].intermediate_size = intermediate[i];
  return out;
}

DecoderConfig read_gguf_decoder(const ModelFiles& files, const ConfigReader& config,
                                int64_t num_extra_layers) {
  DecoderConfig out = read_gguf_sizes(files, config, num_extra_layers);
  out.num_kv_heads = config.has("attention.head_count_kv")
                         ? uniform(config, "attention.head_count_kv", out.layers.size())
                         : out.num_heads;
  out.head_dim = config.has("attention.key_length")
                     ? config.size("attention.key_length")
                     : derived_head_dim(out.hidden_size, out.num_heads, files.path);
  if (config.size_or("attention.value_length", out.head_dim) != out.head_dim)
    fail(ErrorCode::kUnsupported, "keys and values of different width at ",
         config.place("attention.value_length"));
  finish_decoder_sizes(out, out.num_layers(), files.path);
  return out;
}

void ignore_gguf_extras(const ConfigReader& config, ModelConfig& model) {
  model.ignored_prefixes.push_back("rope_freqs.");
  for (int64_t i = model.decoder.num_layers(); i < config.size("block_count"); ++i)
    model.ignored_prefixes.push_back("blk." + std::to_string(i) + ".");
}

RopeTable read_gguf_rope(const ModelFiles& files, const ConfigReader& config, int64_t head_dim,
                         RopeLayout layout, bool truncate_yarn) {
  RopeSettings rope;
  rope.theta = config.positive_or("rope.freq_base", 10000.0);
  rope.rotary_dim = config.size_or("rope.dimension_count", head_dim);
  if (rope.rotary_dim > head_dim || rope.rotary_dim % 2 != 0)
    fail(ErrorCode::kCorruptData, "expected an even number up to ", head_dim, " at ",
         config.place("rope.dimension_count"), ", found ", rope.rotary_dim);
  // Files older than the type key scale linearly.
  rope.scaling.factor =
      config.nonzero_or("rope.scaling.factor", config.nonzero_or("rope.scale_linear", 1.0));
  const std::string type =
      config.string_or("rope.scaling.type", rope.scaling.factor == 1.0 ? "none" : "linear");
  if (type == "linear") {
    rope.scaling.kind = RopeScaling::Kind::kLinear;
  } else if (type == "yarn") {
    rope.scaling.kind = RopeScaling::Kind::kYarn;
    rope.scaling.original_max_position = config.positive("rope.scaling.original_context_length");
    rope.scaling.truncate = truncate_yarn;
    rope.scaling.attention_factor = config.nonzero_or("rope.scaling.yarn_attn_factor", 0.0);
    rope.scaling.beta_fast = config.positive_or("rope.scaling.yarn_beta_fast", 32.0);
    rope.scaling.beta_slow = config.positive_or("rope.scaling.yarn_beta_slow", 1.0);
  } else if (type != "none") {
    fail(ErrorCode::kUnsupported, "rope scaling \"", type, "\" at ",
         config.place("rope.scaling.type"), "; known: none, linear, yarn");
  }
  RopeTable table = make_table(rope, layout);
  const TensorView factors = files.checkpoint->find("rope_freqs.weight");
  if (factors.empty()) return table;
  if (factors.num_elements() != static_cast<int64_t>(table.inv_freq.size()))
    fail(ErrorCode::kCorruptData, "expected ", table.inv_freq.size(),
         " values in rope_freqs.weight, found shape ", factors.shape.to_string());
  std::vector<float> values(table.inv_freq.size());
  dequantize(factors, values.data());
  for (size_t i = 0; i < values.size(); ++i) {
    if (!(values[i] > 0))
      fail(ErrorCode::kCorruptData, "rope_freqs.weight holds a factor that is not positive");
    table.inv_freq[i] /= values[i];
  }
  return table;
}

std::vector<bool> read_gguf_sliding_layers(const ConfigReader& config, int64_t num_layers,
                                           int64_t fallback_period) {
  constexpr std::string_view kKey = "attention.sliding_window_pattern";
  std::vector<bool> sliding(static_cast<size_t>(num_layers));
  const JsonValue* pattern = config.find(kKey);
  if (pattern && pattern->is_array()) {
    const auto& list = pattern->as_array(config.place(kKey));
    if (list.size() < sliding.size())
      fail(ErrorCode::kCorruptData, "expected ", num_layers, " entries at ", config.place(kKey),
           ", found ", list.size());
    for (size_t i = 0; i < sliding.size(); ++i) sliding[i] = list[i].as_bool(config.place(kKey));
    return sliding;
  }
  const int64_t period = config.size_or(kKey, fallback_period);
  for (int64_t i = 0; i < num_layers; ++i) sliding[static_cast<size_t>(i)] = (i + 1) % period != 0;
  return sliding;
}

namespace {

void set_stored_biases(const Checkpoint& checkpoint, DecoderConfig& decoder) {
  for (size_t i = 0; i < decoder.layers.size(); ++i) {
    LayerSpec& layer = decoder.layers[i];
    const auto stored = [&](const char* name) {
      return !checkpoint.find("blk." + std::to_string(i) + "." + name + ".bias").empty();
    };
    layer.q_bias = stored("attn_q");
    layer.k_bias = stored("attn_k");
    layer.v_bias = stored("attn_v");
    layer.o_bias = stored("attn_output");
    layer.ffn_bias = stored("ffn_gate");
  }
}

}  // namespace

ModelConfig read_gguf_model(const ModelFiles& files, std::string family, const GgufRules& rules) {
  ModelConfig model = base_model(files, std::move(family));
  const ConfigReader config = gguf_config(files);
  model.decoder = read_gguf_decoder(files, config, config.integer_or("nextn_predict_layers", 0));
  model.decoder.rope_tables = {
      read_gguf_rope(files, config, model.decoder.head_dim, rules.rope, rules.truncate_yarn)};
  for (LayerSpec& layer : model.decoder.layers) layer.rope = 0;
  set_stored_biases(*files.checkpoint, model.decoder);
  NameTable names;
  add_gguf_names(names, rules.norms);
  add_gguf_moe_names(names);
  model.names = names.map();
  ignore_gguf_extras(config, model);
  return model;
}

}  // namespace onnuri
