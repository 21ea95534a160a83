// Vision encoder and projector of one checkpoint, side by side.
#include "engine/image_encoder.h"

#include "core/check.h"
#include "encoders/vision/vision_encoder.h"
#include "fusion/projector.h"

namespace onnuri {
namespace {

class PatchImageEncoder final : public ImageEncoder {
 public:
  PatchImageEncoder(std::unique_ptr<VisionEncoder> encoder, std::unique_ptr<Projector> projector)
      : encoder_(std::move(encoder)), projector_(std::move(projector)) {}

  MediaGrid grid(const Image& image) const override {
    const ImageProcessorConfig& p = encoder_->config().processor;
    const ImageSize size = smart_resize(p, {image.height, image.width});
    const int64_t factor = p.patch_size * p.merge_size;
    return {1, size.height / factor, size.width / factor};
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
  return std::make_unique<PatchImageEncoder>(std::move(encoder), std::move(projector));
}

}  // namespace onnuri
