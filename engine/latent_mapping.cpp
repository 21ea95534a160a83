// Key names: transformers (configuration_deepseek_v3.py and its relatives), and for GGUF the keys
// of llama.cpp's deepseek2 architecture.
#include "engine/latent_mapping.h"

#include <algorithm>
#include <cmath>

#include "core/check.h"
#include "engine/gguf_mapping.h"

namespace onnuri {
namespace {

constexpr int64_t kMaxWidth = 4096;

int64_t width(const ConfigReader& config, std::string_view key) {
  const int64_t value = config.size(key);
  if (value > kMaxWidth)
    fail(ErrorCode::kCorruptData, "expected at most ", kMaxWidth, " at ", config.place(key),
         ", found ", value);
  return value;
}

void finish_latent(DecoderConfig& decoder, int64_t num_layers, const std::string& where) {
  if (num_layers < 1 || num_layers > kMaxDecoderLayers)
    fail(ErrorCode::kCorruptData, "expected 1 to ", kMaxDecoderLayers, " layers in ", where,
         ", found ", num_layers);
  const MlaSpec& mla = decoder.mla;
  decoder.num_kv_heads = 1;
  decoder.head_dim = mla.qk_nope_dim + mla.qk_rope_dim;
  decoder.v_dim = mla.v_dim;
  decoder.attention_scale = latent_attention_scale(mla, {});
  decoder.layers.resize(static_cast<size_t>(num_layers));
  for (LayerSpec& layer : decoder.layers) {
    layer.mixer = MixerKind::kMla;
    layer.rope = 0;
  }
}

// Widths that follow from others and that some writers store too.
void check_derived_widths(const ConfigReader& config, const MlaSpec& mla) {
  const int64_t whole = mla.qk_nope_dim + mla.qk_rope_dim;
  if (config.size_or("qk_head_dim", whole) != whole)
    fail(ErrorCode::kCorruptData, "expected qk_nope_head_dim + qk_rope_head_dim = ", whole, " at ",
         config.place("qk_head_dim"), ", found ", config.size("qk_head_dim"));
  // Writers mean different parts of a head by this one.
  const int64_t dim = config.size_or("head_dim", whole);
  if (dim != whole && dim != mla.qk_rope_dim && dim != mla.qk_nope_dim && dim != mla.v_dim)
    fail(ErrorCode::kCorruptData, "expected ", mla.qk_rope_dim, ", the width that turns, at ",
         config.place("head_dim"), ", found ", dim);
}

}  // namespace

void require_layer_types(const ConfigReader& config, int64_t num_layers,
                         std::initializer_list<std::string_view> kinds) {
  if (!config.has("layer_types")) return;
  const std::vector<std::string> types = config.strings("layer_types");
  if (static_cast<int64_t>(types.size()) != num_layers)
    fail(ErrorCode::kCorruptData, "expected ", num_layers, " entries at ",
         config.place("layer_types"), ", found ", types.size());
  for (const std::string& type : types)
    if (std::find(kinds.begin(), kinds.end(), type) == kinds.end())
      fail(ErrorCode::kUnsupported, "expected layer type \"", *kinds.begin(), "\" at ",
           config.place("layer_types"), ", found \"", type, "\"");
}

DecoderConfig read_latent_decoder(const ConfigReader& config) {
  DecoderConfig out;
  out.vocab_size = config.size("vocab_size");
  out.hidden_size = config.size("hidden_size");
  out.num_heads = config.size("num_attention_heads");
  if (config.size_or("num_key_value_heads", out.num_heads) != out.num_heads)
    fail(ErrorCode::kUnsupported, "expected ", out.num_heads, " at ",
         config.place("num_key_value_heads"),
         ": latent attention has as many key heads as query heads");
  out.max_position = config.size("max_position_embeddings");
  out.norm_eps = static_cast<float>(config.positive("rms_norm_eps"));
  out.tied_head = config.boolean_or("tie_word_embeddings", false);
  // Null means that queries come straight from the stream; classes differ in what absent means.
  if (config.has("q_lora_rank") || !config.contains("q_lora_rank"))
    out.mla.q_lora_rank = config.size("q_lora_rank");
  out.mla.kv_lora_rank = width(config, "kv_lora_rank");
  out.mla.qk_nope_dim = width(config, "qk_nope_head_dim");
  out.mla.qk_rope_dim = width(config, "qk_rope_head_dim");
  out.mla.v_dim = width(config, "v_head_dim");
  check_derived_widths(config, out.mla);
  finish_latent(out, config.size("num_hidden_layers"), config.where());
  const int64_t intermediate = config.size("intermediate_size");
  const bool bias = config.boolean_or("attention_bias", false);
  for (LayerSpec& layer : out.layers) {
    layer.intermediate_size = intermediate;
    layer.q_bias = bias && out.mla.q_lora_rank > 0;
    layer.k_bias = layer.o_bias = bias;
  }
  return out;
}

float latent_attention_scale(const MlaSpec& mla, const RopeScaling& scaling) {
  double scale = 1.0 / std::sqrt(static_cast<double>(mla.qk_nope_dim + mla.qk_rope_dim));
  if (scaling.kind == RopeScaling::Kind::kYarn && scaling.mscale_all_dim != 0.0 &&
      scaling.factor > 1.0) {
    const double mscale = 0.1 * scaling.mscale_all_dim * std::log(scaling.factor) + 1.0;
    scale *= mscale * mscale;
  }
  return static_cast<float>(scale);
}

void set_latent_rope(const ConfigReader& config, RopeLayout layout, DecoderConfig& decoder) {
  const RopeSettings rope = read_rope(config, decoder.mla.qk_rope_dim, "", 0);
  decoder.rope_tables = {make_table(rope, layout)};
  decoder.attention_scale = latent_attention_scale(decoder.mla, rope.scaling);
}

IndexSpec read_index(const ConfigReader& config) {
  IndexSpec index;
  index.num_heads = config.size("index_n_heads");
  index.head_dim = width(config, "index_head_dim");
  index.top_k = config.size("index_topk");
  return index;
}

void add_latent_names(NameTable& table, const std::vector<std::string>& prefixes) {
  const std::pair<const char*, const char*> names[] = {
      {"q_a.weight", "q_a_proj.weight"},
      {"q_a.bias", "q_a_proj.bias"},
      {"q_a_norm.weight", "q_a_layernorm.weight"},
      {"q_b.weight", "q_b_proj.weight"},
      {"kv_a.weight", "kv_a_proj_with_mqa.weight"},
      {"kv_a.bias", "kv_a_proj_with_mqa.bias"},
      {"kv_a_norm.weight", "kv_a_layernorm.weight"},
      {"kv_b.weight", "kv_b_proj.weight"}};
  for (const auto& [canonical, stored] : names)
    for (const std::string& prefix : prefixes)
      table.add(std::string("layers.#.") + canonical, {{prefix + "layers.#.self_attn." + stored}});
}

void add_index_names(NameTable& table, const std::vector<std::string>& prefixes) {
  const std::pair<const char*, const char*> names[] = {{"q.weight", "wq_b.weight"},
                                                       {"k.weight", "wk.weight"},
                                                       {"weights.weight", "weights_proj.weight"},
                                                       {"k_norm.weight", "k_norm.weight"},
                                                       {"k_norm.bias", "k_norm.bias"}};
  for (const auto& [canonical, stored] : names)
    for (const std::string& prefix : prefixes)
      table.add(std::string("layers.#.index.") + canonical,
                {{prefix + "layers.#.self_attn.indexer." + stored}});
}

void add_gguf_latent_names(NameTable& table) {
  const std::pair<const char*, const char*> names[] = {{"q_a", "attn_q_a"},
                                                       {"q_a_norm", "attn_q_a_norm"},
                                                       {"q_b", "attn_q_b"},
                                                       {"kv_a", "attn_kv_a_mqa"},
                                                       {"kv_a_norm", "attn_kv_a_norm"},
                                                       {"kv_b", "attn_kv_b"},
                                                       {"k_b", "attn_k_b"},
                                                       {"v_b", "attn_v_b"}};
  for (const auto& [canonical, stored] : names)
    table.add(std::string("layers.#.") + canonical + ".weight",
              {{std::string("blk.#.") + stored + ".weight"}});
}

DecoderConfig read_gguf_latent_decoder(const ModelFiles& files, const ConfigReader& config) {
  DecoderConfig out = read_gguf_sizes(files, config, config.integer_or("nextn_predict_layers", 0));
  MlaSpec& mla = out.mla;
  if (!files.checkpoint->find("blk.0.attn_q_a.weight").empty())
    mla.q_lora_rank = config.size("attention.q_lora_rank");
  mla.kv_lora_rank = width(config, "attention.kv_lora_rank");
  mla.qk_rope_dim = width(config, "rope.dimension_count");
  // Files from before the split of kv_b have the widths of a head under the shorter names.
  const bool split = config.has("attention.key_length_mla");
  const char* key = split ? "attention.key_length_mla" : "attention.key_length";
  mla.qk_nope_dim = width(config, key) - mla.qk_rope_dim;
  if (mla.qk_nope_dim < 1)
    fail(ErrorCode::kCorruptData, "expected more than ", mla.qk_rope_dim, " at ", config.place(key),
         ", found ", config.size(key));
  mla.v_dim = width(config, split ? "attention.value_length_mla" : "attention.value_length");
  finish_latent(out, out.num_layers(), files.path);
  out.rope_tables = {read_gguf_rope(files, config, mla.qk_rope_dim, RopeLayout::kPairs)};
  // The stored number is a tenth of mscale_all_dim; mscale is the same, so cosines keep their size.
  const double log_multiplier = config.nonzero_or("rope.scaling.yarn_log_multiplier", 0.0);
  if (config.string_or("rope.scaling.type", "none") == "yarn" && log_multiplier != 0.0) {
    RopeScaling scaling;
    scaling.kind = RopeScaling::Kind::kYarn;
    scaling.factor = config.positive("rope.scaling.factor");
    scaling.mscale_all_dim = 10.0 * log_multiplier;
    out.attention_scale = latent_attention_scale(mla, scaling);
    out.rope_tables[0].attention_factor = 1.0f;
  }
  return out;
}

}  // namespace onnuri
