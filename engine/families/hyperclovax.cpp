// HyperCLOVA X SEED Think: the Llama graph with scalars on embeddings, attention scores, residual
// sums and logits, and, in some checkpoints, a second norm behind each sublayer.
// Source: transformers models/hyperclovax. logits_scaling multiplies here.
#include "engine/decoder_mapping.h"
#include "engine/families/registry.h"
#include "engine/text_engine.h"

namespace onnuri {
namespace {

bool matches(const ModelFiles& files) {
  return config_names(files, {"hyperclovax"}, {"HyperCLOVAXForCausalLM"});
}

ModelConfig map(const ModelFiles& files) {
  TextRules rules;
  rules.defaults.num_kv_heads = kAsManyAsHeads;
  rules.theta = 10000.0;
  rules.norms = {"input_layernorm", "post_norm1", "post_attention_layernorm", "post_norm2"};
  ModelConfig model = read_text_model(files, "hyperclovax", rules);
  const ConfigReader config = text_config(files);
  DecoderConfig& decoder = model.decoder;
  decoder.embed_scale = static_cast<float>(config.positive("embedding_multiplier"));
  decoder.residual_scale = static_cast<float>(config.positive("residual_multiplier"));
  decoder.logit_scale = static_cast<float>(config.positive("logits_scaling"));
  // Null stands for 1 / sqrt(head_dim).
  if (config.has("attention_multiplier"))
    decoder.attention_scale = static_cast<float>(config.positive("attention_multiplier"));
  const bool bias = config.boolean_or("attention_bias", false);
  set_attention_biases(decoder, bias, bias);
  // Readers differ in what a missing use_post_norm means: the tensors tell.
  bool post_norms = false;
  for (const std::string outer : {"", "language_model.", "model.language_model."})
    post_norms =
        post_norms || !files.checkpoint->find(outer + "model.layers.0.post_norm1.weight").empty();
  for (LayerSpec& layer : decoder.layers) {
    layer.ffn_bias = config.boolean_or("mlp_bias", false);
    layer.post_mixer_norm = layer.post_ffn_norm = post_norms;
  }
  return model;
}

}  // namespace

Family hyperclovax_family() { return {"hyperclovax", matches, map, make_text_engine}; }

}  // namespace onnuri
