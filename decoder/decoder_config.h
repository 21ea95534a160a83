// The decoder as data: one struct describes every text decoder that Onnuri runs.
//
// A family fills it once; the maths reads it and never asks which model it is. The whole model:
//
//   h      = embed[id] * embed_scale
//   h     += residual_scale * post_mixer_norm?(mixer(pre_mixer_norm?(h)))
//   h     += residual_scale * post_ffn_norm?(ffn(pre_ffn_norm?(h)))
//   logits = head(norm(h)) * logit_scale
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "kernels/ops.h"

namespace onnuri {

enum class NormForm {
  kWeight,         // x_hat * w
  kOnePlusWeight,  // x_hat * (1 + w)
  kGated,          // y = x_hat * w; at the gated sites y * sigmoid(up(silu(down(y))))
};

/// One table of rotary frequencies, scaling already applied.
struct RopeTable {
  int64_t rotary_dim = 0;         // columns that rotate
  std::vector<float> inv_freq;    // (rotary_dim / 2)
  float attention_factor = 1.0f;  // multiplies cos and sin
  RopeLayout layout = RopeLayout::kHalf;
  // Multi-axis positions (T, H, W): how many frequencies each axis owns; empty for one axis.
  std::vector<int64_t> mrope_sections;
  bool mrope_interleaved = false;  // axes alternate instead of following one another
};

enum class MixerKind { kGqa, kMla, kDifferential, kGroupedDifferential, kGatedDelta };
enum class FfnKind { kDense, kMoe };

struct LayerSpec {
  // Mixer
  MixerKind mixer = MixerKind::kGqa;
  int64_t window = 0;    // 0: full attention; else keys seen, the own one included
  int rope = -1;         // index into DecoderConfig::rope_tables; -1: no positions
  bool qk_norm = false;  // RMS norm per head on q and k, before rope
  bool q_bias = false, k_bias = false, v_bias = false, o_bias = false;
  bool sinks = false;         // one learned extra softmax logit per head
  float lambda_init = 0.0f;   // of differential attention
  bool output_gate = false;   // attention output times sigmoid(gate); kGqa and kMla
  bool sparse_index = false;  // keys chosen by an indexer (kMla only)
  // Norm sites
  bool pre_mixer_norm = true;
  bool post_mixer_norm = false;
  bool pre_ffn_norm = true;
  bool post_ffn_norm = false;
  bool pre_mixer_norm_gate = false;  // these sites are gated (NormForm::kGated)
  bool pre_ffn_norm_gate = false;
  // Feed-forward
  FfnKind ffn = FfnKind::kDense;
  int64_t intermediate_size = 0;  // of the dense FFN
  bool ffn_bias = false;          // gate, up and down biases of the dense FFN
  GluParams activation;

