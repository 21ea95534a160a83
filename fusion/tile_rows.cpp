#include "fusion/tile_rows.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "core/check.h"

namespace onnuri {
namespace {

/// Rounded to seven decimals before it is cut off, as the reference does against 2.9999999.
int64_t cut_decimals(double x) { return static_cast<int64_t>(std::nearbyint(x * 1e7) / 1e7); }

/// Neighbours and weights of one output index, half-pixel centres.
struct Taps {
  int64_t low = 0, high = 0;
  float high_weight = 0;
};

Taps taps_of(int64_t index, int64_t size_in, int64_t size_out) {
  const float scale = static_cast<float>(size_in) / static_cast<float>(size_out);
  const float at = std::max(0.0f, (static_cast<float>(index) + 0.5f) * scale - 0.5f);
  const auto low = std::min(static_cast<int64_t>(at), size_in - 1);
  return {low, std::min(low + 1, size_in - 1), at - static_cast<float>(low)};
}

/// The row between the four neighbours `at(y, x)`.
template <typename RowAt>
void blend(RowAt&& at, const Taps& v, const Taps& u, int64_t cols, float* to) {
  const float *a = at(v.low, u.low), *b = at(v.low, u.high);
  const float *c = at(v.high, u.low), *d = at(v.high, u.high);
  for (int64_t i = 0; i < cols; ++i) {
    const float above = a[i] * (1 - u.high_weight) + b[i] * u.high_weight;
    const float below = c[i] * (1 - u.high_weight) + d[i] * u.high_weight;
    to[i] = above * (1 - v.high_weight) + below * v.high_weight;
  }
}

}  // namespace

TileJoinPlan plan_tile_join(const TileJoinConfig& config, int64_t tile_h, int64_t tile_w,
                            int64_t grid_h, int64_t grid_w, int64_t image_h, int64_t image_w) {
  ONNURI_CHECK(tile_h > 0 && tile_w > 0 && grid_h > 0 && grid_w > 0 && image_h > 0 && image_w > 0);
  TileJoinPlan plan{tile_h, tile_w, grid_h, grid_w, 0, 0, grid_h * tile_h, grid_w * tile_w, 0, 0};
  const auto h = static_cast<double>(plan.kept_h);
  const auto w = static_cast<double>(plan.kept_w);
  const auto from_h = static_cast<double>(image_h);
  const auto from_w = static_cast<double>(image_w);
  const auto side = [&](double x) {
    return config.round_sides ? cut_decimals(x) : static_cast<int64_t>(x);
  };
  if (config.cut_borders && from_w / from_h > w / h) {
    plan.top = (plan.kept_h - side(from_h * (w / from_w))) / 2;
    plan.kept_h -= 2 * plan.top;
  } else if (config.cut_borders) {
    plan.left = (plan.kept_w - side(from_w * (h / from_h))) / 2;
    plan.kept_w -= 2 * plan.left;
  }
  plan.out_h = plan.kept_h;
  plan.out_w = plan.kept_w;
  if (config.max_tiles == 0) return plan;
  const double ratio = std::sqrt(static_cast<double>(plan.kept_h * plan.kept_w) /
                                 static_cast<double>(config.max_tiles * tile_h * tile_h));
  if (ratio > 1.1) {
    plan.out_h = std::max<int64_t>(
        1, static_cast<int64_t>(std::floor(static_cast<double>(plan.kept_h) / ratio)));
    plan.out_w = std::max<int64_t>(
        1, static_cast<int64_t>(std::floor(static_cast<double>(plan.kept_w) / ratio)));
  }
  return plan;
}

Tensor join_tiles(const TileJoinPlan& plan, ConstMatrixView rows, const float* newline) {
  const int64_t tile = plan.tile_h * plan.tile_w;
  ONNURI_CHECK(rows.rows == (1 + plan.grid_h * plan.grid_w) * tile && rows.stride == rows.cols);
  const size_t row_bytes = static_cast<size_t>(rows.cols) * sizeof(float);
  Tensor out(DType::kF32, Shape{plan.num_rows(newline != nullptr), rows.cols});
  float* to = out.f32();
  std::memcpy(to, rows.data, row_bytes * static_cast<size_t>(tile));
  to += tile * rows.cols;

  const auto kept = [&](int64_t y, int64_t x) {  // row of the cut grid
    y += plan.top;
    x += plan.left;
    const int64_t which = 1 + y / plan.tile_h * plan.grid_w + x / plan.tile_w;
    return rows.row(which * tile + y % plan.tile_h * plan.tile_w + x % plan.tile_w);
  };
  const bool shrunk = plan.out_h != plan.kept_h || plan.out_w != plan.kept_w;
  for (int64_t y = 0; y < plan.out_h; ++y) {
    const Taps v = taps_of(y, plan.kept_h, plan.out_h);
    for (int64_t x = 0; x < plan.out_w; ++x, to += rows.cols) {
      if (!shrunk) {
        std::memcpy(to, kept(y, x), row_bytes);
        continue;
      }
      const Taps u = taps_of(x, plan.kept_w, plan.out_w);
      blend(kept, v, u, rows.cols, to);
    }
    if (newline == nullptr) continue;
    std::memcpy(to, newline, row_bytes);
    to += rows.cols;
  }
  return out;
}

Tensor halve_tiles(ConstMatrixView rows, int64_t tile_h, int64_t tile_w) {
  ONNURI_CHECK(tile_h > 0 && tile_w > 0 && rows.rows % (tile_h * tile_w) == 0);
  const int64_t h = (tile_h + 1) / 2, w = (tile_w + 1) / 2;
  const int64_t count = rows.rows / (tile_h * tile_w);
  Tensor out(DType::kF32, Shape{count * h * w, rows.cols});
  float* to = out.f32();
  for (int64_t tile = 0; tile < count; ++tile)
    for (int64_t y = 0; y < h; ++y)
      for (int64_t x = 0; x < w; ++x, to += rows.cols)
        blend([&](int64_t from_y,
                  int64_t from_x) { return rows.row((tile * tile_h + from_y) * tile_w + from_x); },
              taps_of(y, tile_h, h), taps_of(x, tile_w, w), rows.cols, to);
  return out;
}

}  // namespace onnuri
