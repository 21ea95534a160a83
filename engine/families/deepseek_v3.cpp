// DeepSeek-V3, and Kanana-2 of the same class without a query latent: latent attention with rope on
// adjacent pairs, leading dense layers, then sigmoid-routed experts chosen within the best groups
// with a correction bias. Source: transformers models/deepseek_v3; GGUF architecture deepseek2.
// The layer after the last one predicts a further token, when it is asked for; more such layers are
// known and not run.
#include <algorithm>
#include <string>

#include "core/check.h"
#include "engine/families/registry.h"
#include "engine/gguf_mapping.h"
#include "engine/latent_mapping.h"
#include "engine/moe_mapping.h"
#include "engine/text_engine.h"

namespace onnuri {
namespace {

bool matches(const ModelFiles& files) {
  return gguf_architecture(files) == "deepseek2" ||
         config_names(files, {"deepseek_v3", "kimi_k2"}, {"DeepseekV3ForCausalLM"});
}

// Softmax is what files older than the key mean.
void read_gguf_router(const ConfigReader& config, RouterSpec& router) {
  constexpr auto kSoftmax = static_cast<int64_t>(GgufGating::kSoftmax);
  constexpr auto kSigmoid = static_cast<int64_t>(GgufGating::kSigmoid);
  const int64_t gating = config.integer_or("expert_gating_func", kSoftmax);
  if (gating != kSoftmax && gating != kSigmoid)
    fail(ErrorCode::kUnsupported, "expected softmax (", kSoftmax, ") or sigmoid (", kSigmoid,
         ") at ", config.place("expert_gating_func"), ", found ", gating);
  router.score = gating == kSigmoid ? RouterScore::kSigmoid : RouterScore::kSoftmax;
  router.group_score = gating == kSigmoid ? GroupScore::kSumOfTop2 : GroupScore::kMax;
}

ModelConfig map_gguf(const ModelFiles& files) {
  ModelConfig model = base_model(files, "deepseek_v3");
  const ConfigReader config = gguf_config(files);
  DecoderConfig& decoder = model.decoder;
  decoder = read_gguf_latent_decoder(files, config);
  read_gguf_experts(files, config, decoder);
  read_gguf_router(config, decoder.moe.router);
  NameTable names;
  add_gguf_names(names, {"attn_norm", "", "ffn_norm", ""});
  add_gguf_latent_names(names);
  add_gguf_moe_names(names);
  model.names = names.map();
  ignore_gguf_extras(config, model);
  return model;
}

// The layer after the last one, an expert layer with its own copies of embedding and head.
void add_module(const ModelFiles& files, const ConfigReader& config, NameTable& names,
                ModelConfig& model) {
  const DecoderConfig& decoder = model.decoder;
  const int64_t extra = std::min<int64_t>(config.count_or("num_nextn_predict_layers", 0), 64);
  const auto prefix = [&](int64_t i) {
    return "model.layers." + std::to_string(decoder.num_layers() + i) + ".";
  };
  if (extra < 1) return;
  model.mtp_prefixes = {prefix(0)};
  for (int64_t i = 1; i < extra; ++i) model.ignored_prefixes.push_back(prefix(i));
  const std::string layer = prefix(0);
  if (files.checkpoint->find(layer + "eh_proj.weight").empty()) return;
  model.mtp.num_layers = 1;
  model.mtp.normed_recursion = false;
  model.mtp.layer = decoder.layers.back();
  add_mtp_names(names, {layer, layer + "enorm.weight", layer + "hnorm.weight",
                        layer + "eh_proj.weight", layer + "shared_head.norm.weight",
                        layer + "embed_tokens.weight", layer + "shared_head.head.weight"});
}

ModelConfig map(const ModelFiles& files) {
  if (files.is_gguf()) return map_gguf(files);
  ModelConfig model = base_model(files, "deepseek_v3");
  const ConfigReader config = text_config(files);
  require_activation(config, "hidden_act", "silu");
  DecoderConfig& decoder = model.decoder;
  decoder = read_latent_decoder(config);
  require_layer_types(config, decoder.num_layers(), {"full_attention"});
  set_latent_rope(
      config, config.boolean_or("rope_interleave", true) ? RopeLayout::kPairs : RopeLayout::kHalf,
      decoder);
  if (config.string_or("topk_method", "noaux_tc") != "noaux_tc")
    fail(ErrorCode::kUnsupported, "expected \"noaux_tc\" at ", config.place("topk_method"),
         ", found \"", config.string("topk_method"), "\"");
  decoder.moe = read_sigmoid_moe(config, "n_shared_experts", true);
  set_expert_layers(read_expert_layers(config, decoder.num_layers()), decoder);
  NameTable names;
  add_names(names, {"model."}, {});
  add_latent_names(names, {"model."});
  add_moe_names(names, {"model."}, decoder.moe.intermediate_size, "gate.e_score_correction_bias");
  add_module(files, config, names, model);
  model.names = names.map();
  return model;
}

}  // namespace

Family deepseek_v3_family() { return {"deepseek_v3", matches, map, make_text_engine}; }

}  // namespace onnuri