  /// Whether it keeps a state of fixed size instead of keys and values.
  bool is_linear() const { return mixer == MixerKind::kGatedDelta; }
  /// Whether it keeps the keys and values of all tokens.
  bool is_full() const { return window == 0 && !is_linear(); }
};

enum class RouterScore { kSoftmax, kSigmoid, kSoftmaxAfterTopk };
enum class GroupScore { kSumOfTop2, kMax };

/// Which experts a token visits, and with what weight.
struct RouterSpec {
  RouterScore score = RouterScore::kSoftmax;
  bool correction_bias = false;  // added for the choice only, never to the weights
  bool logit_bias = false;
  int64_t num_groups = 1;
  int64_t num_groups_kept = 1;
  GroupScore group_score = GroupScore::kSumOfTop2;
  bool mask_with_zero = false;  // excluded groups score 0 instead of -inf
  bool renormalize = true;      // weights sum to one before scaling
  float scale = 1.0f;
};

struct MoeSpec {
  int64_t num_experts = 0;
  int64_t num_experts_per_token = 0;
  int64_t intermediate_size = 0;         // of one routed expert
  int64_t shared_intermediate_size = 0;  // all shared experts fused; 0: none
  bool expert_bias = false;
  RouterSpec router;
  bool shared_gate = false;  // the shared experts' result times sigmoid(gate x)
};

/// Chooses the keys of a query: the top_k largest of sum_h w_h relu(q_h k / sqrt(head_dim))
/// (arXiv 2512.02556, section 2.1). Rope turns the first qk_rope_dim columns, as halves.
struct IndexSpec {
  int64_t num_heads = 0;
  int64_t head_dim = 0;
  int64_t top_k = 0;
  float norm_eps = 1e-6f;  // of the layer norm on its keys
};

/// Multi-head latent attention ranks (arXiv 2405.04434, section 2.1). In a decoder of such layers
/// num_kv_heads is 1, head_dim is qk_nope_dim + qk_rope_dim, v_dim is v_dim; in LayerSpec q_bias
/// and k_bias stand for the biases of q_a and kv_a.
struct MlaSpec {
  int64_t q_lora_rank = 0;  // 0: plain q projection
  int64_t kv_lora_rank = 0;
  int64_t qk_nope_dim = 0;
  int64_t qk_rope_dim = 0;
  int64_t v_dim = 0;
  float norm_eps = 1e-6f;  // of the norms on both latents
  IndexSpec index = {};
  // Rows of a prompt in whole blocks of this many, counted from its start, read keys and values
  // that are expanded from the latents, the rest the latents themselves; 0: all do. Equal but for
  // rounding, and by position alone, so that the bits do not depend on how a prompt is cut.
  int64_t prompt_block = 512;
  int64_t key_row() const { return kv_lora_rank + qk_rope_dim; }  // numbers cached per token
};

/// Differential attention: what a noise head attends to is subtracted from the signal heads of its
/// group. Query heads come in groups of some signal heads and, last, their noise head; key heads in
/// pairs of a signal and a noise head; the values of a pair are one value of twice the width:
///
///   out_s = (1 - lambda_init) * head_norm(softmax(q_s k_signal) v - lambda softmax(q_n k_noise) v)
///   lambda = exp(lambda_q1 . lambda_k1) - exp(lambda_q2 . lambda_k2) + lambda_init
///
/// kDifferential has one signal head per noise head (arXiv 2410.05258), kGroupedDifferential
/// several (arXiv 2510.06949).
struct DifferentialSpec {
  int64_t num_noise_heads = 0;  // of the num_heads query heads
  float norm_eps = 1e-5f;       // of head_norm
};

/// Linear attention with the gated delta rule (arXiv 2412.06464), of kGatedDelta layers.
struct DeltaSpec {
  int64_t num_k_heads = 0;  // of q and k; each serves num_v_heads / num_k_heads value heads
  int64_t num_v_heads = 0;
  int64_t k_dim = 0;
  int64_t v_dim = 0;
  int64_t conv_taps = 0;  // rows that the convolution before it sees, its own among them
};

/// The residual stream saved before one layer is blended in before another.
struct LongSkip {
  int64_t save_before_layer = 0;
  int64_t blend_before_layer = 0;
  float saved_weight = 1.0f;
};

/// Multi-token prediction: one extra layer that guesses the token after next (arXiv 2412.19437,
/// section 2.2):
///
///   x      = join(concat(embed_norm(embed[next id]), hidden_norm(hidden)))
///   logits = head(norm(layer(x)))
///
/// `hidden` is the trunk's row, and with several steps the module's own row of the step before.
struct MtpSpec {
  int64_t num_layers = 0;        // 1, or 0 without a module
  int64_t num_steps = 1;         // how often the checkpoint means it to be applied in a row
  bool normed_hidden = true;     // the trunk's row is taken after its final norm
  bool normed_recursion = true;  // the module's own row is taken after `norm`
  LayerSpec layer;
};

struct DecoderConfig {
  int64_t vocab_size = 0;
  int64_t hidden_size = 0;
  int64_t num_heads = 0;
  int64_t num_kv_heads = 0;
  int64_t head_dim = 0;  // of q and k, independent of hidden_size
  int64_t v_dim = 0;     // of v
  int64_t max_position = 0;

  NormForm norm_form = NormForm::kWeight;
  int64_t norm_gate_rank = 0;  // of kGated
  float norm_eps = 1e-6f;
  float embed_scale = 1.0f;
  bool scales_media = false;  // embed_scale also on rows that come as they are
  float residual_scale = 1.0f;
  float attention_scale = 1.0f;
  float logit_scale = 1.0f;

  std::vector<RopeTable> rope_tables;
  std::vector<LayerSpec> layers;
  MoeSpec moe;
  MlaSpec mla;
  DifferentialSpec differential;
  DeltaSpec delta;
  std::vector<LongSkip> long_skips;
  MtpSpec mtp;

