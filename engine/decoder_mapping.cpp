// Key names: transformers configuration classes, and the GGUF key list of llama.cpp (llama-arch).
#include "engine/decoder_mapping.h"

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "core/check.h"
#include "kernels/linear.h"

namespace onnuri {
namespace {

constexpr int64_t kMaxLayers = 4096;
constexpr int64_t kMaxHeadDim = 4096;

void finish_sizes(DecoderConfig& out, int64_t num_layers, const std::string& where) {
  if (num_layers > kMaxLayers)
    fail(ErrorCode::kCorruptData, "expected at most ", kMaxLayers, " layers in ", where, ", found ",
         num_layers);
  if (out.num_heads % out.num_kv_heads != 0)
    fail(ErrorCode::kCorruptData, out.num_heads, " query heads do not share ", out.num_kv_heads,
         " key heads evenly in ", where);
  if (out.head_dim > kMaxHeadDim)
    fail(ErrorCode::kCorruptData, "expected heads of at most ", kMaxHeadDim, " columns in ", where,
         ", found ", out.head_dim);
  out.v_dim = out.head_dim;
  out.attention_scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(out.head_dim)));
  out.layers.resize(static_cast<size_t>(num_layers));
}

int64_t head_dim_of(int64_t hidden, int64_t heads, const std::string& where) {
  if (hidden % heads != 0)
    fail(ErrorCode::kCorruptData, "no head_dim in ", where, ", and hidden size ", hidden,
         " is not a multiple of ", heads, " heads");
  return hidden / heads;
}

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
  return ConfigReader(files.checkpoint->metadata(), files.path).string_or("general.architecture", "");
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
  out.hidden_size = config.size("hidden_size");
  out.num_heads = size_or_required(config, "num_attention_heads", defaults.num_heads);
  out.num_kv_heads = config.size_or(
      "num_key_value_heads", defaults.num_kv_heads > 0 ? defaults.num_kv_heads : out.num_heads);
  if (config.has("head_dim")) out.head_dim = config.size("head_dim");
  else if (defaults.head_dim > 0) out.head_dim = defaults.head_dim;
  else out.head_dim = head_dim_of(out.hidden_size, out.num_heads, config.where());
  out.max_position = size_or_required(config, "max_position_embeddings", defaults.max_position);
  out.norm_eps = static_cast<float>(defaults.norm_eps > 0
                                        ? config.number_or("rms_norm_eps", defaults.norm_eps)
                                        : config.number("rms_norm_eps"));
  out.tied_head = config.boolean_or("tie_word_embeddings", defaults.tied_head);
  finish_sizes(out, config.size("num_hidden_layers"), config.where());
  const int64_t intermediate = config.size("intermediate_size");
  for (LayerSpec& layer : out.layers) layer.intermediate_size = intermediate;
  return out;
}

namespace {

// feed_forward_length and the head counts may be one number or one per layer.
std::vector<int64_t> per_layer(const ConfigReader& config, std::string_view key, size_t num_layers) {
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
      fail(ErrorCode::kUnsupported, "expected the same count for every layer at ", config.place(key));
  return values[0];
}

}  // namespace

DecoderConfig read_gguf_decoder(const ModelFiles& files, const ConfigReader& config,
                                int64_t num_extra_layers) {
  DecoderConfig out;
  const TensorView embed = files.checkpoint->find("token_embd.weight");
  if (embed.empty() || embed.shape.rank() != 2)
    fail(ErrorCode::kNotFound, "expected a matrix token_embd.weight in ", files.path);
  out.vocab_size = embed.shape[0];
  out.hidden_size = config.size("embedding_length");
  const int64_t num_blocks = config.size("block_count");
  if (num_extra_layers < 0 || num_extra_layers > kMaxLayers)
    fail(ErrorCode::kCorruptData, "expected 0 to ", kMaxLayers, " at ",
         config.place("nextn_predict_layers"), ", found ", num_extra_layers);
  const int64_t num_layers = num_blocks - num_extra_layers;
  if (num_layers < 1 || num_layers > kMaxLayers)
    fail(ErrorCode::kCorruptData, "expected 1 to ", kMaxLayers, " layers at ",
         config.place("block_count"), ", found ", num_layers);
  const auto count = static_cast<size_t>(num_layers);
  out.num_heads = uniform(config, "attention.head_count", count);
  out.num_kv_heads = config.has("attention.head_count_kv")
                         ? uniform(config, "attention.head_count_kv", count)
                         : out.num_heads;
  out.head_dim = config.has("attention.key_length")
                     ? config.size("attention.key_length")
                     : head_dim_of(out.hidden_size, out.num_heads, files.path);
  if (config.size_or("attention.value_length", out.head_dim) != out.head_dim)
    fail(ErrorCode::kUnsupported, "keys and values of different width at ",
         config.place("attention.value_length"));
  out.max_position = config.size("context_length");
  out.norm_eps = static_cast<float>(config.number("attention.layer_norm_rms_epsilon"));
  out.tied_head = files.checkpoint->find("output.weight").empty();
  finish_sizes(out, num_layers, files.path);
  const std::vector<int64_t> intermediate = per_layer(config, "feed_forward_length", count);
  for (size_t i = 0; i < count; ++i) out.layers[i].intermediate_size = intermediate[i];
  return out;
}

RopeTable make_table(const RopeSettings& settings, RopeLayout layout) {
  return make_rope_table(settings.theta, settings.rotary_dim, layout, settings.scaling);
}

RopeTable read_gguf_rope(const ModelFiles& files, const ConfigReader& config, int64_t head_dim,
                         RopeLayout layout) {
  RopeSettings rope;
  rope.theta = config.number_or("rope.freq_base", 10000.0);
  rope.rotary_dim = config.size_or("rope.dimension_count", head_dim);
  if (rope.rotary_dim > head_dim || rope.rotary_dim % 2 != 0)
    fail(ErrorCode::kCorruptData, "expected an even number up to ", head_dim, " at ",
         config.place("rope.dimension_count"), ", found ", rope.rotary_dim);
  const std::string type = config.string_or("rope.scaling.type", "none");
  rope.scaling.factor = config.number_or("rope.scaling.factor", 1.0);
  if (type == "linear") {
    rope.scaling.kind = RopeScaling::Kind::kLinear;
  } else if (type == "yarn") {
    rope.scaling.kind = RopeScaling::Kind::kYarn;
    rope.scaling.original_max_position =
        config.number("rope.scaling.original_context_length");
    rope.scaling.beta_fast = config.number_or("rope.scaling.yarn_beta_fast", 32.0);
    rope.scaling.beta_slow = config.number_or("rope.scaling.yarn_beta_slow", 1.0);
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

void require_activation(const ConfigReader& config, std::string_view key, std::string_view expected) {
  const std::string found = config.string_or(key, std::string(expected));
  if (found != expected)
    fail(ErrorCode::kUnsupported, "expected activation \"", expected, "\" at ", config.place(key),
         ", found \"", found, "\"");
}

ModelConfig base_model(const ModelFiles& files, std::string family) {
  ModelConfig out;
  out.family = std::move(family);
  const std::filesystem::path path(files.path);
  out.model_name = path.has_filename() ? path.filename().string() : path.parent_path().filename().string();
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
  for (const ConfigReader& config : {ConfigReader(files.config, "config.json"), text_config(files)}) {
    add_eos(config.ids("eos_token_id"));
    if (out.special.bos < 0) out.special.bos = first_or(config.ids("bos_token_id"));
  }
  return out;
}

}  // namespace onnuri
