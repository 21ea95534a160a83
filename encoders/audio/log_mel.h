// Log-mel spectrogram of speech models (Radford et al. 2022).
//
//   frame t  = samples around 160 t, reflected at both ends, times a periodic Hann window
//   mel      = slaney filters x |FFT|^2          (the frame centred on the last sample is dropped)
//   out      = (max(log10(max(mel, 1e-10)), peak - 8) + 4) / 4, peak over the whole signal
//
// Follows WhisperFeatureExtractor of the transformers library.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "core/thread_pool.h"
#include "encoders/audio/audio_config.h"
#include "encoders/audio/real_fft.h"
#include "kernels/matrix.h"

namespace onnuri {

/// Triangular filters, equally wide on the mel scale of Slaney's Auditory Toolbox, area one.
struct MelFilter {
  int64_t first_bin = 0;
  std::vector<float> weights;
};
std::vector<MelFilter> make_mel_filters(int64_t num_mels, int64_t num_bins, double sample_rate_hz);

/// Samples followed by silence up to `length`.
struct PaddedSignal {
  std::span<const float> samples;
  int64_t length = 0;
};

/// Immutable and thread-safe after construction.
class LogMel {
 public:
  /// Throws kCorruptData for sizes that cannot be.
  explicit LogMel(const LogMelConfig& config);

  const LogMelConfig& config() const { return config_; }
  int64_t num_frames(int64_t num_samples) const { return num_samples / config_.hop_length; }

  /// The whole front end: `samples` cut or padded to config.padded_samples (0: as they are).
  /// Returns (frames, num_mels), row-major.
  std::vector<float> compute(ThreadPool& pool, std::span<const float> samples) const;

  /// log10 mel of frames [first_frame, first_frame + out.rows) of a signal, before clamping;
  /// returns their peak. out (frames, num_mels).
  float log_frames(ThreadPool& pool, const PaddedSignal& signal, int64_t first_frame,
                   MatrixView out) const;
  /// The clamp and the shift, in place.
  static void normalize(ThreadPool& pool, float peak, MatrixView log_mel);

 private:
  struct Scratch;
  float log_lanes(const PaddedSignal& signal, int64_t first_frame, int64_t num_frames,
                  Scratch& scratch, float* out, int64_t stride) const;
  void load_frame(const PaddedSignal& signal, int64_t frame, float* out) const;

  LogMelConfig config_;
  RealFft fft_;
  std::vector<float> window_;
  std::vector<MelFilter> filters_;
};

}  // namespace onnuri
