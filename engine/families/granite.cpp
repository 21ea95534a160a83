// Granite: the Llama graph with scalars on embeddings, attention scores, residual sums and logits.
// Source: transformers models/granite. logits_scaling divides here. GGUF files store q and k with
// their rows permuted, so rope turns adjacent pairs.
#include "core/check.h"
#include "engine/decoder_mapping.h"
#include "engine/families/registry.h"
#include "engine/text_engine.h"

namespace onnuri {
namespace {

bool matches(const ModelFiles& files) {
  return gguf_architecture(files) == "granite" ||
         config_names(files, {"granite"}, {"GraniteForCausalLM"});
}

float inverse(const ConfigReader& config, std::string_view key) {
  return static_cast<float>(1.0 / config.positive(key));
}

ModelConfig map_gguf(const ModelFiles& files) {
  ModelConfig model = read_gguf_model(files, "granite", {.rope = RopeLayout::kPairs});
  const ConfigReader config = gguf_config(files);
  if (config.integer_or("expert_count", 0) > 0)
    fail(ErrorCode::kUnsupported, "a mixture of experts in the granite architecture, at ",
         config.place("expert_count"));
  DecoderConfig& decoder = model.decoder;
  decoder.embed_scale = static_cast<float>(config.nonzero_or("embedding_scale", 1.0));
  decoder.residual_scale = static_cast<float>(config.nonzero_or("residual_scale", 1.0));
  decoder.attention_scale = static_cast<float>(
      config.nonzero_or("attention.scale", static_cast<double>(decoder.attention_scale)));
  decoder.logit_scale = inverse(config, "logit_scale");
  return model;
}

ModelConfig map(const ModelFiles& files) {
  if (files.is_gguf()) return map_gguf(files);
  ModelConfig model = read_text_model(
      files, "granite", {.defaults = {.num_kv_heads = kAsManyAsHeads}, .theta = 10000.0});
  const ConfigReader config = text_config(files);
  DecoderConfig& decoder = model.decoder;
  decoder.embed_scale = static_cast<float>(config.positive("embedding_multiplier"));
  decoder.residual_scale = static_cast<float>(config.positive("residual_multiplier"));
  decoder.attention_scale = static_cast<float>(config.positive("attention_multiplier"));
  decoder.logit_scale = inverse(config, "logits_scaling");
  const bool bias = config.boolean_or("attention_bias", false);
  set_attention_biases(decoder, bias, bias);
  for (LayerSpec& layer : decoder.layers) layer.ffn_bias = config.boolean_or("mlp_bias", false);
  return model;
}

}  // namespace

Family granite_family() { return {"granite", matches, map, make_text_engine}; }

}  // namespace onnuri
