// Mistral 7B and what follows it: the Llama graph, with one window for all layers where the config
// gives a width. Source: transformers models/mistral. GGUF files call the graph llama.
#include "engine/decoder_mapping.h"
#include "engine/families/registry.h"
#include "engine/text_engine.h"

namespace onnuri {
namespace {

bool matches(const ModelFiles& files) {
  return config_names(files, {"mistral"}, {"MistralForCausalLM"});
}

ModelConfig map(const ModelFiles& files) {
  ModelConfig model = read_text_model(files, "mistral", {.theta = 10000.0});
  const int64_t window = read_window_or_null(text_config(files));
  for (LayerSpec& layer : model.decoder.layers) layer.window = window;
  return model;
}

}  // namespace

Family mistral_family() { return {"mistral", matches, map, make_text_engine}; }

}  // namespace onnuri
