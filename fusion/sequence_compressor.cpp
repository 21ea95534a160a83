#include "fusion/sequence_compressor.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "core/check.h"
#include "core/pause_point.h"
#include "kernels/ops.h"

namespace onnuri {
namespace {

constexpr int64_t kMaxSize = 1 << 20;

std::vector<float> read_floats(TensorSource& source, const std::string& name, const Shape& shape) {
  std::vector<float> values(static_cast<size_t>(shape.num_elements()));
  dequantize(source.get(name, shape), values.data());
  return values;
}

MatrixView view(Tensor& t) { return matrix(t.f32(), t.shape()[0], t.shape()[1]); }

float dot(const float* a, const std::vector<float>& b) {
  float sum = 0;
  for (size_t i = 0; i < b.size(); ++i) sum += a[i] * b[i];
  return sum;
}

float sigmoid(float x) { return 1.0f / (1.0f + std::exp(-x)); }
float softplus(float x) { return x > 20.0f ? x : std::log1p(std::exp(x)); }

struct Product {
  PackedMatrix weight;
  std::vector<float> bias;  // or empty
};

Tensor apply(Backend& backend, ConstMatrixView x, const Product& product) {
  Tensor y(DType::kF32, Shape{x.rows, product.weight.rows()});
  linear(backend, x, product.weight, product.bias.empty() ? nullptr : product.bias.data(), view(y));
  return y;
}

void check_config(const SequenceCompressorConfig& c, const std::string& prefix) {
  for (const int64_t size : {c.in_size, c.hidden_size, c.out_size, c.chunk, c.num_layers,
                             c.inner_size, c.head_dim, c.state_size, c.conv_taps})
    if (size <= 0 || size > kMaxSize)
      fail(ErrorCode::kCorruptData, "expected sizes of 1 to 2^20 in the compressor \"", prefix,
           "\", found ", size);
  if (c.inner_size % c.head_dim != 0 || c.head_dim > 4096 || c.state_size > 4096)
    fail(ErrorCode::kCorruptData,
         "expected whole heads of at most 4096 columns in the compressor \"", prefix, "\", found ",
         c.inner_size, " over ", c.head_dim, ", states of ", c.state_size);
}

}  // namespace

struct SequenceCompressor::Layer {
  std::vector<float> norm, weigh, weigh_bias, gate, gate_bias;
  Product in, out;
  std::vector<float> conv, conv_bias;  // (taps, C), (C)
  std::vector<float> dt_bias, a_log, d, inner_norm;
};

struct SequenceCompressor::Weights {
  Product in, out;
  std::vector<float> question, in_norm, in_norm_bias, norm;
  std::vector<Layer> layers;
};

SequenceCompressor::SequenceCompressor(const SequenceCompressorConfig& config, Backend& backend)
    : config_(config), backend_(&backend), weights_(std::make_unique<Weights>()) {}

SequenceCompressor::~SequenceCompressor() = default;

std::unique_ptr<SequenceCompressor> SequenceCompressor::load(const SequenceCompressorConfig& config,
                                                             TensorSource& source,
                                                             const std::string& prefix,
                                                             Backend& backend,
                                                             ComputeType compute) {
  check_config(config, prefix);
  std::unique_ptr<SequenceCompressor> model(new SequenceCompressor(config, backend));
  const auto floats = [&](const std::string& name, const Shape& shape) {
    return read_floats(source, prefix + name, shape);
  };
  const auto product = [&](const std::string& name, int64_t out, int64_t in, bool bias) {
    Product p{pack_matrix(backend, source.get(prefix + name + ".weight", Shape{out, in}), compute),
              {}};
    if (bias) p.bias = floats(name + ".bias", Shape{out});
    return p;
  };
  const int64_t hidden = config.hidden_size, inner = config.inner_size;
  const int64_t mixed = inner + 2 * config.state_size, heads = inner / config.head_dim;
  Weights& w = *model->weights_;
  w.in = product("in", hidden, config.in_size, true);
  w.out = product("out", config.out_size, hidden, true);
  w.question = floats("question", Shape{hidden});
  w.in_norm = floats("in_norm.weight", Shape{hidden});
  w.in_norm_bias = floats("in_norm.bias", Shape{hidden});
  w.norm = floats("norm.weight", Shape{hidden});
  for (int64_t i = 0; i < config.num_layers; ++i) {
    const std::string name = "layers." + std::to_string(i) + ".";
    Layer& layer = w.layers.emplace_back();
    layer.norm = floats(name + "norm.weight", Shape{hidden});
    layer.weigh = floats(name + "weigh.weight", Shape{config.chunk, hidden});
    layer.weigh_bias = floats(name + "weigh.bias", Shape{config.chunk});
    layer.gate = floats(name + "gate.weight", Shape{1, hidden});
    layer.gate_bias = floats(name + "gate.bias", Shape{1});
    layer.in = product(name + "in", inner + mixed + heads, hidden, false);
    layer.out = product(name + "out", hidden, inner, false);
    const std::vector<float> taps = floats(name + "conv.weight", Shape{mixed, 1, config.conv_taps});
    layer.conv.resize(taps.size());
    for (int64_t c = 0; c < mixed; ++c)
      for (int64_t k = 0; k < config.conv_taps; ++k)
        layer.conv[static_cast<size_t>(k * mixed + c)] =
            taps[static_cast<size_t>(c * config.conv_taps + k)];
    layer.conv_bias = floats(name + "conv.bias", Shape{mixed});
    layer.dt_bias = floats(name + "dt_bias", Shape{heads});
    layer.a_log = floats(name + "a_log", Shape{heads});
    layer.d = floats(name + "d", Shape{heads});
    layer.inner_norm = floats(name + "inner_norm.weight", Shape{inner});
  }
  return model;
}

// The last row of each chunk takes a share of the weighted sum of the others.
void SequenceCompressor::ask(const Layer& layer, MatrixView n) const {
  const int64_t chunk = config_.chunk, cols = n.cols;
  backend_->pool().run(n.rows / (chunk + 1), [&](int64_t i, int) {
    float* question = n.row(i * (chunk + 1) + chunk);
    std::vector<float> weights;
    for (int64_t k = 0; k < chunk; ++k) {
      const float* row = layer.weigh.data() + k * cols;
      float sum = layer.weigh_bias[static_cast<size_t>(k)];
      for (int64_t c = 0; c < cols; ++c) sum += row[c] * question[c];
      weights.push_back(sum);
    }
    const float most = *std::max_element(weights.begin(), weights.end());
    float total = 0;
    for (float& weight : weights) total += weight = std::exp(weight - most);
    constexpr float kLeast = 0.01f;
    const float share =
        sigmoid(dot(question, layer.gate) + layer.gate_bias[0]) * (1 - 2 * kLeast) + kLeast;
    for (int64_t c = 0; c < cols; ++c) question[c] *= 1 - share;
    for (int64_t k = 0; k < chunk; ++k) {
      const float weight = weights[static_cast<size_t>(k)] / total * share;
      const float* row = n.row(i * (chunk + 1) + k);
      for (int64_t c = 0; c < cols; ++c) question[c] += weight * row[c];
    }
  });
}

// Heads are independent; rows follow each other.
void SequenceCompressor::scan(const Layer& layer, ConstMatrixView convolved, ConstMatrixView steps,
                              MatrixView y) const {
  const int64_t dim = config_.head_dim, size = config_.state_size, inner = config_.inner_size;
  backend_->pool().run(inner / dim, [&](int64_t head, int) {
    const auto h = static_cast<size_t>(head);
    const float decay = -std::exp(layer.a_log[h]);
    std::vector<float> state(static_cast<size_t>(dim * size), 0.0f);
    for (int64_t t = 0; t < y.rows; ++t) {
      const float* x = convolved.row(t) + head * dim;
      const float* b = convolved.row(t) + inner;
      const float* c = b + size;
      const float dt = softplus(steps.row(t)[head] + layer.dt_bias[h]);
      const float keep = std::exp(dt * decay);
      float* to = y.row(t) + head * dim;
      for (int64_t i = 0; i < dim; ++i) {
        float* s = state.data() + i * size;
        const float in = dt * x[i];
        float sum = 0;
        for (int64_t k = 0; k < size; ++k) {
          s[k] = s[k] * keep + in * b[k];
          sum += s[k] * c[k];
        }
        to[i] = sum + layer.d[h] * x[i];
      }
    }
  });
}

void SequenceCompressor::mix(const Layer& layer, ConstMatrixView n, MatrixView h) const {
  const int64_t inner = config_.inner_size, mixed = inner + 2 * config_.state_size;
  Tensor projected = apply(*backend_, n, layer.in);
  const MatrixView all = view(projected);
  const auto part = [&](int64_t first, int64_t count) {
    return MatrixView{all.data + first, all.rows, count, all.stride};
  };
  const MatrixView gate = part(0, inner), raw = part(inner, mixed);
  Tensor convolved(DType::kF32, Shape{n.rows, mixed}), scanned(DType::kF32, Shape{n.rows, inner});
  const MatrixView x = view(convolved), y = view(scanned);
  backend_->pool().run(n.rows, [&](int64_t t, int) {
    float* to = x.row(t);
    std::copy(layer.conv_bias.begin(), layer.conv_bias.end(), to);
    for (int64_t k = 0; k < config_.conv_taps; ++k) {
      const int64_t from = t + k - (config_.conv_taps - 1);
      if (from < 0) continue;
      const float* weight = layer.conv.data() + k * mixed;
      for (int64_t c = 0; c < mixed; ++c) to[c] += weight[c] * raw.row(from)[c];
    }
    for (int64_t c = 0; c < mixed; ++c) to[c] *= sigmoid(to[c]);
  });
  scan(layer, x, part(inner + mixed, all.cols - inner - mixed), y);
  rms_norm(*backend_, y, layer.inner_norm.data(), 0.0f, config_.norm_eps, y);
  backend_->pool().run(n.rows, [&](int64_t t, int) {
    for (int64_t c = 0; c < inner; ++c) y.row(t)[c] *= gate.row(t)[c] * sigmoid(gate.row(t)[c]);
  });
  const LinearTask out{&layer.out.weight, nullptr, h, true};
  linear(*backend_, y, {&out, 1});
}

Tensor SequenceCompressor::forward(ConstMatrixView x) const {
  ONNURI_CHECK(x.cols == config_.in_size);
  const Weights& w = *weights_;
  const int64_t chunk = config_.chunk, hidden = config_.hidden_size, count = num_rows(x.rows);
  const auto bytes = static_cast<size_t>(hidden) * sizeof(float);
  Tensor projected = apply(*backend_, x, w.in);
  Tensor rows(DType::kF32, Shape{count * (chunk + 1), hidden});
  const MatrixView h = view(rows);
  for (int64_t i = 0; i < count; ++i) {
    for (int64_t k = 0; k < chunk; ++k) {
      const int64_t from = i * chunk + k;
      const float* row = from < x.rows ? projected.f32() + from * hidden : w.in.bias.data();
      std::memcpy(h.row(i * (chunk + 1) + k), row, bytes);
    }
    std::memcpy(h.row(i * (chunk + 1) + chunk), w.question.data(), bytes);
  }
  layer_norm(*backend_, h, w.in_norm.data(), w.in_norm_bias.data(), config_.input_norm_eps, h);
  Tensor normed(DType::kF32, rows.shape());
  const MatrixView n = view(normed);
  for (const Layer& layer : w.layers) {
    rms_norm(*backend_, h, layer.norm.data(), 0.0f, config_.norm_eps, n);
    ask(layer, n);
    mix(layer, n, h);
    pause_point(static_cast<double>(h.rows) / static_cast<double>(w.layers.size()));
  }
  const MatrixView questions{h.row(chunk), count, hidden, h.stride * (chunk + 1)};
  Tensor last(DType::kF32, Shape{count, hidden});
  rms_norm(*backend_, questions, w.norm.data(), 0.0f, config_.norm_eps, view(last));
  return apply(*backend_, view(last), w.out);
}

}  // namespace onnuri
