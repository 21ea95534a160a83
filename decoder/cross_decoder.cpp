#include "decoder/cross_decoder.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <string>
#include <vector>

#include "core/check.h"

namespace onnuri {
namespace {

constexpr int64_t kPageRows = 64;

int64_t num_pages(int64_t rows) { return (rows + kPageRows - 1) / kPageRows; }

struct Norm {
  std::vector<float> weight, bias;  // (hidden_size)
};

struct Projection {
  PackedMatrix weight;      // (out, in)
  std::vector<float> bias;  // (out)
};

/// Reads the named weights of one decoder and packs them.
class Loader {
 public:
  Loader(TensorSource& source, Backend& backend, ComputeType compute)
      : source_(source), backend_(backend), compute_(compute) {}

  std::vector<float> vector(const std::string& name, int64_t size) {
    std::vector<float> out(static_cast<size_t>(size));
    dequantize(source_.get(name, Shape{size}), out.data());
    return out;
  }

  Norm norm(const std::string& name, int64_t size) {
    return {vector(name + ".weight", size), vector(name + ".bias", size)};
  }

  Projection projection(const std::string& name, int64_t out, int64_t in) {
    return {pack_matrix(backend_, source_.get(name + ".weight", Shape{out, in}), compute_),
            vector(name + ".bias", out)};
  }

  /// Matrices of one input stacked along their outputs; a missing bias is zero.
  Projection stacked(std::span<const std::string> names, int64_t size) {
    std::vector<TensorView> parts;
    Projection p;
    for (const std::string& name : names) {
      parts.push_back(source_.get(name + ".weight", Shape{size, size}));
      const size_t begin = p.bias.size();
      p.bias.resize(begin + static_cast<size_t>(size), 0.0f);
      const TensorView bias = source_.get_if(name + ".bias", Shape{size});
      if (!bias.empty()) dequantize(bias, p.bias.data() + begin);
    }
    p.weight = pack_matrices(backend_, parts, compute_);
    return p;
  }

 private:
  TensorSource& source_;
  Backend& backend_;
  ComputeType compute_;
};

/// Rows that live for one call.
class Rows {
 public:
  Rows(int64_t rows, int64_t cols) : tensor_(DType::kF32, Shape{rows, cols}) {}
  MatrixView view() { return matrix(tensor_.f32(), tensor_.shape()[0], tensor_.shape()[1]); }

