// Solar Open: experts in every layer behind a sigmoid router with a correction, plain attention,
// YaRN. Source: transformers models/solar_open. GGUF files use the architecture of GLM-4.5, whose
// norm before the experts is called post_attention_norm.
#include "core/check.h"
#include "engine/decoder_mapping.h"
#include "engine/families/registry.h"
#include "engine/moe_mapping.h"
#include "engine/text_engine.h"

namespace onnuri {
namespace {

bool matches(const ModelFiles& files) {
  return gguf_architecture(files) == "glm4moe" ||
         config_names(files, {"solar_open"}, {"SolarOpenForCausalLM"});
}

ModelConfig map_gguf(const ModelFiles& files) {
  GgufRules rules;
  rules.norms = {"attn_norm", "", "post_attention_norm", ""};
  ModelConfig model = read_gguf_model(files, "solar_open", rules);
  const ConfigReader config = gguf_config(files);
  require_gguf_gating(config, GgufGating::kSigmoid, false);
  read_gguf_experts(files, config, model.decoder);
  model.decoder.moe.router.score = RouterScore::kSigmoid;
  const bool qk_norm = !files.checkpoint->find("blk.0.attn_q_norm.weight").empty();
  for (LayerSpec& layer : model.decoder.layers) layer.qk_norm = qk_norm;
  return model;
}

ModelConfig map(const ModelFiles& files) {
  if (files.is_gguf()) return map_gguf(files);
  TextRules rules;
  rules.defaults = {.head_dim = 128, .dense_layers = false};
  rules.theta = 1e6;
  ModelConfig model = read_text_model(files, "solar_open", rules);
  const ConfigReader config = text_config(files);
  if (config.integer_or("first_k_dense_replace", 0) != 0)
    fail(ErrorCode::kUnsupported, "expected experts in every layer, 0 at ",
         config.place("first_k_dense_replace"));
  model.decoder.moe = read_sigmoid_moe(config, "n_shared_experts");
  for (LayerSpec& layer : model.decoder.layers) layer.ffn = FfnKind::kMoe;
  set_attention_biases(model.decoder, config.boolean_or("attention_bias", false), false);
  NameTable names;
  add_names(names, {"model."}, {});
  add_moe_names(names, {"model."}, model.decoder.moe.intermediate_size,
                "gate.e_score_correction_bias");
  model.names = names.map();
  return model;
}

}  // namespace

Family solar_open_family() { return {"solar_open", matches, map, make_text_engine}; }

}  // namespace onnuri
