// The encoder forward pass. Pre-norm layers over packed rows:
//
//   h += o(attention(rope(q), rope(k), v of norm1(h)))     inside segments, bidirectional
//        [+ v + conv(v)]                                   each column for itself
//   h += down(act(gate) * up of norm2(h))                  or fc2(act(fc1(norm2(h))))
//
// Rows are independent outside attention, so the feed-forward runs in blocks of rows whose
// activations stay in cache. Sources: Vaswani et al. 2017; Dosovitskiy et al. 2021.
#include "encoders/transformer.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <string>

#include "core/check.h"
#include "core/pause_point.h"

namespace onnuri {

namespace {

constexpr int64_t kFfnBlockRows = 256;
constexpr double kAttentionShare = 1.0 / 3;  // of a layer's work, roughly

struct NormWeights {
  std::vector<float> weight;  // (hidden_size)
  std::vector<float> bias;    // (hidden_size), empty for RMS
};

struct LayerWeights {
  NormWeights norm1, norm2;
  PackedMatrix qkv;             // ((heads + 2 * kv_heads) * head_dim, hidden_size)
  std::vector<float> qkv_bias;  // zeros where a projection has none; empty when none has
  PackedMatrix o;               // (hidden_size, heads * head_dim)
  std::vector<float> o_bias;
  PackedMatrix in;  // fc1, or gate above up
  std::vector<float> in_bias;
  std::vector<float> memory;  // (memory_taps, heads * head_dim) or empty
  PackedMatrix out;           // fc2, or down
  std::vector<float> out_bias;
};

std::vector<float> read_vector(TensorSource& source, const std::string& name, int64_t size) {
  std::vector<float> values(static_cast<size_t>(size));
  dequantize(source.get(name, Shape{size}), values.data());
  return values;
}

void append(std::vector<float>& to, const std::vector<float>& part) {
  to.insert(to.end(), part.begin(), part.end());
}

const float* data_or_null(const std::vector<float>& v) { return v.empty() ? nullptr : v.data(); }

GluKind glu_kind(Activation activation) {
  switch (activation) {
    case Activation::kSilu: return GluKind::kSilu;
    case Activation::kGeluErf: return GluKind::kGeluErf;
    case Activation::kGeluTanh: return GluKind::kGeluTanh;
    default: break;
  }
  fail(ErrorCode::kUnsupported,
       "expected SiLU or GELU as the activation of a gated encoder layer, found another");
}

/// Loads the layers of one encoder, name by name.
class LayerLoader {
 public:
  LayerLoader(const TransformerConfig& config, TensorSource& source, Backend& backend,
              ComputeType compute)
      : config_(config), source_(source), backend_(backend), compute_(compute) {}

  LayerWeights load(const std::string& prefix) {
    LayerWeights w;
    w.norm1 = norm(prefix + "norm1");
    w.norm2 = norm(prefix + "norm2");
    load_attention(prefix, w);
    load_ffn(prefix, w);
    return w;
  }

 private:
  NormWeights norm(const std::string& name) {
    NormWeights w;
    w.weight = read_vector(source_, name + ".weight", config_.hidden_size);
    if (config_.norm == EncoderNorm::kLayerNorm)
      w.bias = read_vector(source_, name + ".bias", config_.hidden_size);
    return w;
  }

  void load_attention(const std::string& prefix, LayerWeights& w) {
    const int64_t width = config_.num_heads * config_.head_dim;
    const int64_t kv_width = config_.kv_heads() * config_.head_dim;
    const Shape kv_shape{kv_width, config_.hidden_size};
    const std::array<TensorView, 3> parts = {
        source_.get(prefix + "q.weight", Shape{width, config_.hidden_size}),
        source_.get(prefix + "k.weight", kv_shape), source_.get(prefix + "v.weight", kv_shape)};
    w.qkv = pack_matrices(backend_, parts, compute_);
    if (config_.q_bias || config_.k_bias || config_.v_bias) {
      const auto add = [&](bool stored, const char* name, int64_t size) {
        append(w.qkv_bias, stored ? read_vector(source_, prefix + name, size)
                                  : std::vector<float>(static_cast<size_t>(size), 0.0f));
      };
      add(config_.q_bias, "q.bias", width);
      add(config_.k_bias, "k.bias", kv_width);
      add(config_.v_bias, "v.bias", kv_width);
    }
    w.o = pack_matrix(backend_, source_.get(prefix + "o.weight", Shape{config_.hidden_size, width}),
                      compute_);
    if (config_.o_bias) w.o_bias = read_vector(source_, prefix + "o.bias", config_.hidden_size);
    load_memory(prefix, w);
  }

  void load_memory(const std::string& prefix, LayerWeights& w) {
    const int64_t taps = config_.memory_taps, width = config_.hidden_size;
    if (taps == 0) return;
    std::vector<float> stored(static_cast<size_t>(width * taps));
    dequantize(source_.get(prefix + "memory.weight", Shape{width, 1, taps}), stored.data());
    w.memory.resize(stored.size());
    for (int64_t c = 0; c < width; ++c)
      for (int64_t k = 0; k < taps; ++k)
        w.memory[static_cast<size_t>(k * width + c)] = stored[static_cast<size_t>(c * taps + k)];
  }

