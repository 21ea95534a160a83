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

ModelConfig map(const ModelFiles& files) {
  ModelConfig model =
      files.is_gguf() ? read_gguf_model(files, "qwen2", {}) : read_text_model(files, "qwen2", {});
  if (!files.is_gguf()) read_optional_windows(text_config(files), model.decoder);
  set_attention_biases(model.decoder, true, false);
  return model;
}

}  // namespace

Family qwen2_family() { return {"qwen2", matches, map, make_text_engine}; }

}  // namespace onnuri
