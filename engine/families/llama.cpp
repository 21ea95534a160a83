// Llama graph: SmolLM2, SOLAR 10.7B, HyperCLOVA X SEED text, Mi:dm 2.0, Kanana 1.5, A.X 3.1.
// Source: transformers models/llama. GGUF files of this architecture store q and k with their rows
// permuted, so rope turns adjacent pairs.
#include "core/check.h"
#include "engine/decoder_mapping.h"
#include "engine/families/registry.h"
#include "engine/text_engine.h"

namespace onnuri {
namespace {

bool matches(const ModelFiles& files) {
  return gguf_architecture(files) == "llama" ||
         config_names(files, {"llama"}, {"LlamaForCausalLM"});
}

ModelConfig map_gguf(const ModelFiles& files) {
  const ConfigReader config = gguf_config(files);
  if (config.integer_or("expert_count", 0) > 0)
    fail(ErrorCode::kUnsupported, "a mixture of experts in the llama architecture, at ",
         config.place("expert_count"));
  return read_gguf_model(files, "llama", {.rope = RopeLayout::kPairs});
}

ModelConfig map(const ModelFiles& files) {
  if (files.is_gguf()) return map_gguf(files);
  ModelConfig model = read_text_model(
      files, "llama", {.defaults = {.num_kv_heads = kAsManyAsHeads}, .theta = 10000.0});
  const ConfigReader config = text_config(files);
  const bool bias = config.boolean_or("attention_bias", false);
  set_attention_biases(model.decoder, bias, bias);
  for (LayerSpec& layer : model.decoder.layers)
    layer.ffn_bias = config.boolean_or("mlp_bias", false);
  return model;
}

}  // namespace

Family llama_family() { return {"llama", matches, map, make_text_engine}; }

}  // namespace onnuri
