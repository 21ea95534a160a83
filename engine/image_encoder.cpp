// Vision encoder and projector of one checkpoint, side by side.
#include "engine/image_encoder.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "core/check.h"
#include "encoders/vision/resample.h"
#include "encoders/vision/tiling.h"
#include "encoders/vision/vision_encoder.h"
#include "fusion/conv_abstractor.h"
#include "fusion/projector.h"
#include "fusion/tile_rows.h"

namespace onnuri {
namespace {

MatrixView rows_of(Tensor& t) { return matrix(t.f32(), t.shape()[0], t.shape()[1]); }

/// Rows of an encoder to rows of the decoder's width: neighbours in groups, or a grid as a whole,
/// whose cells are the encoder's rows in the order in which they come.
class FeatureProjector {
 public:
  FeatureProjector(const ModelConfig& config, TensorSource& source, Backend& backend,
                   ComputeType compute)
      : merge_(config.vision->processor.merge_size) {
    if (config.abstractor)
      abstractor_ =
          ConvAbstractor::load(*config.abstractor, source, "projector.", backend, compute);
    else
      projector_ = Projector::load(*config.projector, source, "projector.", backend, compute);
  }

  int64_t out_h(int64_t units) const {
    return abstractor_ ? abstractor_->out_h(units * merge_) : units;
  }
  int64_t out_w(int64_t units) const {
    return abstractor_ ? abstractor_->out_w(units * merge_) : units;
  }
  Tensor forward(VisionFeatures& features) const {
    const MatrixView rows = rows_of(features.rows);
    if (!abstractor_) return projector_->forward(rows);
    const int64_t h = features.units_h * merge_, w = features.units_w * merge_;
    return abstractor_->forward(rows, rows.rows / (h * w), h, w);
  }

 private:
  int64_t merge_;
  std::unique_ptr<Projector> projector_;
  std::unique_ptr<ConvAbstractor> abstractor_;
};

/// Rates and times that came with frames; those of files are made here.
void check_times(const Video& video) {
  const auto sane = [](double x) { return std::isfinite(x) && x >= 0; };
  if (!sane(video.frames_per_second))
    fail(ErrorCode::kInvalidArgument,
         "expected frames per second of at least 0 (0: unknown), found ", video.frames_per_second);
  const auto count = static_cast<int64_t>(video.timestamps_s.size());
  if (count != 0 && count != video.num_frames)
    fail(ErrorCode::kInvalidArgument, "expected a time for each of ", video.num_frames,
         " frames or none, found ", count);
  for (const double time : video.timestamps_s)
    if (!sane(time))
      fail(ErrorCode::kInvalidArgument, "expected times of frames from 0 on, found ", time);
}

void check_video_bytes(const Video& video) {
  const auto sane = [](int64_t side) { return side > 0 && side <= 1 << 20; };
  if (!sane(video.num_frames) || !sane(video.height) || !sane(video.width) ||
      static_cast<int64_t>(video.rgb.size()) != video.num_frames * video.height * video.width * 3)
    fail(ErrorCode::kInvalidArgument, "expected ", video.num_frames, "x", video.height, "x",
         video.width, "x3 bytes of video, found ", video.rgb.size());
}

std::span<const uint8_t> frame_bytes(const Video& video, int64_t frame) {
  const auto bytes = static_cast<size_t>(video.height * video.width * 3);
  return std::span(video.rgb).subspan(static_cast<size_t>(frame) * bytes, bytes);
}

class PatchImageEncoder final : public ImageEncoder {
 public:
  PatchImageEncoder(std::unique_ptr<VisionEncoder> encoder,
                    std::unique_ptr<FeatureProjector> projector,
                    std::vector<std::unique_ptr<Projector>> deep_projectors, bool frames_apart)
      : encoder_(std::move(encoder)),
        projector_(std::move(projector)),
        deep_projectors_(std::move(deep_projectors)),
        frames_apart_(frames_apart) {}

  std::vector<MediaGrid> grids(const Image& image, PictureView) const override {
    const ImageProcessorConfig& p = encoder_->config().processor;
    const ImageSize size = smart_resize(p, {image.height, image.width});
    const int64_t factor = p.patch_size * p.merge_size;
    return {{1, projector_->out_h(size.height / factor), projector_->out_w(size.width / factor)}};
  }

  EncodedMedia encode(const Image& image, PictureView, Trace* trace) override {
    const PatchPlan plan = encoder_->plan(ImageSize{image.height, image.width});
    Tensor patches;
    {
      const Trace::Span span(trace, "preprocess");
      patches = encoder_->patches(plan, image);
    }
    const Trace::Span span(trace, "encode", plan.num_patches());
    return project(encoder_->forward(plan, patches));
  }