 private:
  Tensor tensor_;
};

}  // namespace

struct CrossDecoder::Layer {
  Norm self_norm, cross_norm, ffn_norm;
  Projection qkv, o;
  Projection cross_q, cross_kv, cross_o;
  Projection fc1, fc2;
};

struct CrossDecoder::Weights {
  TensorView embed;  // (vocab_size, hidden_size), in the checkpoint
  std::shared_ptr<const Checkpoint> checkpoint;
  PackedMatrix head;             // the same table, packed for products
  std::vector<float> positions;  // (max_positions, hidden_size)
  std::vector<Layer> layers;
  Norm norm;
};

CrossDecoder::CrossDecoder(const CrossDecoderConfig& config, Backend& backend, ComputeType compute)
    : config_(config),
      backend_(&backend),
      kv_dtype_(compute == ComputeType::kFloat32 ? DType::kF32 : DType::kF16),
      weights_(std::make_unique<Weights>()) {}

CrossDecoder::~CrossDecoder() = default;

std::unique_ptr<CrossDecoder> CrossDecoder::load(const CrossDecoderConfig& config,
                                                 TensorSource& source, Backend& backend,
                                                 ComputeType compute,
                                                 const std::function<void(double)>& progress) {
  const int64_t hidden = config.hidden_size, wide = config.intermediate_size;
  std::unique_ptr<CrossDecoder> decoder(new CrossDecoder(config, backend, compute));
  Weights& w = *decoder->weights_;
  Loader load(source, backend, compute);
  w.embed = source.get("text.embed.weight", Shape{config.vocab_size, hidden});
  w.checkpoint = source.checkpoint();
  w.head = pack_matrix(backend, w.embed, compute);
  w.positions.resize(static_cast<size_t>(config.max_positions * hidden));
  dequantize(source.get("text.positions.weight", Shape{config.max_positions, hidden}),
             w.positions.data());
  for (int64_t i = 0; i < config.num_layers; ++i) {
    const std::string p = "text.layers." + std::to_string(i) + ".";
    Layer layer;
    layer.self_norm = load.norm(p + "self_norm", hidden);
    layer.qkv = load.stacked(std::array{p + "q", p + "k", p + "v"}, hidden);
    layer.o = load.projection(p + "o", hidden, hidden);
    layer.cross_norm = load.norm(p + "cross_norm", hidden);
    layer.cross_q = load.projection(p + "cross_q", hidden, hidden);
    layer.cross_kv = load.stacked(std::array{p + "cross_k", p + "cross_v"}, hidden);
    layer.cross_o = load.projection(p + "cross_o", hidden, hidden);
    layer.ffn_norm = load.norm(p + "ffn_norm", hidden);
    layer.fc1 = load.projection(p + "fc1", wide, hidden);
    layer.fc2 = load.projection(p + "fc2", hidden, wide);
    w.layers.push_back(std::move(layer));
    if (progress) {
      progress(static_cast<double>(i + 1) / static_cast<double>(config.num_layers));
    }
  }
  w.norm = load.norm("text.norm", hidden);
  return decoder;
}

int64_t CrossDecoder::weight_bytes() const {
  int64_t bytes = weights_->head.resident_bytes();
  for (const Layer& l : weights_->layers) {
    for (const Projection* p :
         {&l.qkv, &l.o, &l.cross_q, &l.cross_kv, &l.cross_o, &l.fc1, &l.fc2}) {
      bytes += p->weight.resident_bytes();
    }
  }
  return bytes;
}

CrossDecoder::State CrossDecoder::new_state() const {
  const auto pages_of = [&](int64_t rows) {
    const Shape shape{config_.num_layers, num_pages(rows), config_.num_heads, kPageRows,
                      config_.head_dim()};
    return backend_->computes() ? Tensor::zeros(kv_dtype_, shape) : Tensor(kv_dtype_, shape);
  };
  State state;
  state.self_k_ = pages_of(config_.max_positions);
  state.self_v_ = pages_of(config_.max_positions);
  state.cross_k_ = pages_of(config_.max_features);
  state.cross_v_ = pages_of(config_.max_features);
  const int64_t longest = std::max(config_.max_positions, config_.max_features);
  for (int64_t i = 0; i < num_pages(longest); ++i) {
    state.page_table_.push_back(static_cast<int32_t>(i));
  }
  return state;
}

// One layer's pages follow one another, so its table counts 0, 1, 2, ...
KvView CrossDecoder::view(const Tensor& k, const Tensor& v, const State& state, size_t layer,
                          int64_t capacity) const {
  const int64_t layer_bytes = k.num_bytes() / config_.num_layers;
  const int64_t offset = static_cast<int64_t>(layer) * layer_bytes;
  KvView kv;
  kv.dtype = kv_dtype_;
  kv.k_pages = const_cast<std::byte*>(k.bytes()) + offset;
  kv.v_pages = const_cast<std::byte*>(v.bytes()) + offset;
  kv.page_table = state.page_table_.data();
  kv.num_entries = num_pages(capacity);
  kv.page_rows = kPageRows;
  kv.num_kv_heads = config_.num_heads;
  kv.k_dim = kv.v_dim = config_.head_dim();
  return kv;
}

void CrossDecoder::attend_to(State& state, ConstMatrixView features) const {
  const int64_t hidden = config_.hidden_size;
  ONNURI_CHECK(features.cols == hidden && features.rows >= 1);
  ONNURI_CHECK(features.rows <= config_.max_features);
  Rows buffer(features.rows, 2 * hidden);
  const MatrixView kv = buffer.view();
  for (size_t i = 0; i < weights_->layers.size(); ++i) {
    const Projection& projection = weights_->layers[i].cross_kv;
    linear(*backend_, features, projection.weight, projection.bias.data(), kv);
    kv_write(*backend_, view(state.cross_k_, state.cross_v_, state, i, config_.max_features), 0,
             columns(kv, 0, hidden), columns(kv, hidden, hidden));
  }
  state.num_tokens_ = 0;
  state.num_features_ = features.rows;
}

void CrossDecoder::forward(State& state, std::span<const int32_t> ids, MatrixView logits) const {
  const auto rows = static_cast<int64_t>(ids.size());
  const int64_t hidden = config_.hidden_size;
  ONNURI_CHECK(state.num_features_ > 0 && logits.cols == config_.vocab_size);
  ONNURI_CHECK(rows >= 1 && logits.rows >= 1 && logits.rows <= rows);
  if (state.num_tokens_ + rows > config_.max_positions) {
    fail(ErrorCode::kInvalidArgument, "expected at most ", config_.max_positions,
         " decoder tokens, found ", state.num_tokens_ + rows);
  }
  for (const int32_t id : ids) {
    if (id < 0 || id >= config_.vocab_size) {
      fail(ErrorCode::kInvalidArgument, "expected token ids below ", config_.vocab_size, ", found ",
           id);
    }
  }
  Rows buffer(rows, hidden);
  const MatrixView h = buffer.view();
  gather_rows(*backend_, weights_->embed, ids, h);
  const float* positions = weights_->positions.data() + state.num_tokens_ * hidden;
  add_scaled(*backend_, matrix(positions, rows, hidden), 1.0f, h);
  for (size_t i = 0; i < weights_->layers.size(); ++i) {
    const Layer& layer = weights_->layers[i];
    self_attention(layer, i, state, h);
    cross_attention(layer, i, state, h);
    feed_forward(layer, h);
  }
  state.num_tokens_ += rows;

  const MatrixView last = {h.row(rows - logits.rows), logits.rows, hidden, h.stride};
  layer_norm(*backend_, last, weights_->norm.weight.data(), weights_->norm.bias.data(),
             config_.norm_eps, last);
  linear(*backend_, last, weights_->head, nullptr, logits);
}

namespace {

// h += projection(x)
void add_projection(Backend& backend, const Projection& projection, ConstMatrixView x,
                    MatrixView h) {
  const LinearTask task{&projection.weight, projection.bias.data(), h, true};
  linear(backend, x, std::span(&task, 1));
}

void normalize(Backend& backend, const Norm& norm, float eps, ConstMatrixView x, MatrixView y) {
  layer_norm(backend, x, norm.weight.data(), norm.bias.data(), eps, y);
}

}  // namespace

void CrossDecoder::self_attention(const Layer& layer, size_t index, State& state,
                                  MatrixView h) const {
  const int64_t hidden = config_.hidden_size, past = state.num_tokens_;
  Rows x(h.rows, hidden), qkv_rows(h.rows, 3 * hidden);
  const MatrixView qkv = qkv_rows.view();
  normalize(*backend_, layer.self_norm, config_.norm_eps, h, x.view());
  linear(*backend_, x.view(), layer.qkv.weight, layer.qkv.bias.data(), qkv);
  const KvView kv = view(state.self_k_, state.self_v_, state, index, config_.max_positions);
  kv_write(*backend_, kv, past, columns(qkv, hidden, hidden), columns(qkv, 2 * hidden, hidden));

  AttentionParams params;
  params.num_heads = config_.num_heads;
  params.scale = 1.0f / std::sqrt(static_cast<float>(config_.head_dim()));
  const AttentionSegment segment{0, h.rows, past, past + h.rows, kv};
  attention_paged(*backend_, columns(qkv, 0, hidden), std::span(&segment, 1), params, x.view());
  add_projection(*backend_, layer.o, x.view(), h);
}

void CrossDecoder::cross_attention(const Layer& layer, size_t index, State& state,
                                   MatrixView h) const {
  const int64_t hidden = config_.hidden_size;
  Rows x(h.rows, hidden), q(h.rows, hidden);
  normalize(*backend_, layer.cross_norm, config_.norm_eps, h, x.view());
  linear(*backend_, x.view(), layer.cross_q.weight, layer.cross_q.bias.data(), q.view());

  AttentionParams params;
  params.num_heads = config_.num_heads;
  params.scale = 1.0f / std::sqrt(static_cast<float>(config_.head_dim()));
  params.causal = false;
  const AttentionSegment segment{
      0, h.rows, 0, state.num_features_,
      view(state.cross_k_, state.cross_v_, state, index, config_.max_features)};
  attention_paged(*backend_, q.view(), std::span(&segment, 1), params, x.view());
  add_projection(*backend_, layer.cross_o, x.view(), h);
}

void CrossDecoder::feed_forward(const Layer& layer, MatrixView h) const {
  Rows x(h.rows, config_.hidden_size), wide(h.rows, config_.intermediate_size);
  normalize(*backend_, layer.ffn_norm, config_.norm_eps, h, x.view());
  linear(*backend_, x.view(), layer.fc1.weight, layer.fc1.bias.data(), wide.view());
  activate(*backend_, Activation::kGeluErf, wide.view(), wide.view());
  add_projection(*backend_, layer.fc2, wide.view(), h);
}

}  // namespace onnuri
