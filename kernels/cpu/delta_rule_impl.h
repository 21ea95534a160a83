// The gated delta rule over the lanes of one instruction set; included by vector_impl.h.
//
// A row's update of the state waits for the next row, whose products with the state are taken in
// the same pass over it: the state is read and written once per row, and not at all for the last.
#pragma once

#include "kernels/delta_rule.h"

namespace onnuri::ONNURI_ISA {
namespace {

void conv_silu(const float* const* rows, const float* weight, int64_t taps, MatrixView y) {
  for (int64_t r = 0; r < y.rows; ++r) {
    for_lanes(y.cols, [&](int64_t c, int64_t n) {
      Vec sum = v_zero();
      for (int64_t j = 0; j < taps; ++j)
        sum = v_fma(load_part(weight + j * y.cols + c, n), load_part(rows[r + j] + c, n), sum);
      store_part(y.row(r) + c, v_silu(sum), n);
    });
  }
}

// Columns [first, first + kGroups * kLanes), of the last group `tail`.
template <int kGroups>
inline void delta_columns(const DeltaTask& t, int64_t first, int64_t tail) {
  const auto part = [&](int g) { return g + 1 == kGroups ? tail : int64_t{kLanes}; };
  if (t.kept_rows == 0) {
    for (int64_t i = 0; i < t.k_dim; ++i)
      for (int g = 0; g < kGroups; ++g) {
        const int64_t at = i * t.state_stride + first + g * kLanes;
        store_part(t.next + at, load_part(t.state + at, part(g)), part(g));
      }
  }
  const float* source = t.state + first;  // the state behind row r - 2
  int64_t source_stride = t.state_stride;
  Vec d[kGroups];  // of row r - 1, not in the state yet
  for (int64_t r = 0; r < t.rows; ++r) {
    const float* q = t.q + r * t.qk_stride;
    const float* k = t.k + r * t.qk_stride;
    Vec by_k[kGroups], by_q[kGroups];
    for (int g = 0; g < kGroups; ++g) by_k[g] = by_q[g] = v_zero();
    if (r == 0) {
      for (int64_t i = 0; i < t.k_dim; ++i) {
        const Vec ki = v_set(k[i]), qi = v_set(q[i]);
        for (int g = 0; g < kGroups; ++g) {
          const Vec s = load_part(source + i * source_stride + g * kLanes, part(g));
          by_k[g] = v_fma(ki, s, by_k[g]);
          by_q[g] = v_fma(qi, s, by_q[g]);
        }
      }
    } else {
      const bool kept = r <= t.kept_rows;
      float* target = (kept ? t.next : t.scratch) + first;
      const int64_t target_stride = kept ? t.state_stride : kDeltaColumns;
      const float* before = k - t.qk_stride;
      const Vec decay = v_set(t.decay[(r - 1) * t.gate_stride]);
      for (int64_t i = 0; i < t.k_dim; ++i) {
        const Vec bi = v_set(before[i]), ki = v_set(k[i]), qi = v_set(q[i]);
        for (int g = 0; g < kGroups; ++g) {
          const Vec old = load_part(source + i * source_stride + g * kLanes, part(g));
          const Vec s = v_fma(bi, d[g], v_mul(decay, old));
          store_part(target + i * target_stride + g * kLanes, s, part(g));
          by_k[g] = v_fma(ki, s, by_k[g]);
          by_q[g] = v_fma(qi, s, by_q[g]);
        }
      }
      source = target;
      source_stride = target_stride;
    }
    const Vec decay = v_set(t.decay[r * t.gate_stride]), beta = v_set(t.beta[r * t.gate_stride]);
    const float* v = t.v + r * t.v_stride + first;
    for (int g = 0; g < kGroups; ++g)
      d[g] = v_mul(beta, v_fnma(decay, by_k[g], load_part(v + g * kLanes, part(g))));
    if (r < t.first_out) continue;
    const Vec qk = v_set(sum_lanes(t.k_dim, [&](Vec s, int64_t i, int64_t n) {
      return v_fma(load_part(q + i, n), load_part(k + i, n), s);
    }));
    float* out = t.out + (r - t.first_out) * t.out_stride + first;
    for (int g = 0; g < kGroups; ++g)
      store_part(out + g * kLanes, v_fma(qk, d[g], v_mul(decay, by_q[g])), part(g));
  }
}

void delta_rule(const DeltaTask& t) {
  int64_t column = 0;
  for (; column + 4 * kLanes <= t.cols; column += 4 * kLanes) delta_columns<4>(t, column, kLanes);
  for (; column < t.cols; column += kLanes)
    delta_columns<1>(t, column, t.cols - column < kLanes ? t.cols - column : kLanes);
}

}  // namespace
}  // namespace onnuri::ONNURI_ISA
