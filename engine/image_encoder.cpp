#include "engine/image_encoder.h"

#include "core/check.h"

namespace onnuri {

std::unique_ptr<ImageEncoder> make_image_encoder(const ModelFiles& files, const ModelConfig& config,
                                                 TensorSource&, Backend&, ComputeType) {
  if (!config.vision) return nullptr;
  fail(ErrorCode::kUnsupported, "pictures with family ", config.family, " in ", files.path);
}

}  // namespace onnuri
