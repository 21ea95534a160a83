// Pictures to rows of the decoder's width: the door between the text engine and vision models.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "core/tensor.h"
#include "core/tensor_source.h"
#include "encoders/vision/vision_config.h"
#include "engine/feature_store.h"
#include "engine/model_config.h"
#include "fusion/prompt.h"
#include "kernels/backend.h"
#include "kernels/linear.h"
#include "onnuri/media.h"

namespace onnuri {

class ImageEncoder {
 public:
  virtual ~ImageEncoder() = default;
  /// The runs of tokens that a picture becomes, known before it is encoded; text may stand between
  /// them. Throws kInvalidArgument for a picture that cannot be resized.
  virtual std::vector<MediaGrid> grids(const Image& image, PictureView view) const = 0;
  /// Rows of all grids, one after the other, each in raster order: (tokens, hidden_size).
  virtual EncodedMedia encode(const Image& image, PictureView view, Trace* trace) = 0;
  /// The same for a video. Throws kUnsupported where the encoder takes pictures only.
  virtual std::vector<MediaGrid> video_grids(const Video& video) const;
  /// Looks for each of its parts in `store` first, and ends the medium there.
  virtual SharedMedia encode_video(const Video& video, FeatureStore& store);
  /// What a prompt holds in place of the picture's marker, one `token` per row; empty: as many
  /// tokens as the picture has, and nothing else.
  virtual std::string text(const Image& image, const std::string& token) const;
};

/// Null when the model has no vision part.
std::unique_ptr<ImageEncoder> make_image_encoder(const ModelFiles& files, const ModelConfig& config,
                                                 TensorSource& source, Backend& backend,
                                                 ComputeType compute);

}  // namespace onnuri
