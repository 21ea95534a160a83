// Normalisation of rows, as the formulas say; sums in double.
#include <cmath>

#include "kernels/ref/vector_ref.h"

namespace onnuri::ref {

void rms_norm(ConstMatrixView x, const float* weight, float weight_offset, float eps,
              MatrixView y) {
  for (int64_t r = 0; r < x.rows; ++r) {
    double sum = 0.0;
    for (int64_t i = 0; i < x.cols; ++i) {
      sum += static_cast<double>(x.row(r)[i]) * static_cast<double>(x.row(r)[i]);
    }
    const double mean = sum / static_cast<double>(x.cols);
    const auto inverse = static_cast<float>(1.0 / std::sqrt(mean + static_cast<double>(eps)));
    for (int64_t i = 0; i < x.cols; ++i) {
      const float w = weight != nullptr ? weight_offset + weight[i] : 1.0f;
      y.row(r)[i] = x.row(r)[i] * inverse * w;
    }
  }
}

void layer_norm(ConstMatrixView x, const float* weight, const float* bias, float eps,
                MatrixView y) {
  const auto cols = static_cast<double>(x.cols);
  for (int64_t r = 0; r < x.rows; ++r) {
    double sum = 0.0;
    for (int64_t i = 0; i < x.cols; ++i) sum += static_cast<double>(x.row(r)[i]);
    const double mean = sum / cols;
    double squares = 0.0;
    for (int64_t i = 0; i < x.cols; ++i) {
      const double d = static_cast<double>(x.row(r)[i]) - mean;
      squares += d * d;
    }
    const double inverse = 1.0 / std::sqrt(squares / cols + static_cast<double>(eps));
    for (int64_t i = 0; i < x.cols; ++i) {
      const double unit = (static_cast<double>(x.row(r)[i]) - mean) * inverse;
      const float w = weight != nullptr ? weight[i] : 1.0f;
      y.row(r)[i] = static_cast<float>(unit) * w + (bias != nullptr ? bias[i] : 0.0f);
    }
  }
}

void softmax_rows(MatrixView x) {
  for (int64_t r = 0; r < x.rows; ++r) {
    float max = -INFINITY;
    for (int64_t i = 0; i < x.cols; ++i) max = std::fmax(max, x.row(r)[i]);
    double sum = 0.0;
    for (int64_t i = 0; i < x.cols; ++i) {
      x.row(r)[i] = std::exp(x.row(r)[i] - max);
      sum += static_cast<double>(x.row(r)[i]);
    }
    const auto inverse = static_cast<float>(1.0 / sum);
    for (int64_t i = 0; i < x.cols; ++i) x.row(r)[i] *= inverse;
  }
}

}  // namespace onnuri::ref
