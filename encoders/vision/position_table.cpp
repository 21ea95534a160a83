#include "encoders/vision/position_table.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "core/check.h"

namespace onnuri {
namespace {

/// The inputs from `begin` on that one output is mixed of.
struct Mixture {
  int64_t begin = 0;
  std::vector<float> weights;
};

Mixture mixture(int64_t index, int64_t in, int64_t out) {
  const float scale = static_cast<float>(in) / static_cast<float>(out);
  const float reach = std::max(scale, 1.0f);
  const float center = scale * (static_cast<float>(index) + 0.5f);
  Mixture m;
  m.begin = std::max<int64_t>(static_cast<int64_t>(center - reach + 0.5f), 0);
  const int64_t end = std::min(static_cast<int64_t>(center + reach + 0.5f), in);
  float sum = 0;
  for (int64_t i = m.begin; i < end; ++i) {
    const float distance = std::fabs(static_cast<float>(i) - center + 0.5f) / reach;
    m.weights.push_back(std::max(1.0f - distance, 0.0f));
    sum += m.weights.back();
  }
  for (float& weight : m.weights) weight /= sum;
  return m;
}

/// to (cols) = rows of `from`, `stride` apart, as the mixture says.
void mix(const Mixture& m, const float* from, int64_t stride, int64_t cols, float* to) {
  std::fill_n(to, cols, 0.0f);
  const float* row = from + m.begin * stride;
  for (const float weight : m.weights) {
    for (int64_t c = 0; c < cols; ++c) to[c] += weight * row[c];
    row += stride;
  }
}

}  // namespace

Tensor resample_positions(ConstMatrixView table, int64_t side, int64_t h, int64_t w) {
  ONNURI_CHECK(side > 0 && h > 0 && w > 0 && table.rows == side * side);
  ONNURI_CHECK(table.stride == table.cols);
  const int64_t cols = table.cols;
  Tensor wide(DType::kF32, Shape{side * w, cols});
  for (int64_t x = 0; x < w; ++x) {
    const Mixture across = mixture(x, side, w);
    for (int64_t y = 0; y < side; ++y)
      mix(across, table.row(y * side), cols, cols, wide.f32() + (y * w + x) * cols);
  }
  Tensor out(DType::kF32, Shape{h * w, cols});
  for (int64_t y = 0; y < h; ++y)
    mix(mixture(y, side, h), wide.f32(), w * cols, w * cols, out.f32() + y * w * cols);
  return out;
}

}  // namespace onnuri
