// Qwen3 with experts: softmax over all of them, then the best k, their weights summing to one when
// norm_topk_prob says so. Some layers may stay dense.
// Source: transformers models/qwen3_moe.
#include <algorithm>

#include "core/check.h"
#include "engine/decoder_mapping.h"
#include "engine/families/registry.h"
#include "engine/text_engine.h"

namespace onnuri {
namespace {

bool matches(const ModelFiles& files) {
  return gguf_architecture(files) == "qwen3moe" ||
         config_names(files, {"qwen3_moe"}, {"Qwen3MoeForCausalLM"});
}

ModelConfig map_gguf(const ModelFiles& files) {
  ModelConfig model = read_gguf_model(files, "qwen3_moe", {});
  const ConfigReader config = gguf_config(files);
  require_gguf_gating(config, GgufGating::kSoftmax, false);
  read_gguf_experts(files, config, model.decoder);
  model.decoder.moe.router.renormalize = true;  // the files have no key for it
  return model;
}

void read_experts(const ConfigReader& config, DecoderConfig& decoder) {
  MoeSpec& moe = decoder.moe;
  moe.num_experts = config.size_of_any({"num_experts", "num_local_experts"});
  moe.num_experts_per_token = config.size("num_experts_per_tok");
  moe.intermediate_size = config.size("moe_intermediate_size");
  moe.router.renormalize = config.boolean("norm_topk_prob");
  const int64_t step = config.size_or("decoder_sparse_step", 1);
  const std::vector<int32_t> dense = config.ids("mlp_only_layers");
  for (int64_t i = 0; i < decoder.num_layers(); ++i) {
    if ((i + 1) % step != 0 || std::find(dense.begin(), dense.end(), i) != dense.end()) continue;
    decoder.layers[static_cast<size_t>(i)].ffn = FfnKind::kMoe;
    decoder.layers[static_cast<size_t>(i)].intermediate_size = 0;
  }
}

ModelConfig map_config(const ModelFiles& files) {
  ModelConfig model = read_text_model(files, "qwen3_moe", {});
  const ConfigReader config = text_config(files);
  read_experts(config, model.decoder);
  const bool bias = config.boolean_or("attention_bias", false);
  set_attention_biases(model.decoder, bias, bias);
  // Unlike the dense models: one width for all layers.
  if (config.boolean_or("use_sliding_window", false) && config.has("sliding_window"))
    for (LayerSpec& layer : model.decoder.layers) layer.window = config.size("sliding_window");
  NameTable names;
  add_names(names, {"model."}, {});
  add_moe_names(names, {"model."}, model.decoder.moe.intermediate_size,
                "gate.e_score_correction_bias");
  model.names = names.map();
  return model;
}

ModelConfig map(const ModelFiles& files) {
  ModelConfig model = files.is_gguf() ? map_gguf(files) : map_config(files);
  for (LayerSpec& layer : model.decoder.layers) layer.qk_norm = true;
  return model;
}

}  // namespace

Family qwen3_moe_family() { return {"qwen3_moe", matches, map, make_text_engine}; }

}  // namespace onnuri
