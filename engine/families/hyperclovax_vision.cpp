// HyperCLOVA X SEED Think with eyes: a decoder with scalar multipliers and norms on both sides of
// each part, plain positions, and the encoder of Qwen2.5-VL followed by one more product.
// Source: transformers 5.23, models/hyperclovax and models/hyperclovax_vision_v2.
#include <cmath>

#include "core/check.h"
#include "engine/decoder_mapping.h"
#include "engine/families/registry.h"
#include "engine/text_engine.h"
#include "engine/vision_mapping.h"

namespace onnuri {
namespace {

bool matches(const ModelFiles& files) {
  return config_names(files, {"hyperclovax_vision_v2", "vlm"},
                      {"HCXVisionV2ForCausalLM", "HyperCLOVAXVisionV2ForConditionalGeneration"});
}

/// Post norms by the tensors that are there: readers differ in what a missing key means.
bool has_post_norms(const ModelFiles& files) {
  for (const char* prefix :
       {"model.language_model.model.", "model.language_model.", "language_model.model.", "model."})
    if (!files.checkpoint->find(std::string(prefix) + "layers.0.post_norm1.weight").empty())
      return true;
  return false;
}

DecoderConfig read_text(const ModelFiles& files, const ConfigReader& text) {
  DecoderConfig out = read_decoder(text, {});
  out.tied_head = read_tied_head(files, false);
  const bool stored_head = !files.checkpoint->find("model.language_model.lm_head.weight").empty() ||
                           !files.checkpoint->find("lm_head.weight").empty();
  if (stored_head) out.tied_head = false;
  out.rope_tables = {make_table(read_rope(text, out.head_dim, "", 10000.0))};
  const auto scalar = [&](std::string_view key, double fallback) {
    return static_cast<float>(text.positive_or(key, fallback));
  };
  out.embed_scale = scalar("embedding_multiplier", 1.0);
  out.residual_scale = scalar("residual_multiplier", 1.0);
  out.logit_scale = scalar("logits_scaling", 1.0);
  out.attention_scale = scalar("attention_multiplier", 1.0 / std::sqrt(out.head_dim));
  out.scales_media = true;
  const bool post_norms = has_post_norms(files);
  const bool bias = text.boolean_or("attention_bias", false);
  set_attention_biases(out, bias, bias);
  for (LayerSpec& layer : out.layers) {
    layer.rope = 0;
    layer.ffn_bias = text.boolean_or("mlp_bias", false);
    layer.post_mixer_norm = layer.post_ffn_norm = post_norms;
  }
  return out;
}

ModelConfig map(const ModelFiles& files) {
  ModelConfig model = base_model(files, "hyperclovax_vision");
  const ConfigReader config(files.config, "config.json");
  const ConfigReader text = text_config(files);
  require_activation(text, "hidden_act", "silu");
  model.decoder = read_text(files, text);

  const ConfigReader vision = config.sub("vision_config");
  require_activation(vision, "hidden_act", "silu");
  model.vision = read_window_vision(files, vision);
  model.projector = window_vision_projector(*model.vision, vision);
  model.projector->out_linear = true;
  model.projector->out_size = model.decoder.hidden_size;
  model.vision->video = read_video(files);
  read_vision_tokens(config, model.special);

  NameTable names;
  const NormNames norms{"input_layernorm", "post_norm1", "post_attention_layernorm", "post_norm2"};
  add_names(
      names,
      {"model.language_model.model.", "model.language_model.", "language_model.model.", "model."},
      norms);
  names.add("head.weight", {{"model.language_model.lm_head.weight"}});
  add_block_vision_names(names, {"model.vision_model.", "vision_model."},
                         model.vision->transformer);
  for (const std::string kind : {".weight", ".bias"})
    names.add("projector.out" + kind, {{"model.vision_projector" + kind},
                                       {"model.projector" + kind},
                                       {"model.mm_projector" + kind}});
  model.names = names.map();
  model.ignored_prefixes = {"model.discrete_vision_model."};
  return model;
}

}  // namespace

Family hyperclovax_vision_family() {
  return {"hyperclovax_vision", matches, map, make_text_engine};
}

}  // namespace onnuri
