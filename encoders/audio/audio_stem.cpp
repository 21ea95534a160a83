// Both stems are products: a convolution of kernel 3 reads rows of neighbouring frames.
//
//   1-d: gelu(conv, stride 1), gelu(conv, stride 2)                     (Radford et al. 2022)
//   2-d: three times gelu(conv 3 x 3, stride 2 in time and mel), then one product per frame
//
// Source of the second: transformers 5.23, models/qwen3_omni_moe.
#include "encoders/audio/audio_stem.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "core/check.h"
#include "kernels/ops.h"

namespace onnuri {
namespace {

constexpr int64_t kKernel = 3;

int64_t halved(int64_t n) { return (n + 1) / 2; }

Tensor load_f32(TensorSource& source, const std::string& name, const Shape& shape) {
  const TensorView stored = source.get(name, shape);
  Tensor out(DType::kF32, shape);
  dequantize(stored, out.f32());
  return out;
}

void copy_first_rows(ConstMatrixView from, MatrixView to) {
  for (int64_t i = 0; i < to.rows; ++i)
    std::memcpy(to.row(i), from.row(i), static_cast<size_t>(to.cols) * sizeof(float));
}

class Conv1dStem final : public AudioStemLayers {
 public:
  Conv1dStem(const AudioConfig& config, TensorSource& source, Backend& backend)
      : backend_(backend),
        hidden_(config.transformer.hidden_size),
        first_stride_(config.first_stride) {
    weight1_ = load_conv(source, "audio.conv1.weight", config.mel.num_mels);
    weight2_ = load_conv(source, "audio.conv2.weight", hidden_);
    bias1_ = load_f32(source, "audio.conv1.bias", {hidden_});
    bias2_ = load_f32(source, "audio.conv2.bias", {hidden_});
  }

  void forward(ConstMatrixView mel, MatrixView out) const override {
    const int64_t frames = (mel.rows - 1) / first_stride_ + 1;
    Tensor first(DType::kF32, {frames, hidden_});
    const MatrixView x = matrix(first.f32(), frames, hidden_);
    conv1d(backend_, mel, weight1_, bias1_.f32(), kKernel, first_stride_, 1, x);
    activate(backend_, Activation::kGeluErf, x, x);
    const int64_t rows = halved(frames);
    if (rows == out.rows) {
      conv1d(backend_, x, weight2_, bias2_.f32(), kKernel, 2, 1, out);
    } else {
      Tensor second(DType::kF32, {rows, hidden_});
      const MatrixView y = matrix(second.f32(), rows, hidden_);
      conv1d(backend_, x, weight2_, bias2_.f32(), kKernel, 2, 1, y);
      copy_first_rows(y, out);
    }
    activate(backend_, Activation::kGeluErf, out, out);
  }

 private:
  // The stem is 3 % of the work and sees the raw spectrogram: it stays exact.
  PackedMatrix load_conv(TensorSource& source, const std::string& name, int64_t in_size) {
    const Tensor weight = conv1d_weight_as_matrix(source.get(name, {hidden_, in_size, kKernel}));
    return pack_matrix(backend_, weight.view(), ComputeType::kFloat32);
  }

  Backend& backend_;
  int64_t hidden_;
  int64_t first_stride_;
  PackedMatrix weight1_, weight2_;
  Tensor bias1_, bias2_;
};

/// Values of one layer: (frames * mels, channels), mels of one frame beside each other.
struct FrameGrid {
  int64_t frames = 0, mels = 0, channels = 0;
  Tensor values;
};

class Conv2dStem final : public AudioStemLayers {
 public:
  Conv2dStem(const AudioConfig& config, TensorSource& source, Backend& backend, ComputeType compute)
      : backend_(backend), channels_(config.stem_channels) {
    int64_t in_size = 1, mels = config.mel.num_mels;
    for (size_t i = 0; i < layers_.size(); ++i) {
      const std::string name = "audio.conv" + std::to_string(i + 1);
      const Tensor weight = patch_weight(source.get(name + ".weight", {channels_, in_size, 3, 3}));
      layers_[i].weight = pack_matrix(backend, weight.view(), ComputeType::kFloat32);
      layers_[i].bias = load_f32(source, name + ".bias", {channels_});
      in_size = channels_;
      mels = halved(mels);
    }
    const Shape shape{config.transformer.hidden_size, channels_ * mels};
    const Tensor out = channels_last(load_f32(source, "audio.conv_out.weight", shape), mels);
    out_ = pack_matrix(backend, out.view(), compute);
  }

