#include "fusion/table_resample.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "core/check.h"

namespace onnuri {
namespace {

/// The inputs [begin, begin + weights.size()) of one output.
struct Taps {
  int64_t begin = 0;
  std::vector<float> weights;
};

float cubic(float x) {
  constexpr float a = -0.5f;
  x = std::fabs(x);
  if (x < 1.0f) return ((a + 2.0f) * x - (a + 3.0f)) * x * x + 1.0f;
  if (x < 2.0f) return (((x - 5.0f) * x + 8.0f) * x - 4.0f) * a;
  return 0.0f;
}

std::vector<Taps> make_taps(int64_t in, int64_t out) {
  const float scale = static_cast<float>(in) / static_cast<float>(out);
  const float widen = std::max(scale, 1.0f);
  const float support = 2.0f * widen;
  std::vector<Taps> taps(static_cast<size_t>(out));
  for (int64_t i = 0; i < out; ++i) {
    Taps& t = taps[static_cast<size_t>(i)];
    const float center = scale * (static_cast<float>(i) + 0.5f);
    t.begin = std::max<int64_t>(static_cast<int64_t>(center - support + 0.5f), 0);
    const int64_t end = std::min(static_cast<int64_t>(center + support + 0.5f), in);
    float sum = 0;
    for (int64_t j = t.begin; j < end; ++j) {
      t.weights.push_back(cubic((static_cast<float>(j) - center + 0.5f) / widen));
      sum += t.weights.back();
    }
    for (float& weight : t.weights) weight /= sum;
  }
  return taps;
}

/// to (cols) = the weighted sum of rows of `from`, `stride` apart.
void mix(const Taps& taps, const float* from, int64_t stride, int64_t cols, float* to) {
  std::fill_n(to, cols, 0.0f);
  for (size_t j = 0; j < taps.weights.size(); ++j) {
    const float* row = from + (taps.begin + static_cast<int64_t>(j)) * stride;
    for (int64_t c = 0; c < cols; ++c) to[c] += taps.weights[j] * row[c];
  }
}

}  // namespace

Tensor resample_table(ConstMatrixView table, int64_t side, int64_t h, int64_t w) {
  ONNURI_CHECK(side > 0 && table.rows == side * side && table.stride == table.cols);
  ONNURI_CHECK(h > 0 && w > 0);
  const int64_t cols = table.cols;
  Tensor out(DType::kF32, Shape{h * w, cols});
  if (h == side && w == side) {
    std::memcpy(out.f32(), table.data, static_cast<size_t>(h * w * cols) * sizeof(float));
    return out;
  }
  Tensor wide(DType::kF32, Shape{side * w, cols});
  const std::vector<Taps> across = make_taps(side, w);
  for (int64_t y = 0; y < side; ++y)
    for (int64_t x = 0; x < w; ++x)
      mix(across[static_cast<size_t>(x)], table.row(y * side), cols, cols,
          wide.f32() + (y * w + x) * cols);
  const std::vector<Taps> down = make_taps(side, h);
  for (int64_t y = 0; y < h; ++y)
    mix(down[static_cast<size_t>(y)], wide.f32(), w * cols, w * cols, out.f32() + y * w * cols);
  return out;
}

}  // namespace onnuri
