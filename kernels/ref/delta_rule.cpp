// The gated delta rule and its convolution, as the formulas say; sums in double.
#include "kernels/delta_rule.h"

#include <cmath>

#include "kernels/ref/vector_ref.h"

namespace onnuri::ref {

void conv_silu(const float* const* rows, const float* weight, int64_t taps, MatrixView y) {
  for (int64_t r = 0; r < y.rows; ++r) {
    for (int64_t c = 0; c < y.cols; ++c) {
      double sum = 0.0;
      for (int64_t j = 0; j < taps; ++j) {
        sum += static_cast<double>(weight[j * y.cols + c]) * static_cast<double>(rows[r + j][c]);
      }
      y.row(r)[c] = static_cast<float>(sum / (1.0 + std::exp(-sum)));
    }
  }
}

void delta_rule(const DeltaTask& t) {
  const auto copy = [&](const float* from, int64_t from_stride, float* to, int64_t to_stride) {
    for (int64_t i = 0; i < t.k_dim; ++i) {
      for (int64_t c = 0; c < t.cols; ++c) to[i * to_stride + c] = from[i * from_stride + c];
    }
  };
  copy(t.state, t.state_stride, t.scratch, kDeltaColumns);
  for (int64_t r = 0; r < t.rows; ++r) {
    if (r == t.kept_rows) copy(t.scratch, kDeltaColumns, t.next, t.state_stride);
    const float* q = t.q + r * t.qk_stride;
    const float* k = t.k + r * t.qk_stride;
    const auto decay = static_cast<double>(t.decay[r * t.gate_stride]);
    const auto beta = static_cast<double>(t.beta[r * t.gate_stride]);
    double qk = 0.0;
    for (int64_t i = 0; i < t.k_dim; ++i) {
      qk += static_cast<double>(q[i]) * static_cast<double>(k[i]);
    }
    for (int64_t c = 0; c < t.cols; ++c) {
      double by_k = 0.0, by_q = 0.0;
      for (int64_t i = 0; i < t.k_dim; ++i) {
        const auto s = static_cast<double>(t.scratch[i * kDeltaColumns + c]);
        by_k += static_cast<double>(k[i]) * s;
        by_q += static_cast<double>(q[i]) * s;
      }
      const double d = beta * (static_cast<double>(t.v[r * t.v_stride + c]) - decay * by_k);
      for (int64_t i = 0; i < t.k_dim; ++i) {
        float& s = t.scratch[i * kDeltaColumns + c];
        s = static_cast<float>(decay * static_cast<double>(s) + static_cast<double>(k[i]) * d);
      }
      if (r >= t.first_out) {
        t.out[(r - t.first_out) * t.out_stride + c] = static_cast<float>(decay * by_q + qk * d);
      }
    }
  }
}

}  // namespace onnuri::ref
