// ERNIE 4.5 dense text models: the Llama graph, rope on adjacent pairs, one switch for all biases.
// Source: transformers models/ernie4_5.
#include "engine/decoder_mapping.h"
#include "engine/families/registry.h"
#include "engine/text_engine.h"

namespace onnuri {
namespace {

bool matches(const ModelFiles& files) {
  return gguf_architecture(files) == "ernie4_5" ||
         config_names(files, {"ernie4_5"}, {"Ernie4_5ForCausalLM", "Ernie4_5_ForCausalLM"});
}

ModelConfig map(const ModelFiles& files) {
  if (files.is_gguf()) return read_gguf_model(files, "ernie4_5", {.rope = RopeLayout::kPairs});
  TextRules rules;
  rules.defaults = {.head_dim = 128, .tied_head = true};
  rules.theta = 500000.0;
  rules.rope = RopeLayout::kPairs;
  ModelConfig model = read_text_model(files, "ernie4_5", rules);
  const bool bias = text_config(files).boolean_or("use_bias", false);
  set_attention_biases(model.decoder, bias, bias);
  for (LayerSpec& layer : model.decoder.layers) layer.ffn_bias = bias;
  return model;
}

}  // namespace

Family ernie4_5_family() { return {"ernie4_5", matches, map, make_text_engine}; }

}  // namespace onnuri
