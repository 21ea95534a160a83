// Vision encoder and projector of one checkpoint, side by side.
#include "engine/image_encoder.h"

#include "core/check.h"
#include "encoders/vision/tiling.h"
#include "encoders/vision/vision_encoder.h"
#include "fusion/projector.h"
#include "fusion/tile_rows.h"

namespace onnuri {
namespace {

class PatchImageEncoder final : public ImageEncoder {
 public:
  PatchImageEncoder(std::unique_ptr<VisionEncoder> encoder, std::unique_ptr<Projector> projector)
      : encoder_(std::move(encoder)), projector_(std::move(projector)) {}

  std::vector<MediaGrid> grids(const Image& image) const override {
    const ImageProcessorConfig& p = encoder_->config().processor;
    const ImageSize size = smart_resize(p, {image.height, image.width});
    const int64_t factor = p.patch_size * p.merge_size;
    return {{1, size.height / factor, size.width / factor}};
  }

  Tensor encode(const Image& image) override {
    VisionFeatures features = encoder_->forward(image);
    const Shape& shape = features.rows.shape();
    return projector_->forward(matrix(features.rows.f32(), shape[0], shape[1]));
  }

 private:
  std::unique_ptr<VisionEncoder> encoder_;
  std::unique_ptr<Projector> projector_;
};

/// Pictures as tiles of one size: a run of tokens per tile, or all tiles joined into one run.
class TileImageEncoder final : public ImageEncoder {
 public:
  TileImageEncoder(std::unique_ptr<VisionEncoder> encoder, std::unique_ptr<Projector> projector,
                   std::optional<TileJoinConfig> join, std::vector<float> newline, ThreadPool& pool)
      : encoder_(std::move(encoder)),
        projector_(std::move(projector)),
        join_(join),
        newline_(std::move(newline)),
        pool_(&pool) {}

  std::vector<MediaGrid> grids(const Image& image) const override {
    const TilePlan plan = plan_tiling(tiling(), {image.height, image.width});
    if (join_ && plan.grid_h > 0)
      return {{1, 1, join_plan(plan, image).num_rows(!newline_.empty())}};
    return std::vector<MediaGrid>(static_cast<size_t>(plan.num_tiles()), {1, tile_h(), tile_w()});
  }

  Tensor encode(const Image& image) override {
    const TilePlan plan = plan_tiling(tiling(), {image.height, image.width});
    const std::vector<Image> tiles =
        cut_tiles(tiling(), plan, encoder_->config().processor.filter, image, pool_);
    VisionFeatures features = encoder_->forward(tiles);
    const Shape& shape = features.rows.shape();
    Tensor rows = projector_->forward(matrix(features.rows.f32(), shape[0], shape[1]));
    if (!join_ || plan.grid_h == 0) return rows;
    return join_tiles(join_plan(plan, image), matrix(rows.f32(), rows.shape()[0], rows.shape()[1]),
                      newline_.empty() ? nullptr : newline_.data());
  }

 private:
  const TileConfig& tiling() const { return *encoder_->config().tiling; }
  int64_t unit() const {
    return encoder_->config().processor.patch_size * encoder_->config().processor.merge_size;
  }
  int64_t tile_h() const { return tiling().tile.height / unit(); }
  int64_t tile_w() const { return tiling().tile.width / unit(); }
  TileJoinPlan join_plan(const TilePlan& plan, const Image& image) const {
    return plan_tile_join(*join_, tile_h(), tile_w(), plan.grid_h, plan.grid_w, image.height,
                          image.width);
  }

  std::unique_ptr<VisionEncoder> encoder_;
  std::unique_ptr<Projector> projector_;
  std::optional<TileJoinConfig> join_;
  std::vector<float> newline_;  // (hidden_size) or empty
  ThreadPool* pool_;
};

}  // namespace

std::unique_ptr<ImageEncoder> make_image_encoder(const ModelFiles& files, const ModelConfig& config,
                                                 TensorSource& source, Backend& backend,
                                                 ComputeType compute) {
  if (!config.vision) return nullptr;
  ONNURI_CHECK(config.projector.has_value());
  if (config.projector->out_size != config.decoder.hidden_size)
    fail(ErrorCode::kCorruptData, "expected picture features of the decoder's width ",
         config.decoder.hidden_size, ", found ", config.projector->out_size, " in ", files.path);
  auto encoder = VisionEncoder::load(*config.vision, source, "vision.", backend, compute);
  auto projector = Projector::load(*config.projector, source, "projector.", backend, compute);
  if (!config.vision->tiling)
    return std::make_unique<PatchImageEncoder>(std::move(encoder), std::move(projector));
  std::vector<float> newline;
  if (config.tile_join && config.tile_join->newline) {
    newline.resize(static_cast<size_t>(config.decoder.hidden_size));
    dequantize(source.get("image_newline", Shape{config.decoder.hidden_size}), newline.data());
  }
  return std::make_unique<TileImageEncoder>(std::move(encoder), std::move(projector),
                                            config.tile_join, std::move(newline), backend.pool());
}

}  // namespace onnuri
