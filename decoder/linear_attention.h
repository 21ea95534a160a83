// Linear attention: a state per sequence and layer instead of keys and values (Gated DeltaNet,
// arXiv 2412.06464).
#pragma once

#include "decoder/attention.h"

namespace onnuri {

/// Carries the state of every sequence on by its rows of x (T, hidden_size), and writes the result
/// of the query rows into `out` (query rows, hidden_size):
///
///   [q k v | b a | z] = in(x)       [q k v] = silu(conv([q k v])) over the rows before, too
///   q, k per head of length 1, q / sqrt(k_dim)
///   beta = sigmoid(b)      decay = exp(-exp(A_log) softplus(a + dt_bias))
///   out = o(head_norm(delta_rule(q, k, v, decay, beta)) * silu(z))
void run_linear_attention(Backend& backend, const DecoderConfig& config, int64_t layer_index,
                          const LayerWeights& weights, std::span<const SequenceSlice> sequences,
                          const QueryRows& query_rows, ConstMatrixView x, Store store,
                          MatrixView out, Workspace& workspace);

}  // namespace onnuri
