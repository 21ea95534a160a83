// Sound to features: a stem of convolutions, positions, the shared transformer, then pooling, a
// norm and products, as the options of AudioConfig say.
#pragma once

#include <memory>

#include "core/tensor.h"
#include "core/tensor_source.h"
#include "encoders/audio/audio_config.h"
#include "encoders/audio/audio_stem.h"
#include "kernels/linear.h"

namespace onnuri {

// Canonical names under "audio.":
//   those of the stem   positions.weight (max_positions, H)   norm.{weight,bias} (H)
//   tail{1,2}.{weight,bias}   and the transformer's own names

/// The spectrogram of one sound.
struct MelInput {
  ConstMatrixView mel;     // (num_frames or more, mels): what follows the sound is the front end's
  int64_t num_frames = 0;  // that count
  int64_t longest_frames = 0;  // of all sounds of one request; 0: num_frames
};

class AudioEncoder {
 public:
  static std::unique_ptr<AudioEncoder> load(const AudioConfig& config, TensorSource& source,
                                            Backend& backend, ComputeType compute);

  const AudioConfig& config() const { return config_; }
  /// Feature rows of a sound of `num_frames` mel frames; a very short one may have none.
  int64_t num_rows(int64_t num_frames) const;

  /// Frames that attend to nothing outside themselves: a sound may be encoded in pieces of whole
  /// multiples of them (the last one may be shorter), to the same bits. 0: only as a whole.
  int64_t unit_frames() const;

  /// out (num_rows(num_frames), config().out_size()). Throws kInvalidArgument when the sound is
  /// longer than the positions reach. One caller at a time.
  void encode(const MelInput& input, MatrixView out) const;

 private:
  AudioEncoder(const AudioConfig& config, Backend& backend);
  int64_t stem_rows_of(int64_t num_frames) const;
  void load_tail(TensorSource& source, ComputeType compute);
  void run_stem(const MelInput& input, int64_t first_frame, int64_t num_frames, MatrixView h) const;
  void encode_group(const MelInput& input, int64_t first_frame, int64_t num_frames,
                    MatrixView out) const;
  void finish(MatrixView h, MatrixView out) const;

  AudioConfig config_;
  Backend* backend_;
  std::unique_ptr<AudioStemLayers> stem_;
  std::vector<float> positions_;  // (max_positions, H)
  std::vector<float> norm_weight_, norm_bias_;
  struct Product {
    PackedMatrix weight;
    std::vector<float> bias;
  };
  std::vector<Product> tail_;
  std::unique_ptr<Transformer> transformer_;
};

}  // namespace onnuri
