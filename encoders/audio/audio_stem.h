// The convolutions of an audio tower: mel frames to rows of the transformer's width.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "core/tensor_source.h"
#include "encoders/audio/audio_config.h"
#include "kernels/linear.h"

namespace onnuri {

// Canonical names under "audio.":
//   kConv1d: conv1.weight (H, mels, 3)  conv2.weight (H, H, 3)  conv{1,2}.bias (H)
//   kConv2d: conv{1,2,3}.weight (C, 1 or C, 3, 3)  conv{1,2,3}.bias (C)
//            conv_out.weight (H, C * mels / 8)

/// Rows that `num_frames` frames become.
int64_t stem_rows(AudioStem stem, int64_t num_frames);

class AudioStemLayers {
 public:
  static std::unique_ptr<AudioStemLayers> load(const AudioConfig& config, TensorSource& source,
                                               Backend& backend, ComputeType compute);
  virtual ~AudioStemLayers() = default;
  /// mel (frames, mels), silence outside it; out takes the first rows of what it becomes.
  virtual void forward(ConstMatrixView mel, MatrixView out) const = 0;
};

}  // namespace onnuri