  void forward(ConstMatrixView mel, MatrixView out) const override {
    FrameGrid grid{mel.rows, mel.cols, 1, Tensor(DType::kF32, {mel.rows * mel.cols})};
    for (int64_t t = 0; t < mel.rows; ++t)
      std::copy_n(mel.row(t), mel.cols, grid.values.f32() + t * mel.cols);
    for (const Layer& layer : layers_) grid = convolve(grid, layer);
    ONNURI_CHECK(out.rows <= grid.frames && grid.mels * grid.channels == out_.cols());
    linear(backend_, matrix(grid.values.f32(), out.rows, out_.cols()), out_, nullptr, out);
  }

 private:
  struct Layer {
    PackedMatrix weight;  // (C, 9 * Cin): time, mel, channel
    Tensor bias;
  };

  // (C, Cin, mel, time) as stored to (C, time, mel, Cin).
  Tensor patch_weight(const TensorView& stored) const {
    const int64_t in_size = stored.shape[1];
    Tensor plain(DType::kF32, stored.shape);
    dequantize(stored, plain.f32());
    Tensor out(DType::kF32, {channels_, 9 * in_size});
    for (int64_t c = 0; c < channels_; ++c)
      for (int64_t i = 0; i < in_size; ++i)
        for (int64_t tap = 0; tap < 9; ++tap)
          out.f32()[(c * 9 + tap % 3 * 3 + tap / 3) * in_size + i] =
              plain.f32()[(c * in_size + i) * 9 + tap];
    return out;
  }

  // Columns (channel, mel) as stored to (mel, channel).
  Tensor channels_last(const Tensor& stored, int64_t mels) const {
    Tensor out(DType::kF32, stored.shape());
    for (int64_t r = 0; r < stored.shape()[0]; ++r) {
      const float* from = stored.f32() + r * channels_ * mels;
      float* to = out.f32() + r * channels_ * mels;
      for (int64_t c = 0; c < channels_; ++c)
        for (int64_t m = 0; m < mels; ++m) to[m * channels_ + c] = from[c * mels + m];
    }
    return out;
  }

  FrameGrid convolve(const FrameGrid& in, const Layer& layer) const {
    const int64_t frames = halved(in.frames), mels = halved(in.mels), width = 9 * in.channels;
    Tensor patches(DType::kF32, {frames * mels, width});
    backend_.pool().run(frames, [&](int64_t t, int) {
      float* to = patches.f32() + t * mels * width;
      for (int64_t m = 0; m < mels; ++m)
        for (int64_t dt = -1; dt <= 1; ++dt)
          for (int64_t dm = -1; dm <= 1; ++dm, to += in.channels) {
            const int64_t frame = 2 * t + dt, mel = 2 * m + dm;
            if (frame < 0 || frame >= in.frames || mel < 0 || mel >= in.mels)
              std::fill_n(to, in.channels, 0.0f);
            else
              std::copy_n(in.values.f32() + (frame * in.mels + mel) * in.channels, in.channels, to);
          }
    });
    FrameGrid out{frames, mels, channels_, Tensor(DType::kF32, {frames * mels, channels_})};
    const MatrixView y = matrix(out.values.f32(), frames * mels, channels_);
    linear(backend_, matrix(patches.f32(), frames * mels, width), layer.weight, layer.bias.f32(),
           y);
    activate(backend_, Activation::kGeluErf, y, y);
    return out;
  }

  Backend& backend_;
  int64_t channels_;
  std::array<Layer, 3> layers_;
  PackedMatrix out_;
};

}  // namespace

int64_t stem_rows(AudioStem stem, int64_t num_frames) {
  return stem == AudioStem::kConv1d ? halved(num_frames) : halved(halved(halved(num_frames)));
}

std::unique_ptr<AudioStemLayers> AudioStemLayers::load(const AudioConfig& config,
                                                       TensorSource& source, Backend& backend,
                                                       ComputeType compute) {
  if (config.stem == AudioStem::kConv1d)
    return std::make_unique<Conv1dStem>(config, source, backend);
  return std::make_unique<Conv2dStem>(config, source, backend, compute);
}

}  // namespace onnuri
