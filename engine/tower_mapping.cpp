// Key names: transformers 5.23, models/siglip, models/clip and the families that use them.
#include "engine/tower_mapping.h"

#include <algorithm>

#include "core/check.h"
#include "engine/decoder_mapping.h"
#include "engine/vision_mapping.h"

namespace onnuri {
namespace {

constexpr int64_t kMaxImageSide = 4096;

int64_t bounded(const ConfigReader& config, std::string_view key, int64_t fallback, int64_t most) {
  const int64_t value = config.size_or(key, fallback);
  if (value > most)
    fail(ErrorCode::kCorruptData, "expected at most ", most, " at ", config.place(key), ", found ",
         value);
  return value;
}

/// text_config with what its class has by default, where the file leaves it out.
JsonValue complete_text_config(const JsonValue& text) {
  struct Default {
    const char* key;
    int64_t value;
  };
  static constexpr Default kLlama[] = {
      {"hidden_size", 4096},       {"intermediate_size", 11008}, {"num_hidden_layers", 32},
      {"num_attention_heads", 32}, {"vocab_size", 32000},        {"max_position_embeddings", 2048},
  };
  static constexpr Default kMistral[] = {
      {"hidden_size", 4096},
      {"intermediate_size", 14336},
      {"num_hidden_layers", 32},
      {"num_attention_heads", 32},
      {"num_key_value_heads", 8},
      {"vocab_size", 32000},
      {"max_position_embeddings", 131072},
  };
  JsonValue out = text;
  const ConfigReader config(text, "config.json: text_config");
  const std::string type = config.string_or("model_type", "llama");
  const auto add = [&](const Default& entry) {
    if (!config.has(entry.key)) out.set(entry.key, entry.value);
  };
  if (type == "mistral")
    for (const Default& entry : kMistral) add(entry);
  if (type == "llama")
    for (const Default& entry : kLlama) add(entry);
  if (type == "llama" || type == "mistral") {
    if (!config.has("rms_norm_eps")) out.set("rms_norm_eps", 1e-6);
    out.set("model_type", type);
  }
  out.set("architectures", JsonValue::Array{});
  return out;
}

}  // namespace

TowerDefaults siglip_defaults() { return {}; }

TowerDefaults clip_defaults() {
  TowerDefaults out;
  out.patch_size = 32;
  out.norm_eps = 1e-5;
  out.activation = "quick_gelu";
  out.class_token = true;
  return out;
}

Activation read_tower_activation(const ConfigReader& config, std::string_view key,
                                 const std::string& fallback) {
  const std::string name = config.string_or(key, fallback);
  if (name == "quick_gelu") return Activation::kQuickGelu;
  if (name == "gelu_pytorch_tanh") return Activation::kGeluTanh;
  if (name == "gelu") return Activation::kGeluErf;
  if (name == "silu") return Activation::kSilu;
  fail(ErrorCode::kUnsupported,
       "expected quick_gelu, gelu_pytorch_tanh, gelu or silu as the activation at ",
       config.place(key), ", found \"", name, "\"");
}

TransformerConfig read_tower_layers(const ConfigReader& config, const TowerDefaults& defaults) {
  constexpr int64_t kMaxWidth = 1 << 20;
  TransformerConfig t;
  t.num_layers = bounded(config, "num_hidden_layers", defaults.num_layers, kMaxDecoderLayers);
  t.hidden_size = bounded(config, "hidden_size", defaults.hidden_size, kMaxWidth);
  t.num_heads = bounded(config, "num_attention_heads", defaults.num_heads, kMaxWidth);
  t.intermediate_size = bounded(config, "intermediate_size", defaults.intermediate_size, kMaxWidth);
  if (t.hidden_size % t.num_heads != 0)
    fail(ErrorCode::kCorruptData, "expected ", t.num_heads, " heads to divide the hidden size ",
         t.hidden_size, " in ", config.where());
  t.head_dim = t.hidden_size / t.num_heads;
  t.norm_eps = static_cast<float>(config.positive_or("layer_norm_eps", defaults.norm_eps));
  t.activation = read_tower_activation(config, "hidden_act", defaults.activation);
  return t;
}

VisionConfig read_tower(const ConfigReader& vision, const TowerDefaults& defaults) {
  VisionConfig out;
  out.transformer = read_tower_layers(vision, defaults);
  const int64_t image = bounded(vision, "image_size", defaults.image_size, kMaxImageSide);
  const int64_t patch = bounded(vision, "patch_size", defaults.patch_size, kMaxImageSide);
  if (vision.integer_or("num_channels", 3) != 3)
    fail(ErrorCode::kUnsupported, "expected 3 at ", vision.place("num_channels"));
  out.processor.patch_size = patch;
  out.processor.merge_size = 1;
  out.positions = VisionPositions::kLearnedTable;
  out.position_grid_side = image / patch;
  out.tiling.emplace();
  out.tiling->tile = {image, image};
  out.tiling->seen = {image / patch * patch, image / patch * patch};  // as a convolution sees it
  out.patch_bias = out.post_norm = !defaults.class_token;
  out.class_token = out.pre_norm = defaults.class_token;
  return out;
}

ConfigReader preprocessor(const ModelFiles& files) {
  if (!files.preprocessor_config.is_object())
    fail(ErrorCode::kNotFound, "expected preprocessor_config.json beside the weights in ",
         files.path, ", found none");
  return ConfigReader(files.preprocessor_config, "preprocessor_config.json");
}

void read_tile_colors(const ModelFiles& files, VisionConfig& vision) {
  const ConfigReader config = preprocessor(files);
  vision.processor.filter = read_filter(config);
  vision.processor.mean = read_triple(config, "image_mean");
  vision.processor.std = read_triple(config, "image_std");
}

std::array<uint8_t, 3> read_mean_color(const ConfigReader& processor) {
  read_triple(processor, "image_mean");
  const std::string place = processor.place("image_mean");
  std::array<uint8_t, 3> out{};
  for (size_t c = 0; c < out.size(); ++c) {
    const double mean = processor.find("image_mean")->as_array(place)[c].as_double(place);
    if (!(mean >= 0 && mean <= 1))
      fail(ErrorCode::kCorruptData, "expected shares of one at ", place, ", found ", mean);
    out[c] = static_cast<uint8_t>(mean * 255);
  }
  return out;
}

int64_t read_side(const ConfigReader& config, std::string_view key) {
  const JsonValue* value = config.find(key);
  if (value != nullptr && !value->is_object()) return bounded(config, key, 0, kMaxImageSide);
  const ConfigReader size = config.sub(key);
  if (size.has("shortest_edge")) return bounded(size, "shortest_edge", 0, kMaxImageSide);
  const int64_t side = bounded(size, "height", 0, kMaxImageSide);
  if (size.size("width") != side)
    fail(ErrorCode::kUnsupported, "expected a square at ", config.place(key), ", found ", side,
         " x ", size.size("width"));
  return side;
}

void choose_hidden_state(int64_t index, const std::vector<std::string>& prefixes,
                         ModelConfig& model) {
  TransformerConfig& t = model.vision->transformer;
  const int64_t stored = t.num_layers;
  const int64_t kept = index >= 0 ? index : stored + 1 + index;
  if (kept < 1 || kept > stored)
    fail(ErrorCode::kUnsupported, "expected a hidden state behind one of ", stored,
         " encoder layers, found index ", index);
  t.num_layers = kept;
  model.vision->post_norm = false;
  for (const std::string& prefix : prefixes) {
    for (int64_t i = kept; i < stored; ++i)
      model.ignored_prefixes.push_back(prefix + "encoder.layers." + std::to_string(i) + ".");
    model.ignored_prefixes.push_back(prefix + "post_layernorm.");
  }
}

void add_tower_names(NameTable& names, const std::vector<std::string>& prefixes) {
  const auto add = [&](const std::string& canonical, const std::string& stored) {
    add_prefixed_names(names, prefixes, canonical, {stored});
  };
  const std::string from = "encoder.layers.#.";
  const std::string to = "vision.layers.#.";
  add("vision.positions", "embeddings.position_embedding.weight");
  add("vision.class_token", "embeddings.class_embedding");
  for (const std::string kind : {".weight", ".bias"}) {
    add("vision.patch" + kind, "embeddings.patch_embedding" + kind);
    add("vision.pre_norm" + kind, "pre_layrnorm" + kind);  // spelt like this in the files
    add("vision.pre_norm" + kind, "pre_layernorm" + kind);
    add("vision.post_norm" + kind, "post_layernorm" + kind);
    add(to + "norm1" + kind, from + "layer_norm1" + kind);
    add(to + "norm2" + kind, from + "layer_norm2" + kind);
    for (const std::string part : {"q", "k", "v"})
      add(to + part + kind, from + "self_attn." + part + "_proj" + kind);
    add(to + "o" + kind, from + "self_attn.out_proj" + kind);
    for (const std::string part : {"fc1", "fc2"})
      add(to + part + kind, from + "mlp." + part + kind);
  }
}

ModelConfig map_inner_text(const ModelFiles& files, std::string family,
                           const std::vector<std::string>& prefixes, const NameTable& names) {
  ModelFiles inner = files;
  const ConfigReader config(files.config, "config.json");
  config.sub("text_config");  // throws where there is none
  inner.config = complete_text_config(*files.config.find("text_config"));
  ModelConfig model = find_family(inner).map(inner);
  const ModelConfig outer = base_model(files, std::move(family));
  model.family = outer.family;
  model.special = outer.special;

  const auto prefixed = [prefixes](const std::string& name) {
    std::vector<std::string> out;
    const bool in_model = name.starts_with("model.");
    for (const std::string& prefix : prefixes) {
      out.push_back(prefix + name);
      if (in_model) out.push_back(prefix + name.substr(6));
    }
    return out;
  };
  bool has_head = false;
  bool has_tensors = false;
  for (const TensorRef& ref : model.names("head.weight"))
    for (const std::string& name : prefixed(ref.name))
      has_head = has_head || !files.checkpoint->find(name).empty();
  has_head = has_head || !files.checkpoint->find("lm_head.weight").empty();
  has_tensors = !files.checkpoint->names().empty();
  model.decoder.tied_head =
      has_tensors ? !has_head : read_tied_head(files, model.decoder.tied_head);

  std::vector<std::string> ignored;
  for (const std::string& prefix : model.ignored_prefixes)
    for (const std::string& name : prefixed(prefix)) ignored.push_back(name);
  model.ignored_prefixes = std::move(ignored);
  model.names = [own = names.map(), text = model.names, prefixed](const std::string& canonical) {
    std::vector<TensorRef> out = own(canonical);
    for (const TensorRef& ref : text(canonical)) {
      for (const std::string& name : prefixed(ref.name)) {
        out.push_back(ref);
        out.back().name = name;
      }
      if (canonical == "head.weight") out.push_back(ref);
    }
    return out;
  };
  return model;
}

}  // namespace onnuri
