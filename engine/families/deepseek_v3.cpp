// DeepSeek-V3, and Kanana-2 of the same class without a query latent: latent attention with rope on
// adjacent pairs, leading dense layers, then sigmoid-routed experts chosen within the best groups
// with a correction bias. Source: transformers models/deepseek_v3; GGUF architecture deepseek2.
// The layer after the last one predicts a further token, when it is asked for; more such layers are
// known and not run.
#include <algorithm>
#include <string>

#include "core/check.h"
#include "engine/families/registry.h"
#include "engine/latent_mapping.h"
#include "engine/text_engine.h"

namespace onnuri {
namespace {

constexpr int64_t kGgufSoftmax = 1;  // expert_gating_func
constexpr int64_t kGgufSigmoid = 2;

bool matches(const ModelFiles& files) {
  return gguf_architecture(files) == "deepseek2" ||
         config_names(files, {"deepseek_v3", "kimi_k2"}, {"DeepseekV3ForCausalLM"});
}

MoeSpec read_gguf_moe(const ModelFiles& files, const ConfigReader& config, int64_t first_sparse) {
  MoeSpec moe;
  moe.num_experts = config.size("expert_count");
  moe.num_experts_per_token = config.size("expert_used_count");
  moe.intermediate_size = config.size("expert_feed_forward_length");
  moe.shared_intermediate_size =
      config.integer_or("expert_shared_count", 0) * moe.intermediate_size;
  RouterSpec& router = moe.router;
  const int64_t gating = config.integer_or("expert_gating_func", kGgufSoftmax);
  if (gating != kGgufSoftmax && gating != kGgufSigmoid)
    fail(ErrorCode::kUnsupported, "expected softmax (", kGgufSoftmax, ") or sigmoid (",
         kGgufSigmoid, ") at ", config.place("expert_gating_func"), ", found ", gating);
  router.score = gating == kGgufSigmoid ? RouterScore::kSigmoid : RouterScore::kSoftmax;
  router.group_score = gating == kGgufSigmoid ? GroupScore::kSumOfTop2 : GroupScore::kMax;
  router.num_groups = config.size_or("expert_group_count", 1);
  router.num_groups_kept = config.size_or("expert_group_used_count", router.num_groups);
  router.renormalize = config.boolean_or("expert_weights_norm", false);
  router.scale = static_cast<float>(config.number_or("expert_weights_scale", 1.0));
  const std::string bias = "blk." + std::to_string(first_sparse) + ".exp_probs_b";
  router.correction_bias =
      !files.checkpoint->find(bias + ".bias").empty() || !files.checkpoint->find(bias).empty();
  return moe;
}

ModelConfig map_gguf(const ModelFiles& files) {
  ModelConfig model = base_model(files, "deepseek_v3");
  const ConfigReader config = gguf_config(files);
  DecoderConfig& decoder = model.decoder;
  decoder = read_gguf_latent_decoder(files, config);
  const int64_t num_dense = config.integer_or("leading_dense_block_count", 0);
  std::vector<bool> sparse;
  for (int64_t i = 0; i < decoder.num_layers(); ++i) sparse.push_back(i >= num_dense);
  decoder.moe = read_gguf_moe(files, config, num_dense);
  set_expert_layers(sparse, decoder);
  NameTable names;
  add_gguf_names(names, {"attn_norm", "", "ffn_norm", ""});
  add_gguf_latent_names(names);
  add_gguf_moe_names(names);
  model.names = names.map();
  model.ignored_prefixes = {"rope_freqs."};
  for (int64_t i = decoder.num_layers(); i < config.size("block_count"); ++i)
    model.ignored_prefixes.push_back("blk." + std::to_string(i) + ".");
  return model;
}

// The layer after the last one, an expert layer with its own copies of embedding and head.
void add_module(const ModelFiles& files, const ConfigReader& config, NameTable& names,
                ModelConfig& model) {
  const DecoderConfig& decoder = model.decoder;
  const int64_t extra = std::min<int64_t>(config.integer_or("num_nextn_predict_layers", 0), 64);
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
  set_latent_rope(
      config, config.boolean_or("rope_interleave", true) ? RopeLayout::kPairs : RopeLayout::kHalf,
      decoder);
  decoder.moe = read_sigmoid_moe(config);
  decoder.moe.router.correction_bias = true;
  decoder.moe.router.num_groups = config.size("n_group");
  decoder.moe.router.num_groups_kept = config.size("topk_group");
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
