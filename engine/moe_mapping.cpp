// Experts of config.json checkpoints and of GGUF files.
// Key names: transformers configuration classes, and the GGUF key list of llama.cpp (llama-arch).
#include "engine/moe_mapping.h"

#include <algorithm>

#include "core/check.h"

namespace onnuri {

namespace {

void read_groups(const ConfigReader& config, MoeSpec& moe) {
  const int64_t groups = moe.router.num_groups = config.size("n_group");
  const int64_t kept = moe.router.num_groups_kept = config.size("topk_group");
  if (moe.num_experts % groups != 0)
    fail(ErrorCode::kCorruptData, "expected a number that divides the ", moe.num_experts,
         " experts at ", config.place("n_group"), ", found ", groups);
  if (kept > groups)
    fail(ErrorCode::kCorruptData, "expected at most n_group, ", groups, ", at ",
         config.place("topk_group"), ", found ", kept);
}

}  // namespace

MoeSpec read_sigmoid_moe(const ConfigReader& config, std::string_view shared_key,
                         bool groups_required) {
  MoeSpec moe;
  moe.num_experts = config.size_of_any({"num_experts", "n_routed_experts", "num_local_experts"});
  moe.num_experts_per_token = read_experts_per_token(config, moe.num_experts);
  moe.intermediate_size = config.size("moe_intermediate_size");
  config.integer(shared_key);  // required
  moe.shared_intermediate_size = read_shared_width(config, shared_key, moe.intermediate_size, 0);
  const std::string scoring = config.string_or("scoring_func", "sigmoid");
  if (scoring != "sigmoid")
    fail(ErrorCode::kUnsupported, "expected \"sigmoid\" at ", config.place("scoring_func"),
         ", found \"", scoring, "\"");
  moe.router.score = RouterScore::kSigmoid;
  moe.router.correction_bias = true;
  if (groups_required || config.has("n_group") || config.has("topk_group")) {
    read_groups(config, moe);
  }
  moe.router.renormalize = config.boolean("norm_topk_prob");
  moe.router.scale = static_cast<float>(config.positive("routed_scaling_factor"));
  return moe;
}

namespace {

std::vector<bool> layers_by_type(const ConfigReader& config) {
  std::vector<bool> sparse;
  for (const std::string& type : config.strings("mlp_layer_types")) {
    if (type != "dense" && type != "sparse")
      fail(ErrorCode::kUnsupported, "layer type \"", type, "\" at ",
           config.place("mlp_layer_types"), "; known: dense, sparse");
    sparse.push_back(type == "sparse");
  }
  return sparse;
}

std::vector<bool> layers_by_flag(const ConfigReader& config) {
  std::vector<bool> sparse;
  const std::string place = config.place("is_moe_layer");
  for (const JsonValue& item : config.find("is_moe_layer")->as_array(place))
    sparse.push_back(item.is_bool() ? item.as_bool(place) : item.as_int(place) != 0);
  return sparse;
}

std::vector<bool> layers_by_count(const ConfigReader& config, int64_t num_layers) {
  constexpr std::string_view kFirst = "first_k_dense_replace";
  constexpr std::string_view kFirstLast = "first_last_k_dense_replace";
  if (!config.has(kFirst) && !config.has(kFirstLast))
    fail(ErrorCode::kCorruptData, "missing key at ", config.place(kFirst), " or ", kFirstLast);
  const int64_t num_dense = config.count(config.has(kFirst) ? kFirst : kFirstLast);
  const int64_t period = config.size_or("moe_layer_freq", 1);
  std::vector<bool> sparse;
  for (int64_t i = 0; i < num_layers; ++i) sparse.push_back(i >= num_dense && i % period == 0);
  return sparse;
}

}  // namespace

std::vector<bool> read_expert_layers(const ConfigReader& config, int64_t num_layers) {
  const std::vector<bool> sparse = config.has("mlp_layer_types") ? layers_by_type(config)
                                   : config.has("is_moe_layer")
                                       ? layers_by_flag(config)
                                       : layers_by_count(config, num_layers);
  if (static_cast<int64_t>(sparse.size()) != num_layers)
    fail(ErrorCode::kCorruptData, "expected ", num_layers,
         " entries for dense and sparse layers in ", config.where(), ", found ", sparse.size());
  return sparse;
}

void set_expert_layers(const std::vector<bool>& sparse, DecoderConfig& decoder) {
  for (size_t i = 0; i < sparse.size(); ++i) {
    if (!sparse[i]) continue;
    decoder.layers[i].ffn = FfnKind::kMoe;
    decoder.layers[i].intermediate_size = 0;
  }
}

void read_gguf_experts(const ModelFiles& files, const ConfigReader& config,
                       DecoderConfig& decoder) {
  MoeSpec& moe = decoder.moe;
  moe.num_experts = config.size("expert_count");
  moe.num_experts_per_token = config.size("expert_used_count");
  moe.intermediate_size = config.size("expert_feed_forward_length");
  moe.shared_intermediate_size =
      config.has("expert_shared_feed_forward_length")
          ? config.size("expert_shared_feed_forward_length")
          : read_shared_width(config, "expert_shared_count", moe.intermediate_size, 0);
  moe.router.renormalize = config.boolean_or("expert_weights_norm", false);
  moe.router.scale = static_cast<float>(config.nonzero_or("expert_weights_scale", 1.0));
  moe.router.num_groups = std::max<int64_t>(1, config.integer_or("expert_group_count", 1));
  moe.router.num_groups_kept =
      std::max<int64_t>(1, config.integer_or("expert_group_used_count", moe.router.num_groups));
  const int64_t num_dense = config.integer_or("leading_dense_block_count", 0);
  if (num_dense < 0 || num_dense > decoder.num_layers())
    fail(ErrorCode::kCorruptData, "expected 0 to ", decoder.num_layers(), " at ",
         config.place("leading_dense_block_count"), ", found ", num_dense);
  const std::string first = "blk." + std::to_string(num_dense) + ".exp_probs_b";
  moe.router.correction_bias =
      !files.checkpoint->find(first + ".bias").empty() || !files.checkpoint->find(first).empty();
  std::vector<bool> sparse;
  for (int64_t i = 0; i < decoder.num_layers(); ++i) sparse.push_back(i >= num_dense);
  set_expert_layers(sparse, decoder);
}

void require_gguf_gating(const ConfigReader& config, GgufGating expected, bool required) {
  constexpr std::string_view kKey = "expert_gating_func";
  if (!required && config.integer_or(kKey, 0) == 0) return;
  const int64_t found = config.integer(kKey);
  if (found != static_cast<int64_t>(expected))
    fail(ErrorCode::kUnsupported, "expected ", static_cast<int64_t>(expected), " at ",
         config.place(kKey), ", found ", found);
}

}  // namespace onnuri
