// Qwen3 with experts: softmax over all of them, then the best k, their weights summing to one when
// norm_topk_prob says so. Some layers may stay dense.
// Source: transformers models/qwen3_moe.
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

ModelConfig map_config(const ModelFiles& files) {
  ModelConfig model = read_text_model(files, "qwen3_moe", {});
  const ConfigReader config = text_config(files);
  read_softmax_experts(config, model.decoder);
  const bool bias = config.boolean_or("attention_bias", false);
  set_attention_biases(model.decoder, bias, bias);
  // Unlike the dense models: one width for all layers.
  if (config.boolean_or("use_sliding_window", false)) {
    const int64_t window = read_window_or_null(config);
    for (LayerSpec& layer : model.decoder.layers) layer.window = window;
  }
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
