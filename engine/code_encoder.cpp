// Everything here runs in float32: rounding would change codes.
#include "engine/code_encoder.h"

#include <algorithm>
#include <cmath>

#include "core/check.h"
#include "encoders/vision/tiling.h"
#include "engine/sound_encoder.h"

namespace onnuri {

CodeEncoder::CodeEncoder(const CodesConfig& config, TensorSource& source,
                         TensorSource& audio_source, Backend& backend)
    : config_(config), backend_(&backend) {
  constexpr ComputeType kExact = ComputeType::kFloat32;
  if (config.vision) {
    ONNURI_CHECK(config.vision->tiling.has_value());
    vision_ = VisionEncoder::load(*config.vision, source, "code_vision.", backend, kExact);
    table_ = VectorCodes::load(config.table, source, "codes.", backend);
  }
  if (config.audio) {
    mel_ = std::make_unique<LogMel>(config.audio->mel);
    audio_ = AudioEncoder::load(*config.audio, audio_source, backend, kExact);
  }
}

int64_t CodeEncoder::grid_side() const {
  if (!vision_)
    fail(ErrorCode::kUnsupported, "expected an encoder for codes of pictures in the checkpoint");
  return config_.vision->position_grid_side;
}

const PictureShape* CodeEncoder::nearest_shape(const Image& image) const {
  const PictureShape* best = nullptr;
  const double ratio = static_cast<double>(image.width) / static_cast<double>(image.height);
  const auto distance = [&](const PictureShape& s) { return std::abs(ratio - s.width_to_height); };
  for (const PictureShape& shape : config_.shapes)
    if (best == nullptr || distance(shape) < distance(*best)) best = &shape;
  return best;
}

std::vector<int32_t> CodeEncoder::encode(const Image& image) const {
  const int64_t count = grid_side() * grid_side();
  const TileConfig& tiling = *config_.vision->tiling;
  const TilePlan plan = plan_tiling(tiling, {image.height, image.width});
  const std::vector<Image> tiles =
      cut_tiles(tiling, plan, config_.vision->processor.filter, image, &backend_->pool());
  const VisionFeatures features = vision_->forward(tiles);
  const Shape& shape = features.rows.shape();
  ONNURI_CHECK(shape[0] == count);
  std::vector<int32_t> codes = table_->forward(matrix(features.rows.f32(), shape[0], shape[1]));
  for (int32_t& code : codes) code += config_.first_image_code;
  return codes;
}

// The ends of the pieces of a sound.
std::vector<int64_t> CodeEncoder::cut(int64_t num_samples) const {
  std::vector<int64_t> ends;
  for (int64_t end = 0; end < num_samples; ends.push_back(end)) {
    const bool last = config_.window_samples == 0 || num_samples - end <= config_.window_samples;
    end = last ? num_samples : end + config_.window_samples;
    if (num_samples - end < config_.shortest_samples) end = num_samples;
  }
  return ends;
}

int64_t CodeEncoder::num_audio_codes(const Waveform& sound) const {
  if (!audio_)
    fail(ErrorCode::kUnsupported, "expected an encoder for codes of sounds in the checkpoint");
  check_sound(sound, mel_->config().sample_rate_hz);
  int64_t count = 0, begin = 0;
  for (const int64_t end : cut(static_cast<int64_t>(sound.samples.size()))) {
    const int64_t samples = std::max(end - begin, config_.shortest_samples);
    count += audio_->num_rows(mel_->num_frames(samples));
    begin = end;
  }
  return count;
}

std::vector<int32_t> CodeEncoder::encode(const Waveform& sound) const {
  std::vector<int32_t> out;
  out.reserve(static_cast<size_t>(num_audio_codes(sound)));
  int64_t begin = 0;
  for (const int64_t end : cut(static_cast<int64_t>(sound.samples.size()))) {
    std::vector<float> samples(sound.samples.begin() + begin, sound.samples.begin() + end);
    const int64_t wanted = std::max(end - begin, config_.shortest_samples);
    samples.resize(static_cast<size_t>(wanted), 0.0f);
    begin = end;
    const std::vector<float> mel = mel_->compute(backend_->pool(), samples);
    const int64_t frames = mel_->num_frames(wanted);
    const int64_t rows = audio_->num_rows(frames);
    Tensor digits(DType::kF32, Shape{rows, config_.audio->out_size()});
    const MatrixView d = matrix(digits.f32(), rows, config_.audio->out_size());
    audio_->encode({matrix(mel.data(), frames, mel_->config().num_mels), frames, frames}, d);
    for (const int32_t code : ternary_codes(d)) out.push_back(config_.first_audio_code + code);
  }
  return out;
}

std::shared_ptr<CodeEncoder> make_code_encoder(const ModelConfig& config, TensorSource& source,
                                               Backend& backend) {
  if (!config.codes) return nullptr;
  TensorSource audio(source.checkpoint(), [names = config.names](const std::string& canonical) {
    return names("code_" + canonical);
  });
  auto out = std::make_shared<CodeEncoder>(*config.codes, source, audio, backend);
  for (const std::string& prefix : config.codes->stored_below) source.ignore_prefix(prefix);
  return out;
}

}  // namespace onnuri