  std::vector<MediaGrid> video_grids(const Video& video) const override {
    if (!encoder_->config().video) return ImageEncoder::video_grids(video);
    check_times(video);
    const PatchPlan plan = encoder_->plan(video);
    const int64_t merge = encoder_->config().processor.merge_size;
    const MediaGrid grid{plan.grid_t, plan.grid_h / merge, plan.grid_w / merge};
    if (!frames_apart_) return {grid};
    return std::vector<MediaGrid>(static_cast<size_t>(grid.t), {1, grid.h, grid.w});
  }

  // The frames of one picture on the temporal axis are a part.
  SharedMedia encode_video(const Video& video, FeatureStore& store) override {
    if (!encoder_->config().video) return ImageEncoder::encode_video(video, store);
    const PatchPlan plan = encoder_->plan(video);
    check_video_bytes(video);
    const int64_t patches = plan.grid_h * plan.grid_w;
    const int64_t most = std::max<int64_t>(1, kPatchesPerPass / patches);
    std::vector<ContentKey> keys;
    std::vector<SharedMedia> parts;
    std::set<ContentKey> wanted;
    std::vector<bool> is_first;  // of a part that has to be computed
    for (int64_t t = 0; t < plan.grid_t; ++t) {
      keys.push_back(part_key(video, plan, t));
      const bool known = wanted.contains(keys.back());
      parts.push_back(known ? nullptr : store.find(keys.back()));
      is_first.push_back(!known && !parts.back());
      if (is_first.back()) wanted.insert(keys.back());
    }
    for (int64_t t = 0; t < plan.grid_t;) {
      int64_t end = t;
      while (end < plan.grid_t && end - t < most && is_first[static_cast<size_t>(end)]) ++end;
      if (end > t) encode_parts(video, plan, t, end, keys, parts, store);
      t = std::max(end, t + 1);
    }
    for (size_t t = 0; t < parts.size(); ++t)
      if (!parts[t]) parts[t] = store.find(keys[t]);  // the same frames once more
    store.end_medium(key_of_parts(keys));
    return join_parts(parts);
  }

 private:
  static constexpr int64_t kPatchesPerPass = 8192;  // bounds the memory of activations

  // What the encoder sees of it: its frames, and the size that the whole video lets them have.
  ContentKey part_key(const Video& video, const PatchPlan& plan, int64_t t) const {
    const int64_t step = encoder_->config().processor.temporal_patch_size;
    ContentHash hash;
    hash.add("frames").add(plan.grid_h).add(plan.grid_w).add(video.height).add(video.width);
    for (int64_t i = 0; i < step; ++i)
      hash.add(frame_bytes(video, std::min(t * step + i, video.num_frames - 1)));
    return hash.finish();
  }

  void encode_parts(const Video& video, const PatchPlan& plan, int64_t begin, int64_t end,
                    const std::vector<ContentKey>& keys, std::vector<SharedMedia>& parts,
                    FeatureStore& store) const {
    const Trace::Span span(store.trace(), "encode", (end - begin) * plan.grid_h * plan.grid_w);
    const EncodedMedia all = project(encoder_->forward(video, plan, begin, end - begin));
    const int64_t count = all.rows.shape()[0] / (end - begin);
    const auto cut = [&](const Tensor& rows, int64_t part) {
      Tensor out(DType::kF32, {count, rows.shape()[1]});
      std::copy_n(rows.f32() + part * count * rows.shape()[1], count * rows.shape()[1], out.f32());
      return out;
    };
    for (int64_t t = begin; t < end; ++t) {
      const auto at = static_cast<size_t>(t);
      EncodedMedia part{cut(all.rows, t - begin), {}};
      for (const Tensor& rows : all.deep_rows) part.deep_rows.push_back(cut(rows, t - begin));
      parts[at] = store.insert(keys[at], std::move(part));
    }
  }

  EncodedMedia project(VisionFeatures features) const {
    EncodedMedia out;
    for (size_t i = 0; i < deep_projectors_.size(); ++i)
      out.deep_rows.push_back(deep_projectors_[i]->forward(rows_of(features.taps[i])));
    out.rows = projector_->forward(features);
    return out;
  }

