// patches -> product with the patch matrix [+ learned positions] -> transformer -> [norm].
//
// Patches are cut in the order in which attention wants them (units, window by window), so nothing
// is permuted inside; units return to raster order at the end. Attention without a mask does not
// care about order: the rope tables carry the coordinates.
// Source: transformers 5.23, models/qwen2_5_vl and models/paddleocr_vl, vision_utils.py.
#include "encoders/vision/vision_encoder.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

#include "core/check.h"

namespace onnuri {

struct VisionEncoder::Weights {
  PackedMatrix patch;             // (D, 3 * T * P * P)
  std::vector<float> patch_bias;  // (D) or empty
  std::vector<float> positions;   // (side * side, D) or empty
  std::vector<float> post_norm_weight, post_norm_bias;
  std::unique_ptr<Transformer> transformer;
};

namespace {

std::vector<float> read_floats(TensorSource& source, const std::string& name, const Shape& shape) {
  std::vector<float> values(static_cast<size_t>(shape.num_elements()));
  dequantize(source.get(name, shape), values.data());
  return values;
}

/// Two neighbours on one axis of the learned grid and their weights, half-pixel centres.
struct Taps {
  int64_t low, high;
  float low_weight, high_weight;
};

Taps grid_taps(int64_t index, int64_t size, int64_t side) {
  const float source =
      (static_cast<float>(index) + 0.5f) * static_cast<float>(side) / static_cast<float>(size) -
      0.5f;
  const float floor = std::floor(source);
  const auto low = static_cast<int64_t>(floor);
  const float high_weight = source - floor;
  return {std::clamp<int64_t>(low, 0, side - 1), std::clamp<int64_t>(low + 1, 0, side - 1),
          1.0f - high_weight, high_weight};
}

/// Axial rope: a quarter of the head's angles from rows, a quarter from columns, used twice.
/// cos, sin (num_patches, head_dim / 2).
struct AxialRope {
  std::vector<float> cos, sin;
};

AxialRope axial_rope(const PatchPlan& plan, int64_t head_dim, float theta) {
  const int64_t quarter = head_dim / 4;
  std::vector<float> frequency(static_cast<size_t>(quarter));
  for (int64_t i = 0; i < quarter; ++i)
    frequency[static_cast<size_t>(i)] =
        1.0f / std::pow(theta, static_cast<float>(2 * i) / static_cast<float>(head_dim / 2));
  AxialRope rope;
  const auto push = [&rope](float angle) {
    rope.cos.push_back(std::cos(angle));
    rope.sin.push_back(std::sin(angle));
  };
  for (size_t p = 0; p < plan.row.size(); ++p) {
    for (float f : frequency) push(static_cast<float>(plan.row[p]) * f);
    for (float f : frequency) push(static_cast<float>(plan.col[p]) * f);
  }
  return rope;
}

void check_config(const VisionConfig& c) {
  const ImageProcessorConfig& p = c.processor;
  const auto require = [](bool good, const char* what) {
    if (!good) fail(ErrorCode::kCorruptData, "expected ", what, " in the vision config");
  };
  constexpr int64_t kMaxSide = 4096;
  require(p.patch_size > 0 && p.patch_size <= kMaxSide, "a patch size of 1 to 4096");
  require(p.merge_size > 0 && p.merge_size <= 64, "a merge size of 1 to 64");
  require(p.temporal_patch_size > 0 && p.temporal_patch_size <= 16,
          "a temporal patch size of 1 to 16");
  require(p.min_pixels >= 0 && p.max_pixels >= p.min_pixels && p.max_pixels > 0,
          "0 <= min_pixels <= max_pixels");
  for (float std : p.std) require(std > 0, "positive standard deviations");
  require(!c.transformer.rope || c.transformer.head_dim % 4 == 0,
          "a head size divisible by 4 for axial rope");
  require(c.window_size == 0 || c.window_size >= p.patch_size * p.merge_size,
          "windows of at least one merged patch");
  require(c.positions == VisionPositions::kNone ||
              (c.position_grid_side > 0 && c.position_grid_side <= kMaxSide),
          "a learned position grid of 1 to 4096 a side");
}

}  // namespace

VisionEncoder::VisionEncoder(const VisionConfig& config, Backend& backend)
    : config_(config), backend_(&backend), weights_(std::make_unique<Weights>()) {}

VisionEncoder::~VisionEncoder() = default;

std::unique_ptr<VisionEncoder> VisionEncoder::load(const VisionConfig& config, TensorSource& source,
                                                   const std::string& prefix, Backend& backend,
                                                   ComputeType compute) {
  check_config(config);
  std::unique_ptr<VisionEncoder> model(new VisionEncoder(config, backend));
  Weights& w = *model->weights_;
  const ImageProcessorConfig& p = config.processor;
  const int64_t hidden = config.transformer.hidden_size;
  const Shape stored = p.temporal_patch_size == 1
                           ? Shape{hidden, 3, p.patch_size, p.patch_size}
                           : Shape{hidden, 3, p.temporal_patch_size, p.patch_size, p.patch_size};
  const int64_t width = 3 * p.temporal_patch_size * p.patch_size * p.patch_size;
  w.patch = pack_matrix(
      backend, source.get(prefix + "patch.weight", stored).reshaped(Shape{hidden, width}), compute);
  if (config.patch_bias) w.patch_bias = read_floats(source, prefix + "patch.bias", Shape{hidden});
  if (config.positions == VisionPositions::kLearnedGridBilinear) {
    const int64_t side = config.position_grid_side;
    w.positions = read_floats(source, prefix + "positions", Shape{side * side, hidden});
  }
  w.transformer = Transformer::load(config.transformer, source, prefix, backend, compute);
  if (config.post_norm) {
    w.post_norm_weight = read_floats(source, prefix + "post_norm.weight", Shape{hidden});
    if (config.transformer.norm == EncoderNorm::kLayerNorm)
      w.post_norm_bias = read_floats(source, prefix + "post_norm.bias", Shape{hidden});
  }
  return model;
}

PatchPlan VisionEncoder::plan(ImageSize size) const {
  return plan_patches(config_.processor, config_.window_size,
                      smart_resize(config_.processor, size));
}

VisionFeatures VisionEncoder::forward(const Image& image) const {
  const PatchPlan patch_plan = plan({image.height, image.width});
  return forward(patch_plan,
                 image_patches(config_.processor, patch_plan, image, &backend_->pool()));
}

void VisionEncoder::add_positions(const PatchPlan& plan, MatrixView h) const {
  const int64_t side = config_.position_grid_side;
  const float* table = weights_->positions.data();
  backend_->pool().run(h.rows, [&](int64_t i, int) {
    const Taps y = grid_taps(plan.row[static_cast<size_t>(i)], plan.grid_h, side);
    const Taps x = grid_taps(plan.col[static_cast<size_t>(i)], plan.grid_w, side);
    const std::array<const float*, 4> from = {
        table + (y.low * side + x.low) * h.cols, table + (y.low * side + x.high) * h.cols,
        table + (y.high * side + x.low) * h.cols, table + (y.high * side + x.high) * h.cols};
    const std::array<float, 4> weight = {y.low_weight * x.low_weight, y.low_weight * x.high_weight,
                                         y.high_weight * x.low_weight,
                                         y.high_weight * x.high_weight};
    float* to = h.row(i);
    for (int64_t c = 0; c < h.cols; ++c)
      to[c] += from[0][c] * weight[0] + from[1][c] * weight[1] + from[2][c] * weight[2] +
               from[3][c] * weight[3];
  });
}

VisionFeatures VisionEncoder::forward(const PatchPlan& plan, const Tensor& patches) const {
  const Weights& w = *weights_;
  const TransformerConfig& tc = config_.transformer;
  const int64_t count = plan.num_patches();
  ONNURI_CHECK(patches.shape() == (Shape{count, w.patch.cols()}));

  Tensor hidden(DType::kF32, Shape{count, tc.hidden_size});
  const MatrixView h = matrix(hidden.f32(), count, tc.hidden_size);
  linear(*backend_, matrix(patches.f32(), count, w.patch.cols()), w.patch,
         w.patch_bias.empty() ? nullptr : w.patch_bias.data(), h);
  if (config_.positions == VisionPositions::kLearnedGridBilinear) add_positions(plan, h);

  AxialRope rope;
  if (tc.rope) rope = axial_rope(plan, tc.head_dim, config_.rope_theta);
  const auto segments_of_layer = [&](int64_t layer) -> const Transformer::Segments& {
    const auto& full = config_.full_attention_layers;
    const bool whole =
        config_.window_size == 0 || std::find(full.begin(), full.end(), layer) != full.end();
    return whole ? plan.frame_segments : plan.window_segments;
  };
  w.transformer->forward(h, segments_of_layer, rope.cos.data(), rope.sin.data());

  if (config_.post_norm) {
    if (tc.norm == EncoderNorm::kLayerNorm)
      layer_norm(*backend_, h, w.post_norm_weight.data(), w.post_norm_bias.data(), tc.norm_eps, h);
    else
      rms_norm(*backend_, h, w.post_norm_weight.data(), 0.0f, tc.norm_eps, h);
  }

  const int64_t merge = config_.processor.merge_size;
  VisionFeatures out{plan.grid_h / merge, plan.grid_w / merge, {}};
  if (plan.window_segments.empty()) {  // units are in raster order already
    out.rows = std::move(hidden);
    return out;
  }
  out.rows = Tensor(DType::kF32, Shape{count, tc.hidden_size});
  const int64_t unit = merge * merge * tc.hidden_size;
  for (size_t i = 0; i < plan.unit_order.size(); ++i)
    std::memcpy(out.rows.f32() + plan.unit_order[i] * unit,
                hidden.f32() + static_cast<int64_t>(i) * unit,
                static_cast<size_t>(unit) * sizeof(float));
  return out;
}

}  // namespace onnuri