  void load_ffn(const std::string& prefix, LayerWeights& w) {
    const int64_t hidden = config_.hidden_size;
    const int64_t wide = config_.intermediate_size;
    const std::string last = prefix + (config_.gated_ffn ? "down" : "fc2");
    if (config_.gated_ffn) {
      const std::array<TensorView, 2> parts = {
          source_.get(prefix + "gate.weight", Shape{wide, hidden}),
          source_.get(prefix + "up.weight", Shape{wide, hidden})};
      w.in = pack_matrices(backend_, parts, compute_);
      if (config_.ffn_bias) {
        append(w.in_bias, read_vector(source_, prefix + "gate.bias", wide));
        append(w.in_bias, read_vector(source_, prefix + "up.bias", wide));
      }
    } else {
      w.in =
          pack_matrix(backend_, source_.get(prefix + "fc1.weight", Shape{wide, hidden}), compute_);
      if (config_.ffn_bias) w.in_bias = read_vector(source_, prefix + "fc1.bias", wide);
    }
    w.out = pack_matrix(backend_, source_.get(last + ".weight", Shape{hidden, wide}), compute_);
    if (config_.ffn_bias) w.out_bias = read_vector(source_, last + ".bias", hidden);
  }

  const TransformerConfig& config_;
  TensorSource& source_;
  Backend& backend_;
  ComputeType compute_;
};

/// A buffer that grows and is kept between calls.
class Workspace {
 public:
  MatrixView matrix(int64_t rows, int64_t cols) {
    const int64_t needed = rows * cols;
    if (buffer_.empty() || buffer_.shape().num_elements() < needed)
      buffer_ = Tensor(DType::kF32, Shape{needed});
    return {buffer_.f32(), rows, cols, cols};
  }

