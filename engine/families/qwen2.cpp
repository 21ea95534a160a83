// Qwen2 and Qwen2.5 text models, A.X 4.0: Llama with q, k and v biases.
// Source: transformers models/qwen2.
#include "engine/decoder_mapping.h"
#include "engine/families/registry.h"
#include "engine/text_engine.h"

namespace onnuri {
namespace {

bool matches(const ModelFiles& files) {
  return gguf_architecture(files) == "qwen2" ||
         config_names(files, {"qwen2"}, {"Qwen2ForCausalLM"});
}

ModelConfig map_gguf(const ModelFiles& files) {
  ModelConfig model = base_model(files, "qwen2");
  const ConfigReader config = gguf_config(files);
  model.decoder = read_gguf_decoder(files, config);
  model.decoder.rope_tables = {
      read_gguf_rope(files, config, model.decoder.head_dim, RopeLayout::kHalf)};
  NameTable names;
  add_gguf_names(names, {"attn_norm", "", "ffn_norm", ""});
  model.names = names.map();
  model.ignored_prefixes = {"rope_freqs."};
  return model;
}

// "sliding_window" counts only with "use_sliding_window", and then from max_window_layers on.
void map_windows(const ConfigReader& config, DecoderConfig& decoder) {
  if (!config.boolean_or("use_sliding_window", false) || !config.has("sliding_window")) return;
  const int64_t window = config.size("sliding_window");
  std::vector<bool> sliding;
  if (config.has("layer_types")) {
    sliding = read_sliding_layers(config, decoder.num_layers(), 0);
  } else {
    const int64_t first = config.integer("max_window_layers");
    for (int64_t i = 0; i < decoder.num_layers(); ++i) sliding.push_back(i >= first);
  }
  for (size_t i = 0; i < sliding.size(); ++i) decoder.layers[i].window = sliding[i] ? window : 0;
}

ModelConfig map_config(const ModelFiles& files) {
  ModelConfig model = base_model(files, "qwen2");
  const ConfigReader config = text_config(files);
  require_activation(config, "hidden_act", "silu");
  model.decoder = read_decoder(config, {});
  model.decoder.rope_tables = {make_table(read_rope(config, model.decoder.head_dim, "", 0))};
  map_windows(config, model.decoder);
  NameTable names;
  add_names(names, {"model."}, {});
  model.names = names.map();
  return model;
}

ModelConfig map(const ModelFiles& files) {
  ModelConfig model = files.is_gguf() ? map_gguf(files) : map_config(files);
  for (LayerSpec& layer : model.decoder.layers) {
    layer.rope = 0;
    layer.q_bias = layer.k_bias = layer.v_bias = true;
  }
  return model;
}

}  // namespace

Family qwen2_family() { return {"qwen2", matches, map, make_text_engine}; }

}  // namespace onnuri
