// Sounds to rows of the decoder's width: the door between the text engine and audio towers.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "core/tensor.h"
#include "core/tensor_source.h"
#include "encoders/audio/audio_encoder.h"
#include "encoders/audio/log_mel.h"
#include "engine/feature_store.h"
#include "engine/model_config.h"
#include "kernels/backend.h"
#include "onnuri/media.h"

namespace onnuri {

/// A sound that somebody else owns.
struct SoundView {
  SoundView(const Waveform& sound)  // NOLINT: a view of it
      : sample_rate_hz(sound.sample_rate_hz), samples(sound.samples) {}
  int64_t sample_rate_hz;
  std::span<const float> samples;
};

/// Throws kInvalidArgument unless the sound has this rate, samples, and only finite ones.
void check_sound(const SoundView& sound, int64_t sample_rate_hz);

/// Where the front end has no fixed window, all sounds of one request are silent up to the length
/// of the longest, as the reference's feature extractor pads a batch: the last frame or two of a
/// shorter sound see that silence. Where it has one, longer sounds end with it, or are cut into
/// windows that know nothing of each other.
class SoundEncoder {
 public:
  SoundEncoder(const ModelConfig& config, const std::string& path, TensorSource& source,
               Backend& backend, ComputeType compute);

  /// The tokens that each sound becomes. Throws as check_sound, and kInvalidArgument for sounds
  /// without a whole frame.
  std::vector<int64_t> count_tokens(std::span<const SoundView> sounds) const;
  /// Rows (tokens, hidden size) of each sound, which is one medium of `store`, none where there are
  /// no tokens. Stretches of a sound that attend to nothing outside themselves are parts of
  /// `store`, named by their spectrogram: that of a longer recording is the same up to where the
  /// shorter one ends, unless what was added is louder than all before and lifts the floor of the
  /// whole.
  std::vector<SharedMedia> encode(std::span<const SoundView> sounds, FeatureStore& store) const;

 private:
  /// One window of a sound.
  struct Extent {
    size_t sound = 0;
    int64_t first_sample = 0;
    int64_t num_samples = 0;     // that are heard
    int64_t padded_samples = 0;  // with the silence after them
    int64_t num_frames = 0;
  };
  std::vector<Extent> measure(std::span<const SoundView> sounds) const;
  /// Appends the parts of one window.
  void encode_window(const SoundView& sound, const Extent& extent, int64_t longest_frames,
                     FeatureStore& store, std::vector<ContentKey>& keys,
                     std::vector<SharedMedia>& parts) const;

  Backend* backend_;
  LogMel mel_;
  std::unique_ptr<AudioEncoder> encoder_;
};

/// Null when the model has no ears, or hears only as a speech model.
std::unique_ptr<SoundEncoder> make_sound_encoder(const ModelConfig& config, const std::string& path,
                                                 TensorSource& source, Backend& backend,
                                                 ComputeType compute);

}  // namespace onnuri
