// Qwen3-Next: linear layers (Gated DeltaNet) with a full one every fourth, experts with one shared
// expert behind a gate. Source: transformers 5.23, models/qwen3_next. The prediction module of the
// published checkpoints is not read.
#include "engine/families/registry.h"
#include "engine/linear_mapping.h"
#include "engine/text_engine.h"

namespace onnuri {
namespace {

bool matches(const ModelFiles& files) {
  return config_names(files, {"qwen3_next"}, {"Qwen3NextForCausalLM"});
}

ModelConfig map(const ModelFiles& files) {
  ModelConfig model = base_model(files, "qwen3_next");
  const ConfigReader config = text_config(files);
  const bool all_experts =
      config.size_or("decoder_sparse_step", 1) == 1 && config.ids("mlp_only_layers").empty();
  model.decoder = read_linear_decoder(config, {.dense_layers = !all_experts});
  model.decoder.rope_tables = {read_quarter_rope(config, model.decoder.head_dim)};
  read_softmax_experts(config, model.decoder);
  read_gated_shared_expert(config, model.decoder.moe);
  NameTable names;
  add_names(names, {"model."}, {});
  add_moe_names(names, {"model."}, model.decoder.moe.intermediate_size,
                "gate.e_score_correction_bias");
  add_linear_names(names, {"model."});
  model.names = names.map();
  model.ignored_prefixes.push_back("mtp.");
  return model;
}

}  // namespace

Family qwen3_next_family() { return {"qwen3_next", matches, map, make_text_engine}; }

}  // namespace onnuri
