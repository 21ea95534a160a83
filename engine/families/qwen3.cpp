// Qwen3 dense models: RMS norm per head on q and k before rope.
// Source: transformers models/qwen3.
#include "engine/decoder_mapping.h"
#include "engine/families/registry.h"
#include "engine/text_engine.h"

namespace onnuri {
namespace {

bool matches(const ModelFiles& files) {
  return gguf_architecture(files) == "qwen3" ||
         config_names(files, {"qwen3"}, {"Qwen3ForCausalLM"});
}

ModelConfig map_config(const ModelFiles& files) {
  ModelConfig model = read_text_model(files, "qwen3", {.defaults = {.head_dim = 128}});
  const ConfigReader config = text_config(files);
  read_optional_windows(config, model.decoder);
  const bool bias = config.boolean_or("attention_bias", false);
  set_attention_biases(model.decoder, bias, bias);
  return model;
}

ModelConfig map(const ModelFiles& files) {
  ModelConfig model = files.is_gguf() ? read_gguf_model(files, "qwen3", {}) : map_config(files);
  for (LayerSpec& layer : model.decoder.layers) layer.qk_norm = true;
  return model;
}

}  // namespace

Family qwen3_family() { return {"qwen3", matches, map, make_text_engine}; }

}  // namespace onnuri