  int64_t unused_parameters = 0;  // that checkpoints store and nobody reads

  bool tied_head = false;
  bool float32_head = false;

  int64_t num_layers() const { return static_cast<int64_t>(layers.size()); }
  int64_t position_axes() const;  // 1, or 3 when any rope table has sections

  /// Throws kCorruptData for sizes that contradict each other, kUnsupported for mixers that this
  /// build does not run yet.
  void validate() const;
  /// Parameters of the whole decoder, embeddings included, from the config alone.
  int64_t num_parameters() const;
  int64_t num_active_parameters() const;
};

// Canonical tensor names, what a family's name map must answer (i = layer, e = expert):
//   embed.weight (V, H)   norm.weight (H)   head.weight (V, H, absent when tied)
//   layers.i.{pre_mixer_norm,post_mixer_norm,pre_ffn_norm,post_ffn_norm}.weight (H)
//   layers.i.{q,k,v,o}.weight   layers.i.{q,k,v,o}.bias   layers.i.{q,k}_norm.weight (head_dim)
//     with output_gate rows of q by head, its query then its gate
//   layers.i.sinks (num_heads)
//   layers.i.{pre_mixer_norm,pre_ffn_norm}.gate_down.weight (rank, H), .gate_up.weight (H, rank)
//   layers.i.q_a.weight (q_lora, H)   layers.i.q_a_norm.weight   layers.i.q_b.weight, or q.weight:
//     rows by head, nope then rope, then v_dim of gate with output_gate; its input is the normed
//     latent, followed by the plain one with output_gate
//   layers.i.kv_a.weight (kv_lora + rope, H)   layers.i.kv_a_norm.weight (kv_lora)
//   layers.i.kv_b.weight: rows by head, nope then v, of kv_lora; or in two parts
//     layers.i.k_b.weight (heads, kv_lora, nope)   layers.i.v_b.weight (heads, v, kv_lora)
//   layers.i.index.{q.weight (heads * dim, q_lora), k.weight (dim, H), weights.weight (heads, H)}
//   layers.i.index.k_norm.{weight,bias} (dim)
//   layers.i.lambda_{q1,k1,q2,k2} (head_dim)   layers.i.head_norm.weight (2 * head_dim)
//   layers.i.delta.qkv.weight (2 k heads * k_dim + v heads * v_dim, H): all of q, of k, of v
//   layers.i.delta.{z.weight (v heads * v_dim, H), b.weight, a.weight (v heads, H)}; or
//     layers.i.delta.qkvz.weight and .ba.weight: per key head its q, k, its v heads, their z; and
//     the b, then the a, of its v heads
//   layers.i.delta.conv.weight (2 k heads * k_dim + v heads * v_dim, 1, taps)
//   layers.i.delta.{a_log,dt_bias} (v heads)   layers.i.head_norm.weight (v_dim) of kGatedDelta
//   layers.i.poly.weight (3)   layers.i.poly.bias (1)   of kPolyNorm
//   layers.i.{gate,up,down}.weight   layers.i.{gate,up,down}.bias
//   layers.i.router.weight (E, H)   layers.i.router.bias (E)   layers.i.router.correction (E)
//   layers.i.experts.e.{gate,up,down}.{weight,bias}
//   layers.i.shared.{gate,up,down}.weight   layers.i.shared_gate.weight (1, H)
//   mtp.{embed_norm,hidden_norm,norm}.weight (H)   mtp.join.weight (H, 2 H)
//   mtp.X for every layers.i.X of its layer   mtp.embed.weight, mtp.head.weight where it has its
//   own

/// Frequencies theta^(-2i/dim), then scaled.
struct RopeScaling {
  enum class Kind { kNone, kLinear, kByWavelength, kYarn } kind = Kind::kNone;
  double factor = 1.0;
  double original_max_position = 0;
  double low_freq_factor = 1.0, high_freq_factor = 4.0;  // by wavelength
  double beta_fast = 32.0, beta_slow = 1.0;              // yarn
  double mscale = 0.0, mscale_all_dim = 0.0;             // yarn
  double attention_factor = 0.0;                         // yarn; 0: derived
  bool truncate = true;                                  // yarn
};
RopeTable make_rope_table(double theta, int64_t rotary_dim, RopeLayout layout,
                          const RopeScaling& scaling);

}  // namespace onnuri
