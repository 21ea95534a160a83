// What a decoder config must fulfil, and the parameters that it implies.
#include "decoder/decoder_config.h"

#include <algorithm>
#include <cmath>

#include "core/check.h"

namespace onnuri {
namespace {

// Far above any model, and small enough that no product of three sizes overflows.
constexpr int64_t kMaxSize = int64_t{1} << 20;
constexpr int64_t kMaxVocab = int64_t{1} << 24;
constexpr int64_t kMaxLayers = 4096;

void check_size(const std::string& name, int64_t value, int64_t max = kMaxSize) {
  if (value < 1 || value > max) {
    fail(ErrorCode::kCorruptData, "expected ", name, " in [1, ", max, "], found ", value);
  }
}

void check_finite(const std::string& name, float value) {
  if (!std::isfinite(value)) {
    fail(ErrorCode::kCorruptData, "expected a finite ", name, ", found ", value);
  }
}

[[noreturn]] void unsupported(const std::string& where, const char* field) {
  fail(ErrorCode::kUnsupported, where, ": this build does not run ", field, " yet");
}

void check_rope(const RopeTable& table, const std::string& where, int64_t head_dim) {
  const int64_t half = table.rotary_dim / 2;
  if (table.rotary_dim < 2 || table.rotary_dim % 2 != 0 || table.rotary_dim > head_dim) {
    fail(ErrorCode::kCorruptData, "expected an even rotary_dim in [2, head_dim = ", head_dim,
         "] in ", where, ", found ", table.rotary_dim);
  }
  if (static_cast<int64_t>(table.inv_freq.size()) != half) {
    fail(ErrorCode::kCorruptData, "expected ", half, " frequencies in ", where, ", found ",
         table.inv_freq.size());
  }
  for (const float f : table.inv_freq) check_finite("frequency in " + where, f);
  check_finite("attention_factor in " + where, table.attention_factor);
  if (table.mrope_sections.empty()) return;
  if (table.mrope_sections.size() != 3) {
    fail(ErrorCode::kCorruptData, "expected 3 M-RoPE sections in ", where, ", found ",
         table.mrope_sections.size());
  }
  int64_t sum = 0;
  for (const int64_t section : table.mrope_sections) {
    if (section < 0 || section > half - sum) {
      sum = -1;
      break;
    }
    sum += section;
  }
  if (sum != half) {
    fail(ErrorCode::kCorruptData, "expected M-RoPE sections that sum to ", half, " in ", where,
         ", found ", table.mrope_sections[0], ", ", table.mrope_sections[1], ", ",
         table.mrope_sections[2]);
  }
}

void check_moe(const MoeSpec& moe) {
  check_size("moe.num_experts", moe.num_experts, int64_t{1} << 16);
  check_size("moe.num_experts_per_token", moe.num_experts_per_token, moe.num_experts);
  check_size("moe.intermediate_size", moe.intermediate_size);
  if (moe.shared_intermediate_size != 0) {
    check_size("moe.shared_intermediate_size", moe.shared_intermediate_size);
  }
  const RouterSpec& router = moe.router;
  check_finite("router scale", router.scale);
  check_size("router num_groups", router.num_groups, moe.num_experts);
  check_size("router num_groups_kept", router.num_groups_kept, router.num_groups);
  if (moe.num_experts % router.num_groups != 0) {
    fail(ErrorCode::kCorruptData, "expected num_groups to divide ", moe.num_experts,
         " experts, found ", router.num_groups);
  }
  const int64_t reachable = moe.num_experts / router.num_groups * router.num_groups_kept;
  check_size("moe.num_experts_per_token within the kept groups", moe.num_experts_per_token,
             reachable);
}

void check_latent(const DecoderConfig& config, const LayerSpec& layer, const std::string& where) {
  const MlaSpec& m = config.mla;
  if (layer.qk_norm) unsupported(where, "qk_norm with latent attention");
  if (layer.v_bias) unsupported(where, "v_bias with latent attention");
  if (m.q_lora_rank != 0) check_size("mla.q_lora_rank", m.q_lora_rank);
  check_size("mla.kv_lora_rank", m.kv_lora_rank, int64_t{1} << 14);
  check_size("mla.qk_nope_dim", m.qk_nope_dim, config.head_dim);
  check_size("mla.qk_rope_dim", m.qk_rope_dim, config.head_dim);
  if (m.qk_nope_dim + m.qk_rope_dim != config.head_dim || m.v_dim != config.v_dim ||
      config.num_kv_heads != 1) {
    fail(ErrorCode::kCorruptData, "expected head_dim ", m.qk_nope_dim + m.qk_rope_dim, ", v_dim ",
         m.v_dim, " and one key head with latent attention in ", where, ", found ", config.head_dim,
         ", ", config.v_dim, " and ", config.num_kv_heads);
  }
  if (!(m.norm_eps >= 0.0f) || m.norm_eps > 1.0f) {
    fail(ErrorCode::kCorruptData, "expected mla.norm_eps in [0, 1], found ", m.norm_eps);
  }
  if (layer.rope >= 0 && layer.rope < static_cast<int>(config.rope_tables.size()) &&
      config.rope_tables[static_cast<size_t>(layer.rope)].rotary_dim > m.qk_rope_dim) {
    fail(ErrorCode::kCorruptData, "expected at most ", m.qk_rope_dim, " rotary columns in ", where,
         ", found ", config.rope_tables[static_cast<size_t>(layer.rope)].rotary_dim);
  }
  if (layer.output_gate && m.q_lora_rank == 0)
    unsupported(where, "output_gate without q_lora_rank");
  if (!layer.sparse_index) return;
  if (m.q_lora_rank == 0) unsupported(where, "sparse_index without q_lora_rank");
  if (layer.window > 0) unsupported(where, "sparse_index with a window");
  check_size("mla.index.num_heads", m.index.num_heads, int64_t{1} << 12);
  check_size("mla.index.head_dim", m.index.head_dim, int64_t{1} << 12);
  check_size("mla.index.top_k", m.index.top_k, int64_t{1} << 24);
  if (m.index.head_dim < m.qk_rope_dim) {
    fail(ErrorCode::kCorruptData, "expected mla.index.head_dim of at least ", m.qk_rope_dim,
         " rotary columns, found ", m.index.head_dim);
  }
}

bool is_differential(const LayerSpec& layer) {
  return layer.mixer == MixerKind::kDifferential || layer.mixer == MixerKind::kGroupedDifferential;
}

void check_differential(const DecoderConfig& c, const LayerSpec& layer, const std::string& where) {
  const int64_t noise = c.differential.num_noise_heads;
  const int64_t pairs = c.num_kv_heads / 2;
  check_size("num_noise_heads", noise, c.num_heads);
  const bool plain = layer.mixer == MixerKind::kDifferential;
  if (c.num_heads % noise != 0 || c.num_heads == noise || (plain && c.num_heads != 2 * noise)) {
    fail(ErrorCode::kCorruptData, "expected ", c.num_heads, " query heads in groups of ",
         plain ? "one signal head" : "signal heads", " and one noise head in ", where, ", found ",
         noise, " noise heads");
  }
  if (c.num_kv_heads % 2 != 0 || noise % pairs != 0) {
    fail(ErrorCode::kCorruptData, "expected pairs of key heads that divide ", noise,
         " noise heads in ", where, ", found ", c.num_kv_heads, " key heads");
  }
  if (c.v_dim != c.head_dim) {
    fail(ErrorCode::kCorruptData, "expected values as wide as keys, ", c.head_dim, ", in ", where,
         ", found ", c.v_dim);
  }
  if (!(c.differential.norm_eps >= 0.0f) || c.differential.norm_eps > 1.0f) {
    fail(ErrorCode::kCorruptData, "expected a differential norm_eps in [0, 1], found ",
         c.differential.norm_eps);
  }
  check_finite("lambda_init in " + where, layer.lambda_init);
  if (layer.qk_norm) unsupported(where, "qk_norm with differential attention");
  if (layer.sinks) unsupported(where, "sinks with differential attention");
}

void check_delta(const DeltaSpec& delta, const LayerSpec& layer, const std::string& where) {
  check_size("delta.num_k_heads", delta.num_k_heads, int64_t{1} << 14);
  check_size("delta.num_v_heads", delta.num_v_heads, int64_t{1} << 14);
  check_size("delta.k_dim", delta.k_dim, int64_t{1} << 12);
  check_size("delta.v_dim", delta.v_dim, int64_t{1} << 12);
  check_size("delta.conv_taps", delta.conv_taps, 64);
  if (delta.num_v_heads % delta.num_k_heads != 0) {
    fail(ErrorCode::kCorruptData,
         "expected delta.num_k_heads to divide delta.num_v_heads = ", delta.num_v_heads, " in ",
         where, ", found ", delta.num_k_heads);
  }
  if (layer.window > 0) unsupported(where, "windows of linear attention");
  if (layer.qk_norm || layer.q_bias || layer.k_bias || layer.v_bias || layer.sinks ||
      layer.output_gate) {
    unsupported(where, "biases, sinks, qk_norm or output_gate with linear attention");
  }
}

void check_layer(const DecoderConfig& config, const LayerSpec& layer, const std::string& where) {
  if (layer.mixer == MixerKind::kMla) {
    check_latent(config, layer, where);
  } else {
    if (is_differential(layer)) check_differential(config, layer, where);
    if (layer.is_linear()) check_delta(config.delta, layer, where);
    if (layer.output_gate && (layer.mixer != MixerKind::kGqa || config.v_dim != config.head_dim))
      unsupported(where, "output_gate");
    if (layer.sparse_index) unsupported(where, "sparse_index");
  }
  if (layer.mixer == MixerKind::kGqa && config.num_heads % config.num_kv_heads != 0) {
    fail(ErrorCode::kCorruptData, "expected num_kv_heads to divide num_heads = ", config.num_heads,
         " in ", where, ", found ", config.num_kv_heads);
  }
  const bool gated = (layer.pre_mixer_norm && layer.pre_mixer_norm_gate) ||
                     (layer.pre_ffn_norm && layer.pre_ffn_norm_gate);
  if (gated && config.norm_form != NormForm::kGated) {
    fail(ErrorCode::kCorruptData, "expected the gated norm form for a gated norm in ", where);
  }
  if (layer.window < 0 || layer.window > (int64_t{1} << 31)) {
    fail(ErrorCode::kCorruptData, "expected a window of 0 (full) or more in ", where, ", found ",
         layer.window);
  }
  const auto num_tables = static_cast<int64_t>(config.rope_tables.size());
  if (layer.rope < -1 || layer.rope >= num_tables) {
    fail(ErrorCode::kCorruptData, "expected rope -1 or below ", num_tables, " in ", where,
         ", found ", layer.rope);
  }
  const GluParams& glu = layer.activation;
  const bool clamped = glu.kind == GluKind::kClampedSilu || glu.kind == GluKind::kSwigluPlus1;
  if (clamped && !(glu.limit > 0.0f)) {
    fail(ErrorCode::kCorruptData, "expected a positive activation limit in ", where, ", found ",
         glu.limit);
  }
  if (layer.ffn == FfnKind::kMoe) {
    if (glu.kind == GluKind::kPolyNorm) unsupported(where, "kPolyNorm in experts");
    check_moe(config.moe);
  } else {
    check_size("intermediate_size in " + where, layer.intermediate_size);
  }
}

int64_t mixer_parameters(const DecoderConfig& c, const LayerSpec& layer) {
  const int64_t h = c.hidden_size;
  if (layer.mixer == MixerKind::kMla) {
    const MlaSpec& m = c.mla;
    const int64_t q_width =
        c.num_heads * (m.qk_nope_dim + m.qk_rope_dim + (layer.output_gate ? m.v_dim : 0));
    const int64_t q_input = m.q_lora_rank * (layer.output_gate ? 2 : 1);
    const int64_t q = m.q_lora_rank > 0 ? (h + 1) * m.q_lora_rank + q_input * q_width : h * q_width;
    const int64_t kv =
        h * m.key_row() + m.kv_lora_rank + m.kv_lora_rank * c.num_heads * (m.qk_nope_dim + m.v_dim);
    const int64_t biases = (layer.q_bias ? m.q_lora_rank : 0) + (layer.k_bias ? m.key_row() : 0) +
                           (layer.o_bias ? h : 0) + (layer.sinks ? c.num_heads : 0);
    const int64_t index =
        layer.sparse_index ? m.q_lora_rank * m.index.num_heads * m.index.head_dim +
                                 h * (m.index.head_dim + m.index.num_heads) + 2 * m.index.head_dim
                           : 0;
    return q + kv + c.num_heads * m.v_dim * h + biases + index;
  }
  if (layer.is_linear()) {
    const DeltaSpec& d = c.delta;
    const int64_t values = d.num_v_heads * d.v_dim;
    const int64_t inputs = 2 * d.num_k_heads * d.k_dim + values;
    return h * (inputs + values + 2 * d.num_v_heads) + inputs * d.conv_taps + 2 * d.num_v_heads +
           d.v_dim + values * h + (layer.o_bias ? h : 0);
  }
  const int64_t q = c.num_heads * (c.head_dim + (layer.output_gate ? c.v_dim : 0));
  const int64_t k = c.num_kv_heads * c.head_dim;
  const int64_t v = c.num_kv_heads * c.v_dim;
  int64_t n = h * (q + k + v);
  if (is_differential(layer)) {
    n += (c.num_heads - c.differential.num_noise_heads) * 2 * c.v_dim * h;
    n += 4 * c.head_dim + 2 * c.head_dim;  // the lambdas, head_norm
  } else {
    n += c.num_heads * c.v_dim * h;
  }
  n += (layer.q_bias ? q : 0) + (layer.k_bias ? k : 0) + (layer.v_bias ? v : 0);
  n += (layer.o_bias ? h : 0) + (layer.sinks ? c.num_heads : 0);
  return n + (layer.qk_norm ? 2 * c.head_dim : 0);
}

// `num_experts` routed experts are counted: all of them, or those that one token visits.
int64_t ffn_parameters(const DecoderConfig& c, const LayerSpec& layer, int64_t num_experts) {
  const int64_t h = c.hidden_size;
  if (layer.ffn == FfnKind::kDense) {
    const int64_t bias = layer.ffn_bias ? 2 * layer.intermediate_size + h : 0;
    const int64_t poly = layer.activation.kind == GluKind::kPolyNorm ? 4 : 0;
    return 3 * h * layer.intermediate_size + bias + poly;
  }
  const MoeSpec& m = c.moe;
  const int64_t expert =
      3 * h * m.intermediate_size + (m.expert_bias ? 2 * m.intermediate_size + h : 0);
  const int64_t router =
      m.num_experts * (h + (m.router.correction_bias ? 1 : 0) + (m.router.logit_bias ? 1 : 0));
  const int64_t shared_gate = m.shared_gate && m.shared_intermediate_size > 0 ? h : 0;
  return router + num_experts * expert + 3 * h * m.shared_intermediate_size + shared_gate;
}

int64_t count_parameters(const DecoderConfig& c, int64_t num_experts) {
  int64_t n = c.vocab_size * c.hidden_size * (c.tied_head ? 1 : 2) + c.hidden_size;
  for (const LayerSpec& layer : c.layers) {
    const int64_t norms = int64_t{layer.pre_mixer_norm} + int64_t{layer.post_mixer_norm} +
                          int64_t{layer.pre_ffn_norm} + int64_t{layer.post_ffn_norm};
    const int64_t gates = int64_t{layer.pre_mixer_norm && layer.pre_mixer_norm_gate} +
                          int64_t{layer.pre_ffn_norm && layer.pre_ffn_norm_gate};
    n += gates * 2 * c.norm_gate_rank * c.hidden_size;
    n += norms * c.hidden_size + mixer_parameters(c, layer) + ffn_parameters(c, layer, num_experts);
  }
  if (c.mtp.num_layers > 0) {
    DecoderConfig module = c;
    module.mtp.num_layers = 0;
    module.layers = {c.mtp.layer};
    const int64_t shared = c.vocab_size * c.hidden_size * (c.tied_head ? 1 : 2);
    n += count_parameters(module, num_experts) - shared;         // its layer and norm
    n += 2 * c.hidden_size + 2 * c.hidden_size * c.hidden_size;  // two norms, the join
  }
  return n;
}

}  // namespace

int64_t DecoderConfig::position_axes() const {
  const bool multi = std::any_of(rope_tables.begin(), rope_tables.end(),
                                 [](const RopeTable& t) { return !t.mrope_sections.empty(); });
  return multi ? 3 : 1;
}

void DecoderConfig::validate() const {
  check_size("vocab_size", vocab_size, kMaxVocab);
  check_size("hidden_size", hidden_size);
  check_size("num_heads", num_heads, int64_t{1} << 14);
  check_size("num_kv_heads", num_kv_heads, num_heads);
  check_size("head_dim", head_dim, int64_t{1} << 14);
  check_size("v_dim", v_dim, int64_t{1} << 14);
  check_size("number of layers", num_layers(), kMaxLayers);
  if (norm_form == NormForm::kGated) check_size("norm_gate_rank", norm_gate_rank, hidden_size);
  if (!(norm_eps >= 0.0f) || norm_eps > 1.0f) {
    fail(ErrorCode::kCorruptData, "expected norm_eps in [0, 1], found ", norm_eps);
  }
  check_finite("embed_scale", embed_scale);
  check_finite("residual_scale", residual_scale);
  check_finite("attention_scale", attention_scale);
  check_finite("logit_scale", logit_scale);
  for (size_t i = 0; i < rope_tables.size(); ++i) {
    check_rope(rope_tables[i], "rope table " + std::to_string(i), head_dim);
  }
  for (size_t i = 0; i < layers.size(); ++i) {
    check_layer(*this, layers[i], "layer " + std::to_string(i));
  }
  if (mtp.num_layers != 0) {
    check_size("mtp.num_layers", mtp.num_layers, 1);
    check_size("mtp.num_steps", mtp.num_steps, 64);
    check_layer(*this, mtp.layer, "the prediction module");
  }
  for (const LongSkip& skip : long_skips) {
    if (skip.save_before_layer < 0 || skip.save_before_layer > skip.blend_before_layer ||
        skip.blend_before_layer >= num_layers()) {
      fail(ErrorCode::kCorruptData, "expected a long skip inside ", num_layers(),
           " layers, found one from ", skip.save_before_layer, " to ", skip.blend_before_layer);
    }
    check_finite("long skip weight", skip.saved_weight);
  }
}

int64_t DecoderConfig::num_parameters() const {
  return count_parameters(*this, moe.num_experts) + unused_parameters;
}

int64_t DecoderConfig::num_active_parameters() const {
  return count_parameters(*this, moe.num_experts_per_token);
}

}  // namespace onnuri
