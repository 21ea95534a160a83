// Qwen3 dense models: RMS norm per head on q and k before rope.
// Source: transformers models/qwen3.
#include "core/check.h"
#include "engine/decoder_mapping.h"
#include "engine/families/registry.h"
#include "engine/text_engine.h"

namespace onnuri {
namespace {

bool matches(const ModelFiles& files) {
  return gguf_architecture(files) == "qwen3" ||
         config_names(files, {"qwen3"}, {"Qwen3ForCausalLM"});
}

ModelConfig map_gguf(const ModelFiles& files) {
  ModelConfig model = base_model(files, "qwen3");
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

ModelConfig map_config(const ModelFiles& files) {
  ModelConfig model = base_model(files, "qwen3");
  const ConfigReader config = text_config(files);
  require_activation(config, "hidden_act", "silu");
  if (config.boolean_or("use_sliding_window", false))
    fail(ErrorCode::kUnsupported, "sliding windows, at ", config.place("use_sliding_window"));
  model.decoder = read_decoder(config, {.head_dim = 128});
  model.decoder.rope_tables = {make_table(read_rope(config, model.decoder.head_dim, "", 0))};
  const bool bias = config.boolean_or("attention_bias", false);
  for (LayerSpec& layer : model.decoder.layers)
    layer.q_bias = layer.k_bias = layer.v_bias = layer.o_bias = bias;
  NameTable names;
  add_names(names, {"model."}, {});
  model.names = names.map();
  return model;
}

ModelConfig map(const ModelFiles& files) {
  ModelConfig model = files.is_gguf() ? map_gguf(files) : map_config(files);
  for (LayerSpec& layer : model.decoder.layers) {
    layer.rope = 0;
    layer.qk_norm = true;
  }
  return model;
}

}  // namespace

Family qwen3_family() { return {"qwen3", matches, map, make_text_engine}; }

}  // namespace onnuri