  std::unique_ptr<VisionEncoder> encoder_;
  std::unique_ptr<FeatureProjector> projector_;
  std::vector<std::unique_ptr<Projector>> deep_projectors_;  // one per tap
  bool frames_apart_;
};

std::string repeat(const std::string& token, int64_t count) {
  std::string out;
  for (int64_t i = 0; i < count; ++i) out += token;
  return out;
}

std::string numbered(std::string text, int64_t row, int64_t col) {
  const std::pair<const char*, int64_t> numbers[] = {{"{row}", row + 1}, {"{col}", col + 1}};
  for (const auto& [name, value] : numbers)
    if (const size_t at = text.find(name); at != std::string::npos)
      text.replace(at, std::string_view(name).size(), std::to_string(value));
  return text;
}

/// `tokens`: those of one tile.
std::string write_tiles(const TileText& t, int64_t grid_h, int64_t grid_w,
                        const std::string& tokens) {
  if (grid_h == 0) return t.lone_before + tokens + t.lone_after;
  const std::string overview = t.overview_before + tokens + t.overview_after;
  std::string grid;
  for (int64_t row = 0; row < grid_h; ++row) {
    for (int64_t col = 0; col < grid_w; ++col) {
      if (row + col > 0) grid += t.between;
      grid += numbered(t.tile_before, row, col) + tokens + t.tile_after;
    }
    grid += t.row_after;
  }
  return t.overview_first ? overview + grid : grid + overview;
}

Tensor with_newline(ConstMatrixView rows, const std::vector<float>& newline) {
  Tensor out(DType::kF32, {rows.rows + 1, rows.cols});
  for (int64_t r = 0; r < rows.rows; ++r)
    std::copy_n(rows.row(r), rows.cols, out.f32() + r * rows.cols);
  std::copy_n(newline.data(), rows.cols, out.f32() + rows.rows * rows.cols);
  return out;
}

/// Pictures as tiles of one size: a run of tokens per tile, or all tiles joined into one run.
class TileImageEncoder final : public ImageEncoder {
 public:
  TileImageEncoder(std::unique_ptr<VisionEncoder> encoder,
                   std::unique_ptr<FeatureProjector> projector, std::optional<TileText> text,
                   std::optional<TileJoinConfig> join, std::vector<float> newline, ThreadPool& pool)
      : encoder_(std::move(encoder)),
        projector_(std::move(projector)),
        text_(std::move(text)),
        join_(join),
        newline_(std::move(newline)),
        pool_(&pool) {}

  std::vector<MediaGrid> grids(const Image& image, PictureView view) const override {
    const TilePlan plan = plan_tiling(tiling(), {image.height, image.width}, view);
    if (plan.square) return {{1, 1, tile_h() * tile_w() + (newline_.empty() ? 0 : 1)}};
    if (join_ && plan.grid_h > 0)
      return {{1, 1, join_plan(plan, image).num_rows(!newline_.empty())}};
    return std::vector<MediaGrid>(static_cast<size_t>(plan.num_tiles()), {1, tile_h(), tile_w()});
  }

  EncodedMedia encode(const Image& image, PictureView view, Trace* trace) override {
    return {encode_tiles(image, view, trace), {}};
  }

  // Frames become tiles of half the sides, one after the other, and one learned row behind the
  // last.
  std::vector<MediaGrid> video_grids(const Video& video) const override {
    if (!encoder_->config().video) return ImageEncoder::video_grids(video);
    check_times(video);
    check_video_bytes(video);
    const int64_t frame = (tile_h() + 1) / 2 * ((tile_w() + 1) / 2);
    return {{1, 1, video.num_frames * frame + (newline_.empty() ? 0 : 1)}};
  }

  SharedMedia encode_video(const Video& video, FeatureStore& store) override {
    if (!encoder_->config().video) return ImageEncoder::encode_video(video, store);
    check_video_bytes(video);
    std::vector<ContentKey> keys;
    std::vector<SharedMedia> parts;
    for (int64_t i = 0; i < video.num_frames; ++i) {
      const std::span<const uint8_t> frame = frame_bytes(video, i);
      keys.push_back(
          ContentHash().add("frame").add(video.height).add(video.width).add(frame).finish());
      parts.push_back(store.get(keys.back(), [&] {
        const Trace::Span span(store.trace(), "encode");
        const Image image{video.height, video.width, {frame.begin(), frame.end()}};
        return EncodedMedia{encode_frame(image), {}};
      }));
    }
    store.end_medium(key_of_parts(keys));
    const SharedMedia all = join_parts(parts);
    if (newline_.empty()) return all;
    const ConstMatrixView rows =
        matrix(all->rows.f32(), all->rows.shape()[0], all->rows.shape()[1]);
    return std::make_shared<const EncodedMedia>(EncodedMedia{with_newline(rows, newline_), {}});
  }

  std::string text(const Image& image, const std::string& token) const override {
    if (!text_) return {};
    const TilePlan plan = plan_tiling(tiling(), {image.height, image.width});
    return write_tiles(*text_, plan.grid_h, plan.grid_w, repeat(token, tile_h() * tile_w()));
  }

