// Elementwise functions and gated units, as the formulas say.
#include <algorithm>
#include <cmath>

#include "kernels/ref/vector_ref.h"

namespace onnuri::ref {
namespace {

float sigmoid(float x) { return 1.0f / (1.0f + std::exp(-x)); }
float silu(float x) { return x * sigmoid(x); }
float gelu_erf(float x) { return 0.5f * x * (1.0f + std::erf(x * 0.70710678f)); }
float gelu_tanh(float x) {
  // sqrt(2 / pi) (x + 0.044715 x^3)
  return 0.5f * x * (1.0f + std::tanh(0.79788456f * (x + 0.044715f * x * x * x)));
}

float apply(Activation kind, float x) {
  switch (kind) {
    case Activation::kSilu: return silu(x);
    case Activation::kGeluErf: return gelu_erf(x);
    case Activation::kGeluTanh: return gelu_tanh(x);
    case Activation::kQuickGelu: return x * sigmoid(1.702f * x);
    case Activation::kRelu: return std::max(x, 0.0f);
  }
  return x;
}

float gate_unit(const GluParams& params, float g, float u) {
  switch (params.kind) {
    case GluKind::kSilu: return silu(g) * u;
    case GluKind::kGeluTanh: return gelu_tanh(g) * u;
    case GluKind::kGeluErf: return gelu_erf(g) * u;
    case GluKind::kClampedSilu:
      return silu(std::min(g, params.limit)) * std::clamp(u, -params.limit, params.limit);
    case GluKind::kSigmoid: return sigmoid(g) * u;
    case GluKind::kSwigluPlus1:
      g = std::min(g, params.limit);
      u = std::clamp(u, -params.limit, params.limit);
      return g * sigmoid(params.alpha * g) * (u + 1.0f);
    case GluKind::kPolyNorm: break;  // not elementwise: below
  }
  return u;
}

void poly_norm_row(const float* p, const float* g, const float* u, int64_t cols, float* y) {
  double squares[3] = {0.0, 0.0, 0.0};  // of g^3, g^2, g
  for (int64_t i = 0; i < cols; ++i) {
    const double x2 = static_cast<double>(g[i]) * static_cast<double>(g[i]);
    squares[0] += x2 * x2 * x2;
    squares[1] += x2 * x2;
    squares[2] += x2;
  }
  double scale[3];
  for (int n = 0; n < 3; ++n) {
    const double mean = squares[n] / static_cast<double>(cols);
    scale[n] = static_cast<double>(p[n]) / std::sqrt(mean + static_cast<double>(kPolyNormEps));
  }
  for (int64_t i = 0; i < cols; ++i) {
    const auto x = static_cast<double>(g[i]);
    const double sum = ((scale[0] * x + scale[1]) * x + scale[2]) * x + static_cast<double>(p[3]);
    y[i] = static_cast<float>(sum) * u[i];
  }
}

}  // namespace

void activate(Activation kind, ConstMatrixView x, MatrixView y) {
  for (int64_t r = 0; r < x.rows; ++r) {
    for (int64_t i = 0; i < x.cols; ++i) y.row(r)[i] = apply(kind, x.row(r)[i]);
  }
}

void glu(const GluParams& params, ConstMatrixView gate, ConstMatrixView up, MatrixView y) {
  for (int64_t r = 0; r < y.rows; ++r) {
    if (params.kind == GluKind::kPolyNorm) {
      poly_norm_row(params.poly, gate.row(r), up.row(r), y.cols, y.row(r));
      continue;
    }
    for (int64_t i = 0; i < y.cols; ++i) {
      y.row(r)[i] = gate_unit(params, gate.row(r)[i], up.row(r)[i]);
    }
  }
}

void add_scaled(ConstMatrixView x, float scale, MatrixView y) {
  for (int64_t r = 0; r < x.rows; ++r) {
    for (int64_t i = 0; i < x.cols; ++i) y.row(r)[i] += scale * x.row(r)[i];
  }
}

void scale_rows(float scale, MatrixView x) {
  for (int64_t r = 0; r < x.rows; ++r) {
    for (int64_t i = 0; i < x.cols; ++i) x.row(r)[i] *= scale;
  }
}

}  // namespace onnuri::ref
