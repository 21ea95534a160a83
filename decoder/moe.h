// Mixture of experts: a router chooses k experts per token, their outputs are summed by weight.
//
//   s = score(router(x))        c = s + correction        experts = top-k of c in the kept groups
//   w = s[experts], renormalised and scaled               y = sum_j w_j expert_j(x) + shared(x)
//
// The correction only chooses, it never weighs.
#pragma once

#include <span>

#include "decoder/attention.h"
#include "decoder/decoder_config.h"
#include "decoder/decoder_weights.h"
#include "decoder/workspace.h"

namespace onnuri {

/// The experts of one token from its router logits (E), which become scratch. `correction` (E) may
/// be null. Writes num_experts_per_token ids, ascending, and their weights. Equal scores go to the
/// lower id, but those of excluded groups that score zero as the reference implementation sorts
/// them. A NaN among logits or corrections makes every weight NaN.
void route(const MoeSpec& spec, std::span<float> logits, const float* correction,
           std::span<int32_t> experts, std::span<float> weights, RouterScratch& scratch);

/// out (T, hidden_size) from x (T, hidden_size), which must not overlap. Sums run over ascending
/// expert ids, so the bits do not depend on the other rows.
void run_moe(Backend& backend, const DecoderConfig& config, const GluParams& activation,
             const MoeWeights& weights, ConstMatrixView x, Store store, MatrixView out,
             Workspace& workspace);

/// down(glu(gate_up(x))) of a dense or shared FFN.
void run_ffn(Backend& backend, const GluParams& activation, const FfnWeights& weights,
             ConstMatrixView x, Store store, MatrixView out, Workspace& workspace);

}  // namespace onnuri
