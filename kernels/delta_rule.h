// Linear attention with a state that is corrected and forgets: the gated delta rule (arXiv
// 2412.06464, equation 10), and the short convolution before it.
#pragma once

#include <cstdint>
#include <span>

#include "kernels/backend.h"
#include "kernels/matrix.h"

namespace onnuri {

/// Row r of y = silu(sum_j weight[j] * rows[r + j]), elementwise: a causal depthwise convolution.
/// weight (taps, y.cols); rows (y.rows + taps - 1) point at y.cols numbers each.
void conv_silu(Backend& backend, std::span<const float* const> rows, const float* weight,
               int64_t taps, MatrixView y);

/// One sequence's rows of q, k, v and of the gates.
struct DeltaSequence {
  int64_t first_row = 0;
  int64_t num_rows = 0;
  int64_t first_out = 0;         // of these rows, the first that is answered
  int64_t out_row = 0;           // where its answer goes
  int64_t kept_rows = 0;         // `next` is the state behind so many rows, fewer than num_rows
  const float* state = nullptr;  // (num_v_heads, k_dim, v_dim), before the first row
  float* next = nullptr;         // likewise; not the same memory
};

struct DeltaShape {
  int64_t num_k_heads = 0;  // each serves num_v_heads / num_k_heads neighbouring value heads
  int64_t num_v_heads = 0;
  int64_t k_dim = 0;
  int64_t v_dim = 0;
};

/// Per value head, from a state S (k_dim, v_dim), row by row:
///
///   d = beta (v - decay S^T k)      S' = decay S + k d^T      out = S'^T q = decay S^T q + (q k) d
///
/// q, k (R, num_k_heads * k_dim), v (R, num_v_heads * v_dim), decay, beta (R, num_v_heads), out
/// (answered rows, num_v_heads * v_dim). How rows are cut into calls changes no bit.
void delta_rule(Backend& backend, ConstMatrixView q, ConstMatrixView k, ConstMatrixView v,
                ConstMatrixView decay, ConstMatrixView beta,
                std::span<const DeltaSequence> sequences, const DeltaShape& shape, MatrixView out);

/// Columns of a head's state that one task handles.
inline constexpr int64_t kDeltaColumns = 64;

/// Some columns of one head of one sequence, for a kernel: pointers to the first row's numbers.
struct DeltaTask {
  const float* q;
  const float* k;
  const float* v;  // `cols` of them per row
  const float* decay;
  const float* beta;
  int64_t qk_stride, v_stride, gate_stride;
  int64_t rows, first_out, kept_rows;
  int64_t k_dim, cols;
  const float* state;
  float* next;
  int64_t state_stride;  // of a row of either
  float* scratch;        // (k_dim, kDeltaColumns)
  float* out;            // of row first_out
  int64_t out_stride;
};

}  // namespace onnuri
