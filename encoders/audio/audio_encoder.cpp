// Chunks of frames pass the stem one by one and attend in spans of chunks. Since no attention
// crosses a span, long sounds run in groups of spans: memory does not grow with their length, and
// the values are the same.
#include "encoders/audio/audio_encoder.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "core/check.h"
#include "kernels/ops.h"

namespace onnuri {
namespace {

constexpr int64_t kSpansPerGroup = 16;  // even: pairs of rows never cross a group
constexpr int64_t kMaxSize = 1 << 20;

std::vector<float> read_floats(TensorSource& source, const std::string& name, const Shape& shape) {
  std::vector<float> values(static_cast<size_t>(shape.num_elements()));
  dequantize(source.get(name, shape), values.data());
  return values;
}

// Timescales are float32, as the reference computes them.
std::vector<float> sinusoids(int64_t rows, int64_t width) {
  const int64_t half = width / 2;
  const double step = std::log(10000.0) / static_cast<double>(std::max<int64_t>(half - 1, 1));
  std::vector<float> out(static_cast<size_t>(rows * width));
  for (int64_t i = 0; i < half; ++i) {
    const float rate = std::exp(-static_cast<float>(step) * static_cast<float>(i));
    for (int64_t t = 0; t < rows; ++t) {
      const float angle = static_cast<float>(t) * rate;
      out[static_cast<size_t>(t * width + i)] = std::sin(angle);
      out[static_cast<size_t>(t * width + half + i)] = std::cos(angle);
    }
  }
  return out;
}

/// As the table of an axis: cos, sin (rows, head_dim / 2), timescales up to 10000.
struct RopeTables {
  std::vector<float> cos, sin;
};

RopeTables rope_tables(int64_t rows, int64_t head_dim) {
  RopeTables out;
  for (int64_t t = 0; t < rows; ++t)
    for (int64_t i = 0; i < head_dim; i += 2) {
      const float rate =
          1.0f / std::pow(10000.0f, static_cast<float>(i) / static_cast<float>(head_dim));
      out.cos.push_back(std::cos(static_cast<float>(t) * rate));
      out.sin.push_back(std::sin(static_cast<float>(t) * rate));
    }
  return out;
}

int64_t rows_of_stem(const AudioConfig& config, int64_t num_frames) {
  if (config.first_stride > 1)
    num_frames = (num_frames + config.first_stride - 1) / config.first_stride;
  return stem_rows(config.stem, num_frames);
}

void check_config(const AudioConfig& c) {
  const auto require = [](bool good, const char* what) {
    if (!good) fail(ErrorCode::kCorruptData, "expected ", what, " in the audio config");
  };
  require(c.max_positions > 0 && c.max_positions <= kMaxSize, "1 to 2^20 positions");
  require(c.chunk_frames >= 0 && c.chunk_frames <= kMaxSize, "chunks of at most 2^20 frames");
  require(c.chunk_frames > 0 || c.span_chunks == 0, "chunks for windows of them");
  require(c.chunk_frames == 0 || rows_of_stem(c, c.chunk_frames) <= c.max_positions,
          "chunks that the positions cover");
  require(c.span_chunks >= 0 && c.span_chunks <= kMaxSize, "windows of at most 2^20 chunks");
  require(c.stem == AudioStem::kConv1d || (c.stem_channels > 0 && c.stem_channels <= kMaxSize),
          "1 to 2^20 channels of convolutions");
  require(c.first_stride > 0 && c.first_stride <= 16 &&
              (c.first_stride == 1 || (c.stem == AudioStem::kConv1d && c.chunk_frames == 0)),
          "a stride of 1 to 16, of one convolution over whole sounds");
  require(c.transformer.rope == (c.positions == AudioPositions::kRope) &&
              (!c.transformer.rope || c.chunk_frames == 0),
          "heads that turn instead of other positions, over whole sounds");
  require(c.last_norm || !c.tail_sizes.empty(), "a norm or products behind the layers");
  require(c.positions != AudioPositions::kSinusoid || c.transformer.hidden_size % 2 == 0,
          "an even hidden size for sinusoids");
}

}  // namespace

AudioEncoder::AudioEncoder(const AudioConfig& config, Backend& backend)
    : config_(config), backend_(&backend) {}

std::unique_ptr<AudioEncoder> AudioEncoder::load(const AudioConfig& config, TensorSource& source,
                                                 Backend& backend, ComputeType compute) {
  check_config(config);
  std::unique_ptr<AudioEncoder> e(new AudioEncoder(config, backend));
  const int64_t hidden = config.transformer.hidden_size;
  e->stem_ = AudioStemLayers::load(config, source, backend, compute);
  if (config.positions == AudioPositions::kTable)
    e->positions_ = read_floats(source, "audio.positions.weight", {config.max_positions, hidden});
  else if (config.positions == AudioPositions::kSinusoid)
    e->positions_ = sinusoids(config.max_positions, hidden);
  e->transformer_ = Transformer::load(config.transformer, source, "audio.", backend, compute);
  if (config.last_norm) {
    e->norm_weight_ = read_floats(source, "audio.norm.weight", {hidden});
    e->norm_bias_ = read_floats(source, "audio.norm.bias", {hidden});
  }
  e->load_tail(source, compute);
  return e;
}

void AudioEncoder::load_tail(TensorSource& source, ComputeType compute) {
  int64_t in_size = config_.transformer.hidden_size;
  for (size_t i = 0; i < config_.tail_sizes.size(); ++i) {
    const std::string name = "audio.tail" + std::to_string(i + 1);
    const int64_t out_size = config_.tail_sizes[i];
    tail_.push_back(
        {pack_matrix(*backend_, source.get(name + ".weight", {out_size, in_size}), compute),
         read_floats(source, name + ".bias", {out_size})});
    in_size = out_size;
  }
}

int64_t AudioEncoder::stem_rows_of(int64_t num_frames) const {
  const int64_t chunk = config_.chunk_frames;
  if (chunk == 0) return rows_of_stem(config_, num_frames);
  return num_frames / chunk * rows_of_stem(config_, chunk) +
         rows_of_stem(config_, num_frames % chunk);
}

int64_t AudioEncoder::num_rows(int64_t num_frames) const {
  const int64_t rows = stem_rows_of(num_frames);
  return config_.mean_pairs ? rows / 2 : rows;
}

// Pairs of rows must not cross a border.
int64_t AudioEncoder::unit_frames() const {
  if (config_.span_chunks == 0) return 0;
  const int64_t rows = config_.span_chunks * rows_of_stem(config_, config_.chunk_frames);
  const int64_t spans = config_.mean_pairs && rows % 2 != 0 ? 2 : 1;
  return spans * config_.span_chunks * config_.chunk_frames;
}

void AudioEncoder::encode(const MelInput& input, MatrixView out) const {
  const int64_t frames = input.num_frames;
  const bool too_long =
      config_.chunk_frames == 0 && rows_of_stem(config_, frames) > config_.max_positions;
  if (frames < 1 || too_long) {
    fail(ErrorCode::kInvalidArgument, "expected sound of 1 to ",
         config_.chunk_frames == 0 ? 2 * config_.max_positions : kMaxSize, " frames, found ",
         frames);
  }
  ONNURI_CHECK(input.mel.cols == config_.mel.num_mels && input.mel.rows >= frames);
  ONNURI_CHECK(out.rows == num_rows(frames) && out.cols == config_.out_size());
  const int64_t group = config_.span_chunks == 0
                            ? frames
                            : kSpansPerGroup * config_.span_chunks * config_.chunk_frames;
  int64_t row = 0;
  for (int64_t first = 0; first < frames; first += group) {
    const int64_t count = std::min(group, frames - first);
    const int64_t rows = num_rows(count);
    if (rows == 0) continue;
    encode_group(input, first, count, {out.row(row), rows, out.cols, out.stride});
    row += rows;
  }
}

// One chunk after the other into h (stem_rows_of(num_frames), H), positions added.
void AudioEncoder::run_stem(const MelInput& input, int64_t first_frame, int64_t num_frames,
                            MatrixView h) const {
  const int64_t chunk = config_.chunk_frames;
  const auto add_positions = [&](MatrixView part) {
    if (positions_.empty()) return;
    add_scaled(*backend_, matrix(positions_.data(), part.rows, part.cols), 1.0f, part);
  };
  if (chunk == 0) {
    stem_->forward(input.mel, h);
    return add_positions(h);
  }
  const int64_t longest = std::min(chunk, std::max(input.longest_frames, input.num_frames));
  Tensor padded;
  int64_t row = 0;
  for (int64_t at = 0; at < num_frames; at += chunk) {
    const int64_t count = std::min(chunk, num_frames - at);
    ConstMatrixView mel{input.mel.row(first_frame + at), count, input.mel.cols, input.mel.stride};
    if (config_.chunks_padded && count < longest) {
      padded = Tensor(DType::kF32, {longest, mel.cols});
      std::fill_n(padded.f32(), longest * mel.cols, 0.0f);
      for (int64_t t = 0; t < count; ++t)
        std::copy_n(mel.row(t), mel.cols, padded.f32() + t * mel.cols);
      mel = matrix(padded.f32(), longest, mel.cols);
    }
    const MatrixView part{h.row(row), rows_of_stem(config_, count), h.cols, h.stride};
    stem_->forward(mel, part);
    add_positions(part);
    row += part.rows;
  }
}

void AudioEncoder::encode_group(const MelInput& input, int64_t first_frame, int64_t num_frames,
                                MatrixView out) const {
  const int64_t hidden = config_.transformer.hidden_size;
  const int64_t rows = stem_rows_of(num_frames);
  Tensor features(DType::kF32, {rows, hidden});
  const MatrixView h = matrix(features.f32(), rows, hidden);
  run_stem(input, first_frame, num_frames, h);

  Transformer::Segments segments = {0};
  const int64_t span = config_.span_chunks == 0
                           ? rows
                           : config_.span_chunks * rows_of_stem(config_, config_.chunk_frames);
  while (segments.back() < rows) segments.push_back(std::min(segments.back() + span, rows));
  const std::function<const Transformer::Segments&(int64_t)> segments_of_layer =
      [&](int64_t) -> const Transformer::Segments& { return segments; };
  RopeTables rope;
  if (config_.transformer.rope) rope = rope_tables(rows, config_.transformer.head_dim);
  transformer_->forward(h, segments_of_layer, rope.cos.data(), rope.sin.data());
  finish(h, out);
}

void AudioEncoder::finish(MatrixView h, MatrixView out) const {
  MatrixView x{h.data, out.rows, h.cols, h.stride};
  if (config_.mean_pairs) {
    for (int64_t i = 0; i < out.rows; ++i)
      for (int64_t c = 0; c < h.cols; ++c)
        x.row(i)[c] = (h.row(2 * i)[c] + h.row(2 * i + 1)[c]) * 0.5f;
  }
  const auto norm = [&](MatrixView y) {
    layer_norm(*backend_, x, norm_weight_.data(), norm_bias_.data(), config_.norm_eps, y);
  };
  if (tail_.empty()) return norm(out);
  if (config_.last_norm) norm(x);
  Tensor buffer;
  for (size_t i = 0; i < tail_.size(); ++i) {
    const bool last = i + 1 == tail_.size();
    const int64_t width = tail_[i].weight.rows();
    Tensor next;
    if (!last) next = Tensor(DType::kF32, {x.rows, width});
    const MatrixView y = last ? out : matrix(next.f32(), x.rows, width);
    linear(*backend_, x, tail_[i].weight, tail_[i].bias.data(), y);
    if (last) break;
    activate(*backend_, Activation::kGeluErf, y, y);
    buffer = std::move(next);
    x = matrix(buffer.f32(), x.rows, width);
  }
}

}  // namespace onnuri
