#include "encoders/audio/audio_encoder.h"

#include "core/check.h"

namespace onnuri {
namespace {

constexpr int64_t kKernel = 3;
constexpr float kNormEps = 1e-5f;

Tensor load_f32(TensorSource& source, const std::string& name, const Shape& shape) {
  const TensorView stored = source.get(name, shape);
  Tensor out(DType::kF32, shape);
  dequantize(stored, out.f32());
  return out;
}

PackedMatrix load_conv(TensorSource& source, const std::string& name, const Shape& shape,
                       Backend& backend, ComputeType compute) {
  const Tensor weight = conv1d_weight_as_matrix(source.get(name, shape));
  return pack_matrix(backend, weight.view(), compute);
}

}  // namespace

AudioEncoder::AudioEncoder(const AudioConfig& config, Backend& backend)
    : config_(config), backend_(&backend) {}

std::unique_ptr<AudioEncoder> AudioEncoder::load(const AudioConfig& config, TensorSource& source,
                                                 Backend& backend, ComputeType compute) {
  std::unique_ptr<AudioEncoder> e(new AudioEncoder(config, backend));
  const int64_t hidden = config.transformer.hidden_size;
  // The stem is 3 % of the work and sees the raw spectrogram: it stays exact.
  e->conv1_ = load_conv(source, "audio.conv1.weight", {hidden, config.mel.num_mels, kKernel},
                        backend, ComputeType::kFloat32);
  e->conv2_ = load_conv(source, "audio.conv2.weight", {hidden, hidden, kKernel}, backend,
                        ComputeType::kFloat32);
  e->conv1_bias_ = load_f32(source, "audio.conv1.bias", {hidden});
  e->conv2_bias_ = load_f32(source, "audio.conv2.bias", {hidden});
  e->positions_ = load_f32(source, "audio.positions.weight", {config.max_positions, hidden});
  e->transformer_ = Transformer::load(config.transformer, source, "audio.", backend, compute);
  e->norm_weight_ = load_f32(source, "audio.norm.weight", {hidden});
  e->norm_bias_ = load_f32(source, "audio.norm.bias", {hidden});
  return e;
}

void AudioEncoder::encode(ConstMatrixView mel, MatrixView out) const {
  const int64_t hidden = config_.transformer.hidden_size;
  const int64_t rows = num_rows(mel.rows);
  if (mel.rows < 1 || rows > config_.max_positions) {
    fail(ErrorCode::kInvalidArgument, "expected 1 to ", 2 * config_.max_positions,
         " frames of sound, found ", mel.rows);
  }
  ONNURI_CHECK(mel.cols == config_.mel.num_mels && out.rows == rows && out.cols == hidden);

  Tensor stem(DType::kF32, {mel.rows, hidden});
  const MatrixView x = matrix(stem.f32(), mel.rows, hidden);
  conv1d(*backend_, mel, conv1_, conv1_bias_.f32(), kKernel, 1, 1, x);
  activate(*backend_, Activation::kGeluErf, x, x);
  conv1d(*backend_, x, conv2_, conv2_bias_.f32(), kKernel, 2, 1, out);
  activate(*backend_, Activation::kGeluErf, out, out);
  add_scaled(*backend_, matrix(positions_.f32(), rows, hidden), 1.0f, out);

  const Transformer::Segments whole = {0, rows};
  const std::function<const Transformer::Segments&(int64_t)> segments =
      [&](int64_t) -> const Transformer::Segments& { return whole; };
  transformer_->forward(out, segments, nullptr, nullptr);
  layer_norm(*backend_, out, norm_weight_.f32(), norm_bias_.f32(), kNormEps, out);
}

}  // namespace onnuri
