// GPT-OSS: windows on every other layer, a learned sink per head, biases everywhere, experts chosen
// before the softmax, a clamped SwiGLU of (up + 1).
// Source: transformers models/gpt_oss. Checkpoints interleave gate and up: as columns of
// [experts, hidden, 2 x intermediate], or, in four bits, as rows of the transposed stack. GGUF
// files hold them apart.
#include "core/check.h"
#include "engine/decoder_mapping.h"
#include "engine/families/registry.h"
#include "engine/text_engine.h"

namespace onnuri {
namespace {

constexpr double kAlpha = 1.702, kLimit = 7.0;  // files older than the keys, and GGUF

bool matches(const ModelFiles& files) {
  return gguf_architecture(files) == "gpt-oss" ||
         config_names(files, {"gpt_oss"}, {"GptOssForCausalLM"});
}

void fill_layers(DecoderConfig& decoder, const std::vector<bool>& sliding, int64_t window,
                 double alpha, double limit) {
  decoder.moe.expert_bias = true;
  decoder.moe.router.score = RouterScore::kSoftmaxAfterTopk;
  decoder.moe.router.logit_bias = true;
  for (size_t i = 0; i < decoder.layers.size(); ++i) {
    LayerSpec& layer = decoder.layers[i];
    layer.window = sliding[i] ? window : 0;
    layer.sinks = true;
    layer.ffn = FfnKind::kMoe;
    layer.intermediate_size = 0;
    layer.activation.kind = GluKind::kSwigluPlus1;
    layer.activation.alpha = static_cast<float>(alpha);
    layer.activation.limit = static_cast<float>(limit);
  }
}

ModelConfig map_gguf(const ModelFiles& files) {
  GgufRules rules;
  rules.norms = {"attn_norm", "", "post_attention_norm", ""};
  rules.truncate_yarn = false;
  ModelConfig model = read_gguf_model(files, "gpt_oss", rules);
  const ConfigReader config = gguf_config(files);
  read_gguf_experts(files, config, model.decoder);
  fill_layers(model.decoder, read_gguf_sliding_layers(config, model.decoder.num_layers(), 2),
              config.size("attention.sliding_window"), kAlpha, kLimit);
  return model;
}

void add_expert_names(NameTable& table, int64_t width) {
  const std::string mlp = "model.layers.#.mlp.";
  for (const std::string kind : {".weight", ".bias"})
    table.add("layers.#.router" + kind, {{mlp + "router" + kind}});
  int64_t first = 0;
  for (const std::string part : {"gate", "up"}) {
    const std::string name = "layers.#.experts.#." + part;
    table.add(name + ".weight", {{mlp + "experts.gate_up_proj_blocks", true, first, width, 2},
                                 {mlp + "experts.gate_up_proj", true, first, width, 2, true}});
    table.add(name + ".bias", {{mlp + "experts.gate_up_proj_bias", true, first, width, 2}});
    ++first;
  }
  table.add("layers.#.experts.#.down.weight", {{mlp + "experts.down_proj_blocks", true},
                                               {mlp + "experts.down_proj", true, 0, -1, 1, true}});
  table.add("layers.#.experts.#.down.bias", {{mlp + "experts.down_proj_bias", true}});
}

ModelConfig map(const ModelFiles& files) {
  if (files.is_gguf()) return map_gguf(files);
  TextRules rules;
  rules.defaults = {.head_dim = 64, .dense_layers = false};
  rules.theta = 150000.0;
  ModelConfig model = read_text_model(files, "gpt_oss", rules);
  const ConfigReader config = text_config(files);
  // The class assumes the scaling of its largest model.
  if (!config.has("rope_parameters")) config.sub("rope_scaling");
  DecoderConfig& decoder = model.decoder;
  decoder.moe.num_experts = config.size_of_any({"num_local_experts", "num_experts"});
  decoder.moe.num_experts_per_token = read_experts_per_token(config, decoder.moe.num_experts);
  decoder.moe.intermediate_size = config.size("intermediate_size");
  fill_layers(decoder, read_sliding_layers(config, decoder.num_layers(), 2),
              config.size("sliding_window"), config.positive_or("swiglu_alpha", kAlpha),
              config.positive_or("swiglu_limit", kLimit));
  const bool bias = config.boolean_or("attention_bias", true);
  set_attention_biases(decoder, bias, bias);
  NameTable names;
  add_names(names, {"model."}, {});
  add_expert_names(names, decoder.moe.intermediate_size);
  model.names = names.map();
  return model;
}

}  // namespace

Family gpt_oss_family() { return {"gpt_oss", matches, map, make_text_engine}; }

}  // namespace onnuri
