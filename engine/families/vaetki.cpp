// VAETKI: latent attention in windows with every sixth layer full, two rope tables on adjacent
// pairs, zero-centred norms before and after every sub-layer, sigmoid-routed experts without
// correction or groups, logits in float32.
// Source: the vendor's vLLM plugin, which has no counterpart in transformers.
#include <string>

#include "core/check.h"
#include "engine/families/registry.h"
#include "engine/latent_mapping.h"
#include "engine/moe_mapping.h"
#include "engine/text_engine.h"

namespace onnuri {
namespace {

// What the plugin divides the frequencies of full layers by when the config names no scaling.
constexpr double kGlobalFactor = 8.0;

bool matches(const ModelFiles& files) {
  return config_names(files, {"vaetki"}, {"VaetkiForCausalLM"});
}

std::vector<RopeTable> read_tables(const ConfigReader& config, int64_t rotary_dim) {
  const auto table = [&](const char* key, const RopeScaling& scaling) {
    return make_rope_table(config.positive(key), rotary_dim, RopeLayout::kPairs, scaling);
  };
  RopeScaling global;
  if (config.has("rope_scaling")) {
    global = read_rope_scaling(config.sub("rope_scaling"), config.size("max_position_embeddings"));
    if (global.mscale_all_dim != 0)
      fail(ErrorCode::kUnsupported, "a softmax scale of full layers alone, at ",
           config.place("rope_scaling"), ": mscale_all_dim");
  } else {
    global.kind = RopeScaling::Kind::kLinear;
    global.factor = kGlobalFactor;
  }
  return {table("rope_theta", {}), table("rope_theta_global", global)};
}

ModelConfig map(const ModelFiles& files) {
  ModelConfig model = base_model(files, "vaetki");
  const ConfigReader config = text_config(files);
  require_activation(config, "hidden_act", "silu");
  DecoderConfig& decoder = model.decoder;
  decoder = read_latent_decoder(config);
  decoder.mla.norm_eps = decoder.norm_eps;
  decoder.norm_form = NormForm::kOnePlusWeight;
  decoder.float32_head = true;
  decoder.rope_tables = read_tables(config, decoder.mla.qk_rope_dim);
  decoder.moe = read_sigmoid_moe(config, "n_shared_experts");
  decoder.moe.router.correction_bias = false;
  decoder.moe.router.num_groups = decoder.moe.router.num_groups_kept = 1;  // the plugin reads none
  set_expert_layers(read_expert_layers(config, decoder.num_layers()), decoder);
  const std::vector<bool> sliding = read_sliding_layers(config, decoder.num_layers(), 0);
  const int64_t window = config.size("sliding_window");
  for (size_t i = 0; i < sliding.size(); ++i) {
    LayerSpec& layer = decoder.layers[i];
    layer.window = sliding[i] ? window : 0;
    layer.rope = sliding[i] ? 0 : 1;
    layer.post_mixer_norm = layer.post_ffn_norm = true;
  }
  NameTable names;
  add_names(
      names, {"model."},
      {"input_layernorm", "post_attention_layernorm", "pre_mlp_layernorm", "post_mlp_layernorm"});
  add_latent_names(names, {"model."});
  add_moe_names(names, {"model."}, decoder.moe.intermediate_size, "gate.e_score_correction_bias");
  model.names = names.map();
  return model;
}

}  // namespace

Family vaetki_family() { return {"vaetki", matches, map, make_text_engine}; }

}  // namespace onnuri
