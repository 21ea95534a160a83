// The attention half of a layer with multi-head latent attention (arXiv 2405.04434, section 2.1).
//
//   c = norm(kv_a x) and r = rope(kv_a' x)                       cached: one row (c, r) per token
//   q = q_b norm(q_a x), per head q_nope and rope(q_rope)
//   score(t, s) = (q_nope W_k) c_s + q_rope r_s                   W_k, W_v: a head's parts of kv_b
//   out = o [ W_v sum_s p(t, s) c_s ]                             times sigmoid(gate) where gated
//
// Decoding never expands keys and values: W_k is applied to the query and W_v to the mixed latent,
// so all heads share one cached row. Many rows of a prompt at once take less work the other way:
// keys W_k c_s and values W_v c_s of every head are made first, some heads at a time.
#pragma once

#include "decoder/attention.h"

namespace onnuri {

/// Whether whole blocks of prompt_block rows of a prompt read expanded keys, all other rows
/// latents.
bool reads_prompts_in_blocks(const MlaSpec& mla, bool output_gate);

/// As run_attention, for layers of kind kMla.
void run_latent_attention(Backend& backend, const DecoderConfig& config, int64_t layer_index,
                          const LayerWeights& weights, const RopeAngles* angles,
                          std::span<const SequenceSlice> sequences, const QueryRows& query_rows,
                          ConstMatrixView x, Store store, MatrixView out, Workspace& workspace);

}  // namespace onnuri
