// A.X K1: latent attention and sigmoid-routed experts in groups, with one more norm on what the
// experts return. Source: transformers models/axk1.
#include <string>

#include "engine/families/registry.h"
#include "engine/latent_mapping.h"
#include "engine/moe_mapping.h"
#include "engine/text_engine.h"

namespace onnuri {
namespace {

bool matches(const ModelFiles& files) { return config_names(files, {"axk1"}, {"AXK1ForCausalLM"}); }

// Published files store the norm of the experts in dense layers too, where nobody reads it.
void ignore_dense_norms(const ModelFiles& files, ModelConfig& model) {
  const bool without_weights = files.checkpoint == nullptr || files.checkpoint->names().empty();
  for (size_t i = 0; i < model.decoder.layers.size(); ++i) {
    if (model.decoder.layers[i].ffn == FfnKind::kMoe) continue;
    const std::string name = "model.layers." + std::to_string(i) + ".post_mlp_layernorm.weight";
    model.ignored_prefixes.push_back(name);
    if (without_weights || !files.checkpoint->find(name).empty())
      model.decoder.unused_parameters += model.decoder.hidden_size;
  }
}

// The published checkpoint routes without a correction; the class has one.
bool stores_correction(const ModelFiles& files, const std::vector<bool>& sparse) {
  for (size_t i = 0; files.checkpoint != nullptr && i < sparse.size(); ++i)
    if (sparse[i])
      return !files.checkpoint
                  ->find("model.layers." + std::to_string(i) + ".mlp.gate.e_score_correction_bias")
                  .empty();
  return false;
}

ModelConfig map(const ModelFiles& files) {
  ModelConfig model = base_model(files, "axk1");
  const ConfigReader config = text_config(files);
  require_activation(config, "hidden_act", "silu");
  DecoderConfig& decoder = model.decoder;
  decoder = read_latent_decoder(config);
  require_layer_types(config, decoder.num_layers(), {"full_attention"});
  decoder.mla.q_lora_rank = config.size("q_lora_rank");
  const bool pairs = config.boolean_or("rope_interleave", true);
  set_latent_rope(config, pairs ? RopeLayout::kPairs : RopeLayout::kHalf, decoder);
  const std::vector<bool> sparse = read_expert_layers(config, decoder.num_layers());
  decoder.moe = read_sigmoid_moe(config, "n_shared_experts", true);
  decoder.moe.router.correction_bias = stores_correction(files, sparse);
  set_expert_layers(sparse, decoder);
  for (LayerSpec& layer : decoder.layers) layer.post_ffn_norm = layer.ffn == FfnKind::kMoe;
  ignore_dense_norms(files, model);
  NameTable names;
  add_names(names, {"model."},
            {"input_layernorm", "", "post_attention_layernorm", "post_mlp_layernorm"});
  names.add("layers.#.post_ffn_norm.weight", {{"model.layers.#.mlp.post_mlp_layernorm.weight"}});
  add_latent_names(names, {"model."});
  add_moe_names(names, {"model."}, decoder.moe.intermediate_size, "gate.e_score_correction_bias");
  model.names = names.map();
  return model;
}

}  // namespace

Family axk1_family() { return {"axk1", matches, map, make_text_engine}; }

}  // namespace onnuri
