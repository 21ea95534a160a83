// Sound to features: two convolutions, a table of positions, the shared transformer, a final norm.
#pragma once

#include <memory>

#include "core/tensor.h"
#include "core/tensor_source.h"
#include "encoders/audio/audio_config.h"
#include "kernels/linear.h"

namespace onnuri {

// Canonical names under "audio.":
//   conv1.weight (H, mels, 3)   conv2.weight (H, H, 3)   conv{1,2}.bias (H)
//   positions.weight (max_positions, H)   norm.{weight,bias} (H)
//   and the transformer's own names.

class AudioEncoder {
 public:
  static std::unique_ptr<AudioEncoder> load(const AudioConfig& config, TensorSource& source,
                                            Backend& backend, ComputeType compute);

  const AudioConfig& config() const { return config_; }
  /// Feature rows of `num_frames` mel frames: the second convolution halves them.
  static int64_t num_rows(int64_t num_frames) { return (num_frames - 1) / 2 + 1; }

  /// mel (frames, num_mels) to out (num_rows(frames), hidden_size). Throws kInvalidArgument when
  /// the sound is longer than the table of positions.
  void encode(ConstMatrixView mel, MatrixView out) const;

 private:
  AudioEncoder(const AudioConfig& config, Backend& backend);
  AudioConfig config_;
  Backend* backend_;
  PackedMatrix conv1_, conv2_;
  Tensor conv1_bias_, conv2_bias_, positions_, norm_weight_, norm_bias_;
  std::unique_ptr<Transformer> transformer_;
};

}  // namespace onnuri