 private:
  Tensor buffer_;
};

MatrixView rows(MatrixView m, int64_t begin, int64_t count) {
  return {m.row(begin), count, m.cols, m.stride};
}

void check_config(const TransformerConfig& c, const std::string& prefix) {
  const auto positive = [&](int64_t value, const char* what) {
    if (value <= 0)
      fail(ErrorCode::kCorruptData, "expected a positive ", what, " for the encoder \"", prefix,
           "\", found ", value);
  };
  positive(c.num_layers, "number of layers");
  positive(c.hidden_size, "hidden size");
  positive(c.num_heads, "number of heads");
  positive(c.head_dim, "head size");
  positive(c.intermediate_size, "intermediate size");
  if (c.num_kv_heads < 0 || c.num_heads % c.kv_heads() != 0)
    fail(ErrorCode::kCorruptData, "expected key heads that divide the ", c.num_heads,
         " query heads of the encoder \"", prefix, "\", found ", c.num_kv_heads);
  if (c.memory_taps != 0 && (c.memory_taps < 0 || c.memory_taps % 2 == 0 || c.memory_taps > 4096 ||
                             c.kv_heads() * c.head_dim != c.hidden_size))
    fail(ErrorCode::kCorruptData, "expected an odd number of memory taps below 4096 and values of ",
         c.hidden_size, " columns in the encoder \"", prefix, "\", found ", c.memory_taps, " over ",
         c.kv_heads() * c.head_dim);
  if (c.rope && c.head_dim % 2 != 0)
    fail(ErrorCode::kCorruptData, "expected an even head size for rope in the encoder \"", prefix,
         "\", found ", c.head_dim);
}

}  // namespace

struct Transformer::Weights {
  std::vector<LayerWeights> layers;
  // Between calls only the memory matters, not the values.
  Workspace normed, qkv, attended, ffn_in, ffn_wide, ffn_act;
};

Transformer::Transformer(const TransformerConfig& config, Backend& backend)
    : config_(config), backend_(&backend), weights_(std::make_unique<Weights>()) {}

Transformer::~Transformer() = default;

std::unique_ptr<Transformer> Transformer::load(const TransformerConfig& config,
                                               TensorSource& source, const std::string& prefix,
                                               Backend& backend, ComputeType compute) {
  check_config(config, prefix);
  if (config.gated_ffn) glu_kind(config.activation);
  std::unique_ptr<Transformer> model(new Transformer(config, backend));
  LayerLoader loader(model->config_, source, backend, compute);
  for (int64_t i = 0; i < config.num_layers; ++i)
    model->weights_->layers.push_back(loader.load(prefix + "layers." + std::to_string(i) + "."));
  return model;
}

namespace {

void normalize(Backend& backend, const TransformerConfig& config, float eps, ConstMatrixView x,
               const NormWeights& w, MatrixView y) {
  if (config.norm == EncoderNorm::kRmsNorm)
    rms_norm(backend, x, w.weight.data(), 0.0f, eps, y);
  else
    layer_norm(backend, x, w.weight.data(), w.bias.data(), eps, y);
}

/// h += v + its convolution along the rows of each segment.
void add_memory(Backend& backend, const std::vector<float>& memory, int64_t taps,
                const Transformer::Segments& segments, ConstMatrixView v, MatrixView h) {
  if (!backend.computes()) return;
  for (size_t s = 0; s + 1 < segments.size(); ++s) {
    const int64_t begin = segments[s], end = segments[s + 1];
    backend.pool().run(end - begin, [&](int64_t i, int) {
      const int64_t row = begin + i, first = row - taps / 2;
      float* to = h.row(row);
      for (int64_t c = 0; c < v.cols; ++c) to[c] += v.row(row)[c];
      for (int64_t k = 0; k < taps; ++k) {
        if (first + k < begin || first + k >= end) continue;
        const float* from = v.row(first + k);
        const float* weight = memory.data() + k * v.cols;
        for (int64_t c = 0; c < v.cols; ++c) to[c] += weight[c] * from[c];
      }
    });
  }
}

}  // namespace

void Transformer::forward(
    MatrixView h, const std::function<const Segments&(int64_t)>& segments_of_layer,
    const float* cos, const float* sin,
    const std::function<void(int64_t layer, ConstMatrixView h)>& after_layer) const {
  const TransformerConfig& c = config_;
  ONNURI_CHECK(h.cols == c.hidden_size);
  ONNURI_CHECK(!c.rope || h.rows == 0 || (cos != nullptr && sin != nullptr));
  if (h.rows == 0) return;

  Backend& backend = *backend_;
  Weights& ws = *weights_;
  const int64_t width = c.num_heads * c.head_dim;
  const MatrixView normed = ws.normed.matrix(h.rows, c.hidden_size);
  const int64_t kv_width = c.kv_heads() * c.head_dim;
  const MatrixView qkv = ws.qkv.matrix(h.rows, width + 2 * kv_width);
  const MatrixView attended = ws.attended.matrix(h.rows, width);
  const float scale = 1.0f / std::sqrt(static_cast<float>(c.head_dim));

  for (int64_t i = 0; i < c.num_layers; ++i) {
    const LayerWeights& w = ws.layers[static_cast<size_t>(i)];
    const Segments& segments = segments_of_layer(i);
    ONNURI_CHECK(!segments.empty() && segments.front() == 0 && segments.back() == h.rows);

    normalize(backend, c, c.norm_eps, h, w.norm1, normed);
    linear(backend, normed, w.qkv, data_or_null(w.qkv_bias), qkv);
    pause_point(0);
    if (c.rope)  // q and k lie side by side: all their heads in one pass
      apply_rope(backend, RopeLayout::kHalf, c.num_heads + c.kv_heads(), c.head_dim, c.head_dim,
                 cos, sin, columns(qkv, 0, width + kv_width));
    attention_packed(backend, columns(qkv, 0, width), columns(qkv, width, kv_width),
                     columns(qkv, width + kv_width, kv_width), segments, c.num_heads, scale,
                     attended, c.causal);
    const LinearTask out{&w.o, data_or_null(w.o_bias), h, true};
    linear(backend, attended, {&out, 1});
    if (c.memory_taps > 0)
      add_memory(backend, w.memory, c.memory_taps, segments,
                 columns(qkv, width + kv_width, kv_width), h);

    pause_point(kAttentionShare * share_of(h.rows));
    feed_forward(h, i);
    if (after_layer) after_layer(i, h);
  }
}

double Transformer::share_of(int64_t rows) const {
  return static_cast<double>(rows) / static_cast<double>(config_.num_layers);
}

void Transformer::feed_forward(MatrixView h, int64_t layer) const {
  const TransformerConfig& c = config_;
  Weights& ws = *weights_;
  const LayerWeights& w = ws.layers[static_cast<size_t>(layer)];
  const int64_t block = std::min(h.rows, kFfnBlockRows);
  const int64_t wide = c.gated_ffn ? 2 * c.intermediate_size : c.intermediate_size;
  const MatrixView normed = ws.ffn_in.matrix(block, c.hidden_size);
  const MatrixView up = ws.ffn_wide.matrix(block, wide);
  const MatrixView gated = c.gated_ffn ? ws.ffn_act.matrix(block, c.intermediate_size) : up;

  for (int64_t begin = 0; begin < h.rows; begin += block) {
    const int64_t count = std::min(block, h.rows - begin);
    const MatrixView x = rows(normed, 0, count);
    const MatrixView y = rows(up, 0, count);
    const MatrixView z = rows(gated, 0, count);
    const MatrixView target = rows(h, begin, count);
    normalize(*backend_, c, c.ffn_norm_eps > 0 ? c.ffn_norm_eps : c.norm_eps, target, w.norm2, x);
    linear(*backend_, x, w.in, data_or_null(w.in_bias), y);
    if (c.gated_ffn)
      glu(*backend_, GluParams{glu_kind(c.activation), 0.0f, 0.0f}, y, z);
    else
      activate(*backend_, c.activation, y, z);
    const LinearTask out{&w.out, data_or_null(w.out_bias), target, true};
    linear(*backend_, z, {&out, 1});
    pause_point((1 - kAttentionShare) * share_of(count));
  }
}

}  // namespace onnuri