 private:
  Tensor encode_tiles(const Image& image, PictureView view, Trace* trace) {
    const TilePlan plan = plan_tiling(tiling(), {image.height, image.width}, view);
    std::vector<Image> tiles;
    {
      const Trace::Span span(trace, "preprocess");
      tiles = cut_tiles(tiling(), plan, encoder_->config().processor.filter, image, pool_);
    }
    const Trace::Span span(trace, "encode");
    VisionFeatures features = encoder_->forward(tiles);
    Tensor rows = projector_->forward(features);
    if (plan.square && !newline_.empty()) return with_newline(rows_of(rows), newline_);
    if (!join_ || plan.grid_h == 0) return rows;
    return join_tiles(join_plan(plan, image), rows_of(rows),
                      newline_.empty() ? nullptr : newline_.data());
  }

  Tensor encode_frame(const Image& image) {
    const ImageSize size = tiling().seen;
    const Image tile =
        resample(image, size.height, size.width, encoder_->config().processor.filter, pool_);
    VisionFeatures features = encoder_->forward(std::span(&tile, 1));
    Tensor rows = projector_->forward(features);
    return halve_tiles(rows_of(rows), tile_h(), tile_w());
  }

  const TileConfig& tiling() const { return *encoder_->config().tiling; }
  int64_t unit() const {
    return encoder_->config().processor.patch_size * encoder_->config().processor.merge_size;
  }
  int64_t tile_h() const { return projector_->out_h(tiling().seen.height / unit()); }
  int64_t tile_w() const { return projector_->out_w(tiling().seen.width / unit()); }
  TileJoinPlan join_plan(const TilePlan& plan, const Image& image) const {
    return plan_tile_join(*join_, tile_h(), tile_w(), plan.grid_h, plan.grid_w, image.height,
                          image.width);
  }

  std::unique_ptr<VisionEncoder> encoder_;
  std::unique_ptr<FeatureProjector> projector_;
  std::optional<TileText> text_;
  std::optional<TileJoinConfig> join_;
  std::vector<float> newline_;  // (hidden_size) or empty
  ThreadPool* pool_;
};

std::vector<std::unique_ptr<Projector>> load_deep_projectors(const ModelConfig& config,
                                                             TensorSource& source, Backend& backend,
                                                             ComputeType compute) {
  std::vector<std::unique_ptr<Projector>> out;
  if (!config.deep_projector) return out;
  for (size_t i = 0; i < config.vision->tap_layers.size(); ++i)
    out.push_back(Projector::load(*config.deep_projector, source,
                                  "deep_projector." + std::to_string(i) + ".", backend, compute));
  return out;
}

}  // namespace

std::vector<MediaGrid> ImageEncoder::video_grids(const Video&) const {
  fail(ErrorCode::kUnsupported, "expected pictures, found a video: this model takes none");
}

SharedMedia ImageEncoder::encode_video(const Video& video, FeatureStore&) {
  video_grids(video);
  return nullptr;
}

std::string ImageEncoder::text(const Image&, const std::string&) const { return {}; }

std::unique_ptr<ImageEncoder> make_image_encoder(const ModelFiles& files, const ModelConfig& config,
                                                 TensorSource& source, Backend& backend,
                                                 ComputeType compute) {
  if (!config.vision) return nullptr;
  ONNURI_CHECK(config.projector.has_value() != config.abstractor.has_value());
  const int64_t width =
      config.abstractor ? config.abstractor->out_size : config.projector->out_size;
  if (width != config.decoder.hidden_size)
    fail(ErrorCode::kCorruptData, "expected picture features of the decoder's width ",
         config.decoder.hidden_size, ", found ", width, " in ", files.path);
  auto encoder = VisionEncoder::load(*config.vision, source, "vision.", backend, compute);
  auto projector = std::make_unique<FeatureProjector>(config, source, backend, compute);
  if (!config.vision->tiling)
    return std::make_unique<PatchImageEncoder>(
        std::move(encoder), std::move(projector),
        load_deep_projectors(config, source, backend, compute), config.video_tokens.frames_apart);
  std::vector<float> newline;
  if (config.tile_join && config.tile_join->newline) {
    newline.resize(static_cast<size_t>(config.decoder.hidden_size));
    dequantize(source.get("image_newline", Shape{config.decoder.hidden_size}), newline.data());
  }
  return std::make_unique<TileImageEncoder>(std::move(encoder), std::move(projector),
                                            config.tile_text, config.tile_join, std::move(newline),
                                            backend.pool());
}

}  // namespace onnuri
