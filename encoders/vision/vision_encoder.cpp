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
#include "encoders/vision/position_table.h"

namespace onnuri {

struct VisionEncoder::Weights {
  PackedMatrix patch;              // (D, 3 * T * P * P)
  std::vector<float> patch_bias;   // (D) or empty
  std::vector<float> positions;    // ([1 +] side * side, D) or empty
  std::vector<float> class_token;  // (D) or empty
  std::vector<float> pre_norm_weight, pre_norm_bias;
  std::vector<float> post_norm_weight, post_norm_bias;
  std::unique_ptr<Transformer> transformer;
};

namespace {

std::vector<float> read_floats(TensorSource& source, const std::string& name, const Shape& shape) {
  std::vector<float> values(static_cast<size_t>(shape.num_elements()));
  dequantize(source.get(name, shape), values.data());
  return values;
}

/// Two neighbours on one axis of the learned grid and their weights, half-pixel centres
/// or corner on corner.
struct Taps {
  int64_t low, high;
  float low_weight, high_weight;
};

Taps grid_taps(int64_t index, int64_t size, int64_t side, bool corners) {
  const auto at = static_cast<float>(index);
  const float source =
      corners
          ? at * static_cast<float>(side - 1) / static_cast<float>(std::max<int64_t>(size - 1, 1))
          : (at + 0.5f) * static_cast<float>(side) / static_cast<float>(size) - 0.5f;
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

/// The row of a side x side table at the fraction index / size. The edges are those of the
/// reference, rounded as there: k / side in double precision, the fraction in single.
int64_t bucket(int64_t index, int64_t size, int64_t side) {
  const float step = 1.0f / static_cast<float>(size);
  const float fraction = std::min(static_cast<float>(index) * step, 1.0f - 1e-6f);
  const double width = 1.0 / static_cast<double>(side);
  int64_t found = 0;
  while (found + 1 < side && static_cast<float>(width * static_cast<double>(found + 1)) <= fraction)
    ++found;
  return found;
}

void check_tiling(const VisionConfig& c) {
  const auto require = [](bool good, const char* what) {
    if (!good) fail(ErrorCode::kCorruptData, "expected ", what, " in the vision config");
  };
  const TileConfig& t = *c.tiling;
  const int64_t unit = c.processor.patch_size * c.processor.merge_size;
  constexpr int64_t kMaxTile = 4096;
  constexpr int64_t kMaxTiles = 256;
  require(t.tile.height > 0 && t.tile.width > 0 && t.tile.height <= kMaxTile &&
              t.tile.width <= kMaxTile,
          "tiles of 1 to 4096 pixels a side");
  require(t.seen.height > 0 && t.seen.width > 0 && t.seen.height <= t.tile.height &&
              t.seen.width <= t.tile.width && t.seen.height % unit == 0 && t.seen.width % unit == 0,
          "whole units of patches in every tile");
  require(!t.keep_shape || t.tile.height == t.tile.width, "square tiles with borders");
  require(t.rule != TileRule::kBestGrid || !t.grids.empty(), "at least one grid of tiles");
  for (const ImageSize& grid : t.grids)
    require(grid.height > 0 && grid.width > 0 && grid.height % t.tile.height == 0 &&
                grid.width % t.tile.width == 0 &&
                grid.height / t.tile.height <= kMaxTiles / (grid.width / t.tile.width),
            "grids of at most 256 whole tiles");
  require(t.rule != TileRule::kWholeGrid ||
              (t.tile.height == t.tile.width && t.longest_edge > 0 && t.longest_edge <= 65536),
          "square tiles and a longest edge of 1 to 65536");
  require(t.rule != TileRule::kCrop || (t.shortest_edge >= std::max(t.tile.height, t.tile.width) &&
                                        t.shortest_edge <= kMaxTile),
          "a shortest edge from which a tile can be cut");
  require(t.min_crop > 0 && t.max_crops > 0 && t.max_crops <= kMaxTiles && t.min_ratio >= 0,
          "1 to 256 pieces of at least one pixel");
  require(c.window_size == 0 && c.processor.temporal_patch_size == 1, "plain patches in tiles");
  const int64_t side = c.position_grid_side * c.processor.patch_size;
  require(c.positions != VisionPositions::kLearnedTable ||
              (side == t.seen.height && side == t.seen.width),
          "a position for every patch of a tile");
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
  constexpr int64_t kMaxPatches = 1 << 16;
  require(p.max_patches >= 0 && p.max_patches <= kMaxPatches &&
              (p.max_patches == 0 || (!c.tiling && !c.video && p.merge_size == 1)),
          "at most 2^16 patches of single pictures");
  require(!c.flat_patches || p.temporal_patch_size == 1, "plain patches in a flat matrix");
  require(c.tiling || p.max_patches > 0 ||
              (p.min_pixels >= 0 && p.max_pixels >= p.min_pixels && p.max_pixels > 0),
          "0 <= min_pixels <= max_pixels");
  for (float std : p.std) require(std > 0, "positive standard deviations");
  require(!c.transformer.rope || c.transformer.head_dim % 4 == 0,
          "a head size divisible by 4 for axial rope");
  require(c.window_size == 0 || c.window_size >= p.patch_size * p.merge_size,
          "windows of at least one merged patch");
  require(c.positions == VisionPositions::kNone ||
              (c.position_grid_side > 0 && c.position_grid_side <= kMaxSide),
          "a learned position grid of 1 to 4096 a side");
  for (const int64_t layer : c.tap_layers)
    require(!c.class_token && layer >= 0 && layer < c.transformer.num_layers,
            "taps after layers that are there, without a class token");
  if (c.video)
    require(c.video->min_pixels >= 0 && c.video->max_pixels >= c.video->min_pixels &&
                c.video->max_pixels > 0 && c.video->frames_per_second > 0 &&
                c.video->min_frames > 0 && c.video->max_frames >= c.video->min_frames,
            "0 <= min_pixels <= max_pixels and at least one frame for videos");
  require(!c.class_token || (c.window_size == 0 && !c.transformer.rope &&
                             c.positions == VisionPositions::kLearnedTable),
          "a position table and no rope with a class token");
  require(c.tiling || c.positions != VisionPositions::kLearnedTable,
          "tiles with a fixed table of positions");
  if (c.tiling) check_tiling(c);
}

}  // namespace

VisionEncoder::VisionEncoder(const VisionConfig& config, Backend& backend)
    : config_(config), backend_(&backend), weights_(std::make_unique<Weights>()) {}

VisionEncoder::~VisionEncoder() = default;

namespace {

/// Columns (pixel, colour) to (colour, pixel), in float32.
Tensor colours_first(const TensorView& stored) {
  const int64_t rows = stored.shape[0], pixels = stored.shape[1] / 3;
  Tensor plain(DType::kF32, stored.shape), out(DType::kF32, stored.shape);
  dequantize(stored, plain.f32());
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t p = 0; p < pixels; ++p)
      for (int64_t c = 0; c < 3; ++c)
        out.f32()[(r * 3 + c) * pixels + p] = plain.f32()[(r * pixels + p) * 3 + c];
  return out;
}

}  // namespace

std::unique_ptr<VisionEncoder> VisionEncoder::load(const VisionConfig& config, TensorSource& source,
                                                   const std::string& prefix, Backend& backend,
                                                   ComputeType compute) {
  check_config(config);
  std::unique_ptr<VisionEncoder> model(new VisionEncoder(config, backend));
  Weights& w = *model->weights_;
  const ImageProcessorConfig& p = config.processor;
  const int64_t hidden = config.transformer.hidden_size;
  const Shape stored = config.flat_patches ? Shape{hidden, p.patch_size * p.patch_size * 3}
                       : p.temporal_patch_size == 1
                           ? Shape{hidden, 3, p.patch_size, p.patch_size}
                           : Shape{hidden, 3, p.temporal_patch_size, p.patch_size, p.patch_size};
  const int64_t width = 3 * p.temporal_patch_size * p.patch_size * p.patch_size;
  const TensorView patch = source.get(prefix + "patch.weight", stored).reshaped({hidden, width});
  w.patch = config.flat_patches ? pack_matrix(backend, colours_first(patch).view(), compute)
                                : pack_matrix(backend, patch, compute);
  if (config.patch_bias) w.patch_bias = read_floats(source, prefix + "patch.bias", Shape{hidden});
  if (config.class_token) w.class_token = read_floats(source, prefix + "class_token", {hidden});
  if (config.positions != VisionPositions::kNone) {
    const int64_t side = config.position_grid_side;
    w.positions = read_floats(source, prefix + "positions",
                              Shape{side * side + (config.class_token ? 1 : 0), hidden});
  }
  const bool has_bias = config.transformer.norm == EncoderNorm::kLayerNorm;
  if (config.pre_norm) {
    w.pre_norm_weight = read_floats(source, prefix + "pre_norm.weight", Shape{hidden});
    if (has_bias) w.pre_norm_bias = read_floats(source, prefix + "pre_norm.bias", Shape{hidden});
  }
  w.transformer = Transformer::load(config.transformer, source, prefix, backend, compute);
  if (config.post_norm) {
    w.post_norm_weight = read_floats(source, prefix + "post_norm.weight", Shape{hidden});
    if (has_bias) w.post_norm_bias = read_floats(source, prefix + "post_norm.bias", Shape{hidden});
  }
  return model;
}

PatchPlan VisionEncoder::plan(ImageSize size) const {
  return plan_patches(config_.processor, config_.window_size,
                      smart_resize(config_.processor, size));
}

Tensor VisionEncoder::patches(const PatchPlan& patch_plan, const Image& image) const {
  return image_patches(config_.processor, patch_plan, image, &backend_->pool());
}

VisionFeatures VisionEncoder::forward(const Image& image) const {
  const PatchPlan patch_plan = plan(ImageSize{image.height, image.width});
  return forward(patch_plan, patches(patch_plan, image));
}

PatchPlan VisionEncoder::plan(const Video& video) const {
  ONNURI_CHECK(config_.video.has_value());
  const ImageProcessorConfig& p = config_.processor;
  const ImageSize size = resize_video(p, *config_.video, video);
  const int64_t step = p.temporal_patch_size;
  return plan_patches(p, config_.window_size, size, (video.num_frames + step - 1) / step);
}

VisionFeatures VisionEncoder::forward(const Video& video) const {
  const PatchPlan patch_plan = plan(video);
  return forward(patch_plan,
                 video_patches(config_.processor, patch_plan, video, &backend_->pool()));
}

VisionFeatures VisionEncoder::forward(const Video& video, const PatchPlan& whole, int64_t first,
                                      int64_t count) const {
  ONNURI_CHECK(first >= 0 && count > 0 && first + count <= whole.grid_t);
  const ImageProcessorConfig& p = config_.processor;
  const ImageSize size{whole.grid_h * p.patch_size, whole.grid_w * p.patch_size};
  const PatchPlan part = plan_patches(p, config_.window_size, size, count);
  return forward(part, video_patches(p, part, video, &backend_->pool(), first));
}

VisionFeatures VisionEncoder::forward(std::span<const Image> tiles) const {
  ONNURI_CHECK(config_.tiling.has_value() && !tiles.empty());
  const auto count = static_cast<int64_t>(tiles.size());
  constexpr int64_t kTilesPerPass = 8;  // bounds the memory of activations
  VisionFeatures out;
  const int64_t hidden = config_.transformer.hidden_size;
  for (int64_t begin = 0; begin < count; begin += kTilesPerPass) {
    const int64_t some = std::min(kTilesPerPass, count - begin);
    const PatchPlan plan = plan_patches(config_.processor, 0, config_.tiling->seen, some);
    const auto part = tiles.subspan(static_cast<size_t>(begin), static_cast<size_t>(some));
    VisionFeatures features =
        forward(plan, image_patches(config_.processor, plan, part, &backend_->pool()));
    if (some == count) return features;
    const int64_t patches = plan.grid_h * plan.grid_w;
    if (begin == 0) {
      out = {features.units_h,
             features.units_w,
             Tensor(DType::kF32, {count * patches, hidden}),
             {},
             {}};
      if (config_.class_token) out.class_rows = Tensor(DType::kF32, {count, hidden});
    }
    std::memcpy(out.rows.f32() + begin * patches * hidden, features.rows.f32(),
                static_cast<size_t>(some * patches * hidden) * sizeof(float));
    if (config_.class_token)
      std::memcpy(out.class_rows.f32() + begin * hidden, features.class_rows.f32(),
                  static_cast<size_t>(some * hidden) * sizeof(float));
  }
  return out;
}

void VisionEncoder::add_grid_positions(const PatchPlan& plan, MatrixView h) const {
  const int64_t side = config_.position_grid_side;
  const bool corners = config_.positions == VisionPositions::kLearnedGridCorners;
  const float* table = weights_->positions.data();
  backend_->pool().run(h.rows, [&](int64_t i, int) {
    const Taps y = grid_taps(plan.row[static_cast<size_t>(i)], plan.grid_h, side, corners);
    const Taps x = grid_taps(plan.col[static_cast<size_t>(i)], plan.grid_w, side, corners);
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

void VisionEncoder::add_smooth_positions(const PatchPlan& plan, MatrixView h) const {
  const int64_t side = config_.position_grid_side;
  const Tensor table = resample_positions(matrix(weights_->positions.data(), side * side, h.cols),
                                          side, plan.grid_h, plan.grid_w);
  backend_->pool().run(h.rows, [&](int64_t i, int) {
    const int64_t row = plan.row[static_cast<size_t>(i)], col = plan.col[static_cast<size_t>(i)];
    const float* from = table.f32() + (row * plan.grid_w + col) * h.cols;
    float* to = h.row(i);
    for (int64_t c = 0; c < h.cols; ++c) to[c] += from[c];
  });
}

void VisionEncoder::add_table_positions(const PatchPlan& plan, MatrixView h) const {
  const int64_t side = config_.position_grid_side;
  const int64_t offset = config_.class_token ? 1 : 0;
  const bool exact = config_.positions == VisionPositions::kLearnedTable;
  backend_->pool().run(h.rows, [&](int64_t i, int) {
    const int64_t row = plan.row[static_cast<size_t>(i)];
    const int64_t col = plan.col[static_cast<size_t>(i)];
    const int64_t y = exact ? row : bucket(row, plan.grid_h, side);
    const int64_t x = exact ? col : bucket(col, plan.grid_w, side);
    const float* from = weights_->positions.data() + (offset + y * side + x) * h.cols;
    float* to = h.row(i);
    for (int64_t c = 0; c < h.cols; ++c) to[c] += from[c];
  });
}

void VisionEncoder::norm(const std::vector<float>& weight, const std::vector<float>& bias,
                         MatrixView h) const {
  const TransformerConfig& tc = config_.transformer;
  if (tc.norm == EncoderNorm::kLayerNorm)
    layer_norm(*backend_, h, weight.data(), bias.data(), tc.norm_eps, h);
  else
    rms_norm(*backend_, h, weight.data(), 0.0f, tc.norm_eps, h);
}

/// Patches times their matrix, with positions: (num_patches, hidden_size).
Tensor VisionEncoder::embed(const PatchPlan& plan, const Tensor& patches) const {
  const Weights& w = *weights_;
  const int64_t count = plan.num_patches();
  Tensor hidden(DType::kF32, Shape{count, config_.transformer.hidden_size});
  const MatrixView h = matrix(hidden.f32(), count, config_.transformer.hidden_size);
  linear(*backend_, matrix(patches.f32(), count, w.patch.cols()), w.patch,
         w.patch_bias.empty() ? nullptr : w.patch_bias.data(), h);
  switch (config_.positions) {
    case VisionPositions::kNone: break;
    case VisionPositions::kLearnedGridCorners:
    case VisionPositions::kLearnedGridBilinear: add_grid_positions(plan, h); break;
    case VisionPositions::kLearnedGridSmooth: add_smooth_positions(plan, h); break;
    case VisionPositions::kLearnedTable:
    case VisionPositions::kLearnedBucket: add_table_positions(plan, h); break;
  }
  return hidden;
}

namespace {

size_t row_bytes(int64_t rows, int64_t cols) {
  return static_cast<size_t>(rows * cols) * sizeof(float);
}

/// Puts `token` in front of the rows of every segment, whose offsets move along.
Tensor insert_tokens(const Tensor& rows, const std::vector<float>& token,
                     std::vector<int64_t>& segments) {
  const auto cols = static_cast<int64_t>(token.size());
  const auto count = static_cast<int64_t>(segments.size()) - 1;
  Tensor out(DType::kF32, Shape{segments.back() + count, cols});
  for (int64_t s = 0; s < count; ++s) {
    const int64_t begin = segments[static_cast<size_t>(s)];
    const int64_t size = segments[static_cast<size_t>(s) + 1] - begin;
    float* to = out.f32() + (begin + s) * cols;
    std::copy(token.begin(), token.end(), to);
    std::memcpy(to + cols, rows.f32() + begin * cols, row_bytes(size, cols));
  }
  for (int64_t s = 0; s <= count; ++s) segments[static_cast<size_t>(s)] += s;
  return out;
}

/// The first row of every segment into `firsts`, the others into `others`.
void split_tokens(const Tensor& rows, const std::vector<int64_t>& segments, Tensor& firsts,
                  Tensor& others) {
  const int64_t cols = rows.shape()[1];
  const auto count = static_cast<int64_t>(segments.size()) - 1;
  firsts = Tensor(DType::kF32, Shape{count, cols});
  others = Tensor(DType::kF32, Shape{segments.back() - count, cols});
  for (int64_t s = 0; s < count; ++s) {
    const int64_t begin = segments[static_cast<size_t>(s)];
    const int64_t size = segments[static_cast<size_t>(s) + 1] - begin - 1;
    const float* from = rows.f32() + begin * cols;
    std::memcpy(firsts.f32() + s * cols, from, row_bytes(1, cols));
    std::memcpy(others.f32() + (begin - s) * cols, from + cols, row_bytes(size, cols));
  }
}

/// Units of `unit_rows` rows back from the order of windows.
Tensor in_raster_order(const PatchPlan& plan, Tensor rows, int64_t unit_rows) {
  if (plan.window_segments.empty()) return rows;
  Tensor out(DType::kF32, rows.shape());
  const int64_t unit = unit_rows * rows.shape()[1];
  for (size_t i = 0; i < plan.unit_order.size(); ++i)
    std::memcpy(out.f32() + plan.unit_order[i] * unit, rows.f32() + static_cast<int64_t>(i) * unit,
                row_bytes(1, unit));
  return out;
}

}  // namespace

VisionFeatures VisionEncoder::forward(const PatchPlan& plan, const Tensor& patches) const {
  const Weights& w = *weights_;
  const TransformerConfig& tc = config_.transformer;
  const int64_t count = plan.num_patches();
  ONNURI_CHECK(patches.shape() == (Shape{count, w.patch.cols()}));

  Tensor hidden = embed(plan, patches);
  Transformer::Segments frames = plan.frame_segments;
  if (config_.class_token) {
    std::vector<float> token = w.class_token;  // its position is the first of the table
    for (size_t c = 0; c < token.size(); ++c) token[c] += w.positions[c];
    hidden = insert_tokens(hidden, token, frames);
  }
  const MatrixView h = matrix(hidden.f32(), frames.back(), tc.hidden_size);
  if (config_.pre_norm) norm(w.pre_norm_weight, w.pre_norm_bias, h);

  AxialRope rope;
  if (tc.rope) rope = axial_rope(plan, tc.head_dim, config_.rope_theta);
  const auto segments_of_layer = [&](int64_t layer) -> const Transformer::Segments& {
    const auto& full = config_.full_attention_layers;
    const bool whole =
        config_.window_size == 0 || std::find(full.begin(), full.end(), layer) != full.end();
    return whole ? frames : plan.window_segments;
  };
  std::vector<Tensor> taps;
  const auto tap = [&](int64_t layer, ConstMatrixView rows) {
    const auto& wanted = config_.tap_layers;
    if (std::find(wanted.begin(), wanted.end(), layer) == wanted.end()) return;
    taps.emplace_back(DType::kF32, Shape{rows.rows, rows.cols});
    std::memcpy(taps.back().f32(), rows.data, row_bytes(rows.rows, rows.cols));
  };
  w.transformer->forward(h, segments_of_layer, rope.cos.data(), rope.sin.data(), tap);
  if (config_.post_norm) norm(w.post_norm_weight, w.post_norm_bias, h);

  const int64_t merge = config_.processor.merge_size;
  VisionFeatures out{plan.grid_h / merge, plan.grid_w / merge, {}, {}, {}};
  if (config_.class_token) {
    split_tokens(hidden, frames, out.class_rows, out.rows);
    return out;
  }
  out.rows = in_raster_order(plan, std::move(hidden), merge * merge);
  for (Tensor& rows : taps)
    out.taps.push_back(in_raster_order(plan, std::move(rows), merge * merge));
  return out;
}

}  // namespace onnuri
