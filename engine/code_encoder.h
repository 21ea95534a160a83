// Media as words of the vocabulary: pictures and sounds to numbers of a codebook, which stand in
// the row of tokens where a prompt has placeholders for them.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "encoders/audio/audio_encoder.h"
#include "encoders/audio/log_mel.h"
#include "encoders/vector_codes.h"
#include "encoders/vision/vision_encoder.h"
#include "engine/model_config.h"
#include "onnuri/media.h"

namespace onnuri {

/// A shape of pictures and the token that names it.
struct PictureShape {
  double width_to_height = 1.0;
  std::string token;
};

struct CodesConfig {
  std::optional<VisionConfig> vision;  // one tile
  VectorCodesConfig table;             // with `vision`
  int32_t image_placeholder = -1;
  int32_t first_image_code = -1;  // code k is the token first + k
  // In a conversation a picture's codes have the token of the nearest shape before them, and others
  // behind each row of the grid and behind all; those that the tokenizer lacks are left out.
  std::vector<PictureShape> shapes;
  std::string row_end, picture_end;

  std::optional<AudioConfig> audio;  // its rows are digits
  int32_t audio_placeholder = -1;
  int32_t first_audio_code = -1;
  int64_t window_samples = 0;  // longer sounds are cut; 0: never
  // Where both are stored. Other tensors there (constants, what draws and speaks) are left alone.
  std::vector<std::string> stored_below;
  int64_t shortest_samples = 1;  // silence fills up to it; a shorter rest joins the window before
};

class CodeEncoder {
 public:
  // Tensors: "code_vision." (VisionEncoder), "codes." (VectorCodes); `audio_source` finds those of
  // AudioEncoder.
  CodeEncoder(const CodesConfig& config, TensorSource& source, TensorSource& audio_source,
              Backend& backend);

  const CodesConfig& config() const { return config_; }
  bool sees() const { return vision_ != nullptr; }
  bool hears() const { return audio_ != nullptr; }
  /// The codes of a picture are as many rows of as many.
  int64_t grid_side() const;
  int64_t num_audio_codes(const Waveform& sound) const;
  /// Of config().shapes; null when there is none.
  const PictureShape* nearest_shape(const Image& image) const;
  /// Tokens of one medium. One caller at a time. Throw kUnsupported without an encoder for it.
  std::vector<int32_t> encode(const Image& image) const;
  std::vector<int32_t> encode(const Waveform& sound) const;

 private:
  std::vector<int64_t> cut(int64_t num_samples) const;
  CodesConfig config_;
  Backend* backend_;
  std::unique_ptr<VisionEncoder> vision_;
  std::unique_ptr<VectorCodes> table_;
  std::unique_ptr<LogMel> mel_;
  std::unique_ptr<AudioEncoder> audio_;
};

/// Null when the model spells no media. Its tower for sounds is named "code_audio." instead of
/// "audio.".
std::shared_ptr<CodeEncoder> make_code_encoder(const ModelConfig& config, TensorSource& source,
                                               Backend& backend);

}  // namespace onnuri
