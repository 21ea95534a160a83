// Lengths follow the processors of transformers 5.23: a frame counts when its first sample belongs
// to the sound, and the peak of the spectrogram is taken over the padding too.
#include "engine/sound_encoder.h"

#include <algorithm>
#include <cmath>

#include "core/check.h"

namespace onnuri {
namespace {

// Frames after the last one that counts: what convolutions and the peak still see of the sound.
constexpr int64_t kFramesBehind = 2;

}  // namespace

void check_sound(const SoundView& sound, int64_t sample_rate_hz) {
  if (sound.sample_rate_hz != sample_rate_hz || sound.samples.empty())
    fail(ErrorCode::kInvalidArgument, "expected sound at ", sample_rate_hz, " Hz, found ",
         sound.samples.size(), " samples at ", sound.sample_rate_hz, " Hz");
  for (size_t i = 0; i < sound.samples.size(); ++i) {
    const float x = sound.samples[i];
    if (!std::isfinite(x))
      fail(ErrorCode::kInvalidArgument, "expected finite samples, found ",
           std::isnan(x) ? "not-a-number" : "infinity", " at sample ", i);
  }
}

SoundEncoder::SoundEncoder(const ModelConfig& config, const std::string& path, TensorSource& source,
                           Backend& backend, ComputeType compute)
    : backend_(&backend), mel_(config.audio->mel) {
  if (config.audio->out_size() != config.decoder.hidden_size)
    fail(ErrorCode::kCorruptData, "expected sound features of the decoder's width ",
         config.decoder.hidden_size, ", found ", config.audio->out_size(), " in ", path);
  encoder_ = AudioEncoder::load(*config.audio, source, backend, compute);
}

std::vector<SoundEncoder::Extent> SoundEncoder::measure(std::span<const SoundView> sounds) const {
  const LogMelConfig& mel = mel_.config();
  int64_t longest = 0;
  for (const SoundView& sound : sounds) {
    check_sound(sound, mel.sample_rate_hz);
    longest = std::max(longest, static_cast<int64_t>(sound.samples.size()));
  }
  const bool cut = mel.padded_samples > 0 && encoder_->config().joins_windows;
  std::vector<Extent> out;
  for (size_t i = 0; i < sounds.size(); ++i) {
    const auto samples = static_cast<int64_t>(sounds[i].samples.size());
    Extent e;
    e.sound = i;
    e.padded_samples = mel.padded_samples > 0 ? mel.padded_samples : longest;
    do {
      e.num_samples = std::min(samples - e.first_sample, e.padded_samples);
      e.num_frames = std::min((e.num_samples + mel.hop_length - 1) / mel.hop_length,
                              mel_.num_frames(e.padded_samples));
      if (e.num_frames < 1)
        fail(ErrorCode::kInvalidArgument, "expected sound of at least ", mel.hop_length,
             " samples, found ", samples);
      out.push_back(e);
      e.first_sample += e.num_samples;
    } while (cut && e.first_sample < samples);
  }
  return out;
}

std::vector<int64_t> SoundEncoder::count_tokens(std::span<const SoundView> sounds) const {
  std::vector<int64_t> out(sounds.size());
  for (const Extent& extent : measure(sounds))
    out[extent.sound] += encoder_->num_rows(extent.num_frames);
  return out;
}

std::vector<int64_t> SoundEncoder::surroundings(std::span<const SoundView> sounds) const {
  // More silence than this behind a sound is not seen: its frames end before.
  constexpr int64_t kSilenceSeen = 1024;
  const AudioConfig& config = encoder_->config();
  int64_t longest_frames = 0;
  const std::vector<Extent> extents = measure(sounds);
  for (const Extent& e : extents) longest_frames = std::max(longest_frames, e.num_frames);
  const int64_t chunk = config.chunks_padded ? std::min(config.chunk_frames, longest_frames) : 0;
  std::vector<int64_t> out(sounds.size());
  for (const Extent& e : extents) {
    const int64_t silence = mel_.config().padded_samples > 0
                                ? 0
                                : std::min(e.padded_samples - e.num_samples, kSilenceSeen);
    out[e.sound] = chunk * (kSilenceSeen + 1) + silence;
  }
  return out;
}

std::vector<Tensor> SoundEncoder::encode(std::span<const SoundView> sounds) const {
  return encode(sounds, std::vector<bool>(sounds.size(), true));
}

std::vector<Tensor> SoundEncoder::encode(std::span<const SoundView> sounds,
                                         const std::vector<bool>& wanted) const {
  ONNURI_CHECK(wanted.size() == sounds.size());
  const std::vector<Extent> extents = measure(sounds);
  std::vector<int64_t> rows(sounds.size());
  int64_t longest_frames = 0;
  for (const Extent& e : extents) {
    longest_frames = std::max(longest_frames, e.num_frames);
    if (wanted[e.sound]) rows[e.sound] += encoder_->num_rows(e.num_frames);
  }
  const int64_t width = encoder_->config().out_size();
  std::vector<Tensor> out;
  for (const int64_t count : rows)
    out.push_back(count > 0 ? Tensor(DType::kF32, {count, width}) : Tensor());
  std::vector<int64_t> done(sounds.size());
  for (const Extent& e : extents) {
    const int64_t count = encoder_->num_rows(e.num_frames);
    if (count == 0 || !wanted[e.sound]) continue;
    float* to = out[e.sound].f32() + done[e.sound] * width;
    encode_window(sounds[e.sound], e, longest_frames, matrix(to, count, width));
    done[e.sound] += count;
  }
  return out;
}

void SoundEncoder::encode_window(const SoundView& sound, const Extent& e, int64_t longest_frames,
                                 MatrixView out) const {
  const int64_t mels = mel_.config().num_mels;
  const int64_t frames = std::min(mel_.num_frames(e.padded_samples), e.num_frames + kFramesBehind);
  Tensor spectrogram(DType::kF32, {frames, mels});
  const MatrixView mel = matrix(spectrogram.f32(), frames, mels);
  const PaddedSignal signal{sound.samples.subspan(static_cast<size_t>(e.first_sample),
                                                  static_cast<size_t>(e.num_samples)),
                            e.padded_samples};
  LogMel::normalize(backend_->pool(), mel_.log_frames(backend_->pool(), signal, 0, mel), mel);
  encoder_->encode({mel, e.num_frames, longest_frames}, out);
}

std::unique_ptr<SoundEncoder> make_sound_encoder(const ModelConfig& config, const std::string& path,
                                                 TensorSource& source, Backend& backend,
                                                 ComputeType compute) {
  if (!config.audio || config.speech_decoder) return nullptr;
  return std::make_unique<SoundEncoder>(config, path, source, backend, compute);
}

}  // namespace onnuri
