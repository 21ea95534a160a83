// One transformer encoder for pictures and sound: packed rows, bidirectional attention inside
// segments, options as data.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "core/tensor_source.h"
#include "kernels/linear.h"
#include "kernels/ops.h"

namespace onnuri {

enum class EncoderNorm { kLayerNorm, kRmsNorm };

struct TransformerConfig {
  int64_t num_layers = 0;
  int64_t hidden_size = 0;
  int64_t num_heads = 0;
  int64_t num_kv_heads = 0;  // 0: as many as query heads
  int64_t head_dim = 0;
  int64_t intermediate_size = 0;
  EncoderNorm norm = EncoderNorm::kLayerNorm;
  float norm_eps = 1e-6f;
  float ffn_norm_eps = 0;                        // of the second norm; 0: norm_eps
  bool gated_ffn = false;                        // down(act(gate) * up), else fc2(act(fc1))
  Activation activation = Activation::kGeluErf;  // with gated_ffn: kSilu
  bool q_bias = true, k_bias = true, v_bias = true, o_bias = true, ffn_bias = true;
  bool rope = false;        // half layout over the whole head
  int64_t memory_taps = 0;  // odd: values also pass a convolution over neighbouring rows; 0: none
  bool causal = false;      // rows see themselves and what is before them in their segment

  int64_t kv_heads() const { return num_kv_heads > 0 ? num_kv_heads : num_heads; }
};

// Canonical names, `prefix` prepended as it is ("vision."; i = layer):
//   layers.i.{norm1,norm2}.{weight,bias}   layers.i.{q,k,v,o}.{weight,bias}
//   layers.i.{fc1,fc2}.{weight,bias}  or  layers.i.{gate,up,down}.{weight,bias}
//   layers.i.memory.weight (hidden_size, 1, memory_taps), with memory_taps
// A fused qkv tensor is mapped by the family as row ranges.

class Transformer {
 public:
  static std::unique_ptr<Transformer> load(const TransformerConfig& config, TensorSource& source,
                                           const std::string& prefix, Backend& backend,
                                           ComputeType compute);
  ~Transformer();

  const TransformerConfig& config() const { return config_; }

  /// Attention segments of one layer: offsets (num_segments + 1) into the packed rows.
  using Segments = std::vector<int64_t>;

  /// Runs all layers in place on h (T, hidden_size). `segments_of_layer(i)` gives the segments of
  /// layer i; cos, sin (T, head_dim / 2) when config.rope. `after_layer`, when set, sees h after
  /// each layer (taps). Workspaces are kept between calls: one caller at a time.
  void forward(MatrixView h, const std::function<const Segments&(int64_t)>& segments_of_layer,
               const float* cos, const float* sin,
               const std::function<void(int64_t layer, ConstMatrixView h)>& after_layer = {}) const;

 private:
  struct Weights;
  Transformer(const TransformerConfig& config, Backend& backend);
  void feed_forward(MatrixView h, int64_t layer) const;
  /// What these rows are in one layer, in rows that went through all.
  double share_of(int64_t rows) const;
  TransformerConfig config_;
  Backend* backend_;
  std::unique_ptr<Weights> weights_;
};

}  // namespace onnuri
