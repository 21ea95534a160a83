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

std::vector<SharedMedia> SoundEncoder::encode(std::span<const SoundView> sounds,
                                              FeatureStore& store) const {
  const std::vector<Extent> extents = measure(sounds);
  int64_t longest_frames = 0;
  for (const Extent& e : extents) longest_frames = std::max(longest_frames, e.num_frames);
  std::vector<SharedMedia> out;
  std::vector<ContentKey> keys;  // of one sound
  std::vector<SharedMedia> parts;
  for (size_t i = 0; i < extents.size(); ++i) {
    const Extent& e = extents[i];
    if (encoder_->num_rows(e.num_frames) > 0)
      encode_window(sounds[e.sound], e, longest_frames, store, keys, parts);
    if (i + 1 < extents.size() && extents[i + 1].sound == e.sound) continue;
    out.push_back(join_parts(parts));
    store.end_medium(key_of_parts(keys));
    parts.clear();
    keys.clear();
  }
  return out;
}

void SoundEncoder::encode_window(const SoundView& sound, const Extent& e, int64_t longest_frames,
                                 FeatureStore& store, std::vector<ContentKey>& keys,
                                 std::vector<SharedMedia>& parts) const {
  const AudioConfig& config = encoder_->config();
  const int64_t mels = mel_.config().num_mels;
  const int64_t frames = std::min(mel_.num_frames(e.padded_samples), e.num_frames + kFramesBehind);
  Tensor spectrogram(DType::kF32, {frames, mels});
  const MatrixView mel = matrix(spectrogram.f32(), frames, mels);
  const PaddedSignal signal{sound.samples.subspan(static_cast<size_t>(e.first_sample),
                                                  static_cast<size_t>(e.num_samples)),
                            e.padded_samples};
  {
    const Trace::Span span(store.trace(), "preprocess");
    LogMel::normalize(backend_->pool(), mel_.log_frames(backend_->pool(), signal, 0, mel), mel);
  }

  const int64_t unit = encoder_->unit_frames() > 0 ? encoder_->unit_frames() : e.num_frames;
  // A chunk that is filled up with silence knows how far.
  const int64_t filled = config.chunks_padded ? std::min(config.chunk_frames, longest_frames) : 0;
  for (int64_t first = 0; first < e.num_frames; first += unit) {
    const int64_t count = std::min(unit, e.num_frames - first);
    const int64_t rows = encoder_->num_rows(count);
    if (rows == 0) continue;
    // Whole sounds see the frames behind them too.
    const int64_t seen = encoder_->unit_frames() > 0 ? count : frames;
    const std::span<const float> values(mel.row(first), static_cast<size_t>(seen * mels));
    keys.push_back(ContentHash().add("sound").add(count).add(filled).add(values).finish());
    parts.push_back(store.get(keys.back(), [&] {
      const Trace::Span span(store.trace(), "encode", rows);
      EncodedMedia part{Tensor(DType::kF32, {rows, config.out_size()}), {}};
      encoder_->encode({{mel.row(first), seen, mel.cols, mel.stride}, count, longest_frames},
                       matrix(part.rows.f32(), rows, config.out_size()));
      return part;
    }));
  }
}

std::unique_ptr<SoundEncoder> make_sound_encoder(const ModelConfig& config, const std::string& path,
                                                 TensorSource& source, Backend& backend,
                                                 ComputeType compute) {
  if (!config.audio || config.speech_decoder) return nullptr;
  return std::make_unique<SoundEncoder>(config, path, source, backend, compute);
}

}  // namespace onnuri
