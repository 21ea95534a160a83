// A.X K2: latent attention over keys that an indexer chooses, with a gate on what it returns; norms
// with a low-rank gate before attention and before experts; groups that are not kept score zero.
// Source: transformers models/axk2.
#include <string>

#include "core/check.h"
#include "engine/families/registry.h"
#include "engine/latent_mapping.h"
#include "engine/moe_mapping.h"
#include "engine/text_engine.h"

namespace onnuri {
namespace {

bool matches(const ModelFiles& files) { return config_names(files, {"axk2"}, {"AXK2ForCausalLM"}); }

// Two spellings are in circulation: that of published files and that of the running class.
void add_gated_names(NameTable& names) {
  const std::string attention = "model.layers.#.self_attn.";
  names.add("layers.#.q_b.weight", {{attention + "q_gate_proj.weight"}});
  const std::pair<const char*, const char*> sites[] = {
      {"layers.#.pre_mixer_norm.", "model.layers.#.input_layernorm."},
      {"layers.#.pre_ffn_norm.", "model.layers.#.post_attention_layernorm."}};
  for (const auto& [canonical, stored] : sites) {
    const std::string to = canonical;
    const std::string from = stored;
    names.add(to + "weight", {{from + "norm.weight"}});
    names.add(to + "gate_down.weight", {{from + "W_down.weight"}, {from + "mlp.fc1.weight"}});
    names.add(to + "gate_up.weight", {{from + "W_up.weight"}, {from + "mlp.fc2.weight"}});
  }
}

ModelConfig map(const ModelFiles& files) {
  ModelConfig model = base_model(files, "axk2");
  const ConfigReader config = text_config(files);
  require_activation(config, "hidden_act", "silu");
  DecoderConfig& decoder = model.decoder;
  decoder = read_latent_decoder(config);
  require_layer_types(config, decoder.num_layers(),
                      {"indexed_attention", "deepseek_sparse_attention"});
  decoder.mla.q_lora_rank = config.size("q_lora_rank");
  decoder.mla.index = read_index(config);
  if (!config.boolean_or("rope_interleave", true))
    fail(ErrorCode::kUnsupported, "expected true, the only layout of the family, at ",
         config.place("rope_interleave"));
  set_latent_rope(config, RopeLayout::kPairs, decoder);
  decoder.moe = read_sigmoid_moe(config, "n_shared_experts");
  decoder.moe.router.mask_with_zero = true;
  set_expert_layers(read_expert_layers(config, decoder.num_layers()), decoder);
  decoder.norm_form = NormForm::kGated;
  decoder.norm_gate_rank = config.size("gated_norm_rank");
  for (LayerSpec& layer : decoder.layers) {
    layer.output_gate = layer.sparse_index = layer.pre_mixer_norm_gate = true;
    layer.pre_ffn_norm_gate = layer.ffn == FfnKind::kMoe;
  }
  NameTable names;
  add_names(names, {"model."}, {});
  add_latent_names(names, {"model."});
  add_index_names(names, {"model."});
  add_gated_names(names);
  add_moe_names(names, {"model."}, decoder.moe.intermediate_size, "gate.e_score_correction_bias");
  model.names = names.map();
  return model;
}

}  // namespace

Family axk2_family() { return {"axk2", matches, map, make_text_engine}; }

}  // namespace onnuri
