// A text decoder that also attends to an encoder's features (Vaswani et al. 2017, pre-norm):
//
//   h  = embed[id] + positions[p]
//   h += o(attention(q, k, v of self_norm(h)))              causal, cached
//   h += cross_o(attention(cross_q(cross_norm(h)), K, V))   K, V of the features, computed once
//   h += fc2(gelu(fc1(ffn_norm(h))))
//   logits = embed norm(h)
#pragma once

#include <functional>
#include <memory>
#include <span>

#include "core/tensor.h"
#include "core/tensor_source.h"
#include "kernels/backend.h"
#include "kernels/linear.h"
#include "kernels/ops.h"

namespace onnuri {

struct CrossDecoderConfig {
  int64_t vocab_size = 0;
  int64_t hidden_size = 0;
  int64_t num_layers = 0;
  int64_t num_heads = 0;
  int64_t intermediate_size = 0;
  int64_t max_positions = 0;  // tokens
  int64_t max_features = 0;   // encoder rows
  float norm_eps = 1e-5f;
  int64_t head_dim() const { return hidden_size / num_heads; }
};

// Canonical names under "text.":
//   embed.weight (V, H)   positions.weight (max_positions, H)   norm.{weight,bias} (H)
//   layers.i.{self_norm,cross_norm,ffn_norm}.{weight,bias} (H)
//   layers.i.{q,k,v,o}.weight, layers.i.cross_{q,k,v,o}.weight (H, H); biases on all but k
//   layers.i.fc1.{weight,bias} (I, H)   layers.i.fc2.{weight,bias} (H, I)

class CrossDecoder {
 public:
  /// Keys and values of one sequence: its tokens, and the features that it attends to.
  class State {
   public:
    int64_t num_tokens() const { return num_tokens_; }
    int64_t num_features() const { return num_features_; }
    /// Forgets the tokens after the first `count`; the features stay.
    void truncate(int64_t count) { num_tokens_ = count < num_tokens_ ? count : num_tokens_; }

   private:
    friend class CrossDecoder;
    Tensor self_k_, self_v_;    // (layers, pages, heads, page rows, head_dim)
    Tensor cross_k_, cross_v_;  // likewise
    std::vector<int32_t> page_table_;
    int64_t num_tokens_ = 0;
    int64_t num_features_ = 0;
  };

  static std::unique_ptr<CrossDecoder> load(const CrossDecoderConfig& config, TensorSource& source,
                                            Backend& backend, ComputeType compute,
                                            const std::function<void(double)>& progress = {});
  ~CrossDecoder();

  const CrossDecoderConfig& config() const { return config_; }
  int64_t weight_bytes() const;

  State new_state() const;
  /// Computes K and V of features (rows, H) in every layer and forgets all tokens.
  void attend_to(State& state, ConstMatrixView features) const;
  /// Appends `ids` to the sequence and writes the logits of the last logits.rows of them,
  /// (logits.rows, vocab_size). Throws kInvalidArgument for an id outside the vocabulary, and when
  /// the sequence would outgrow max_positions.
  void forward(State& state, std::span<const int32_t> ids, MatrixView logits) const;

 private:
  struct Layer;
  struct Weights;
  CrossDecoder(const CrossDecoderConfig& config, Backend& backend, ComputeType compute);
  KvView view(const Tensor& k, const Tensor& v, const State& state, size_t layer,
              int64_t capacity) const;
  void self_attention(const Layer& layer, size_t index, State& state, MatrixView h) const;
  void cross_attention(const Layer& layer, size_t index, State& state, MatrixView h) const;
  void feed_forward(const Layer& layer, MatrixView h) const;

  CrossDecoderConfig config_;
  Backend* backend_;
  DType kv_dtype_;
  std::unique_ptr<Weights> weights_;
};

}  // namespace onnuri
