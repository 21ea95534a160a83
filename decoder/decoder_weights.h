// All weights of a decoder: products packed once, small vectors as float32, the embedding table as
// the checkpoint stores it.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "core/tensor_source.h"
#include "decoder/decoder_config.h"
#include "kernels/linear.h"

namespace onnuri {

/// A gated FFN: down(glu(gate_up(x))).
struct FfnWeights {
  PackedMatrix gate_up;   // (2 * I, H), gate rows first
  PackedMatrix down;      // (H, I)
  Tensor gate_up_bias;    // (2 * I) or empty
  Tensor down_bias;       // (H) or empty
  Tensor poly;            // (4) of kPolyNorm or empty
  PackedMatrix row_gate;  // (1, H): each row's result times sigmoid(row_gate x); or empty
};

struct MoeWeights {
  PackedMatrix router;              // (E, H), float32
  Tensor router_bias;               // (E) or empty
  Tensor correction;                // (E) or empty
  std::vector<FfnWeights> experts;  // (E)
  FfnWeights shared;                // empty matrices without shared experts
  // The same experts as linear_grouped takes them.
  std::vector<const PackedMatrix*> gate_up, down;
  std::vector<const float*> gate_up_bias, down_bias;  // (E), entries null without biases
};

/// Latent attention. The halves of kv_b are split by head. The key half is kept in both directions:
/// as it acts on queries, and as it makes keys of latents.
struct LatentWeights {
  PackedMatrix q_a;            // (q_lora, H), empty without a query latent
  PackedMatrix q_up;           // (num_heads * query row, q_lora or H)
  PackedMatrix kv_a;           // (kv_lora + rope, H)
  Tensor q_a_bias, kv_a_bias;  // or empty
  Tensor q_a_norm, kv_a_norm;
  // Of the indexer, empty without one.
  PackedMatrix index_q;                    // (index heads * dim, q_lora)
  PackedMatrix index_k;                    // (dim, H)
  PackedMatrix index_weights;              // (index heads, H)
  Tensor index_k_norm, index_k_norm_bias;  // (dim)
  std::vector<PackedMatrix> key_up;        // (num_heads) of (kv_lora, nope)
  std::vector<PackedMatrix> key_down;      // the same, (nope, kv_lora): latents to keys
  std::vector<PackedMatrix> value_up;      // (num_heads) of (v, kv_lora)
  // The same as linear_grouped takes them.
  std::vector<const PackedMatrix*> key_up_list, value_up_list;
};

/// Linear attention.
struct DeltaWeights {
  PackedMatrix in;          // (q + k + v + 2 v heads + z widths, H)
  Tensor conv;              // (taps, q + k + v widths)
  Tensor rate;              // (v heads): -exp(A_log)
  Tensor dt_bias;           // (v heads)
  Tensor q_scale, k_scale;  // (k_dim): what makes norms of mean squares into lengths
};

/// y * sigmoid(up(silu(down(y)))) on a norm's result.
struct NormGate {
  PackedMatrix down;  // (rank, H)
  PackedMatrix up;    // (H, rank)
};

struct LayerWeights {
  Tensor pre_mixer_norm, post_mixer_norm, pre_ffn_norm, post_ffn_norm;  // (H) or empty
  NormGate pre_mixer_gate, pre_ffn_gate;  // empty where the norm has none
  PackedMatrix qkv;       // (q + k + v + gate widths, H); latent and linear attention: below
  Tensor qkv_bias;        // (q + k + v widths) or empty; zeros where one part has no bias
  Tensor q_norm, k_norm;  // (head_dim) or empty
  Tensor sinks;           // (num_heads) or empty
  // Differential attention; in qkv, heads of signal queries come before those of noise, and
  // likewise the keys.
  Tensor head_norm;  // (2 * head_dim), times 1 - lambda_init; of linear attention (v_dim)
  float lambda = 0.0f;
  PackedMatrix o;  // (H, num_heads * v_dim)
  Tensor o_bias;   // (H) or empty
  LatentWeights latent;
  DeltaWeights delta;
  FfnWeights ffn;  // of a dense layer
  MoeWeights moe;  // of an MoE layer
};

/// The module that guesses the token after next.
struct MtpWeights {
  Tensor embed_norm, hidden_norm, norm;  // (H)
  PackedMatrix join;                     // (H, 2 * H): embedding columns, then hidden columns
  LayerWeights layer;
  TensorView embed;   // (V, H); empty: the trunk's
  PackedMatrix head;  // (V, H); empty: the trunk's
};

struct DecoderWeights {
  std::shared_ptr<const Checkpoint> checkpoint;  // views below look into it
  TensorView embed;                              // (V, H)
  std::vector<LayerWeights> layers;
  Tensor norm;                      // (H)
  PackedMatrix head;                // (V, H), the embedding again when tied
  std::unique_ptr<MtpWeights> mtp;  // null without the module

  int64_t num_bytes() const;
  /// What one of `num_ranks` devices holds of the products (all of num_bytes() but the table of
  /// embeddings): query heads, columns of FFNs and of every expert, and rows of the head are shared
  /// out; heads of keys and values too, at least one to each; what reads or makes the hidden state
  /// in a narrow form (routers, latents, gates of norms, the indexer) is everywhere.
  int64_t rank_bytes(const DecoderConfig& config, int64_t num_ranks) const;
  /// Bytes read for one token: every product once, of the routed experts those that it visits.
  int64_t streamed_bytes_per_token(const DecoderConfig& config) const;
};

/// Binds every tensor of `config`. Throws kNotFound or kCorruptData naming the tensor.
std::unique_ptr<DecoderWeights> load_decoder_weights(const DecoderConfig& config,
                                                     TensorSource& source, Backend& backend,
                                                     ComputeType compute,
                                                     const std::function<void(double)>& progress);

}  // namespace onnuri
