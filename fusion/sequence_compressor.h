// A long row of features to one row for every `chunk` of them: questions stand behind each chunk,
// mix with it, and pass a state-space layer that has seen all chunks before.
//
//   h = norm(project(x) and the question, chunk by chunk; the last chunk is filled with zeros)
//   per layer, n = norm(h):
//     question = (1 - g) * question + g * sum(softmax(weigh(question)) * chunk), g of the question
//     h += out(norm(ssm(conv(x), B, C, dt)) * silu(z))      z, x, B, C, dt of in(n)
//   y = project(norm(questions))
//
// The state of a head is S <- exp(dt * A) * S + dt * x B^T, read as S C + D * x.
// Sources: Dao and Gu 2024 (arXiv 2405.21060); Kim et al. 2025 (arXiv 2506.13564).
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "core/tensor_source.h"
#include "kernels/linear.h"

namespace onnuri {

struct SequenceCompressorConfig {
  int64_t in_size = 0;
  int64_t hidden_size = 0;
  int64_t out_size = 0;
  int64_t chunk = 25;
  int64_t num_layers = 1;
  int64_t inner_size = 0;  // heads * head_dim
  int64_t head_dim = 64;
  int64_t state_size = 128;
  int64_t conv_taps = 4;
  float input_norm_eps = 1e-6f;
  float norm_eps = 1e-5f;
};

// Canonical names under `prefix` (i = layer, C = inner_size + 2 * state_size):
//   in.{weight,bias} (hidden, in)   question (hidden)   in_norm.{weight,bias} (hidden)
//   layers.i.norm.weight (hidden)   layers.i.weigh.{weight,bias} (chunk, hidden)
//   layers.i.gate.{weight,bias} (1, hidden)   layers.i.in.weight (inner + C + heads, hidden)
//   layers.i.conv.weight (C, 1, taps)   layers.i.conv.bias (C)
//   layers.i.{dt_bias,a_log,d} (heads)   layers.i.inner_norm.weight (inner)
//   layers.i.out.weight (hidden, inner)   norm.weight (hidden)   out.{weight,bias} (out, hidden)
class SequenceCompressor {
 public:
  static std::unique_ptr<SequenceCompressor> load(const SequenceCompressorConfig& config,
                                                  TensorSource& source, const std::string& prefix,
                                                  Backend& backend, ComputeType compute);
  ~SequenceCompressor();

  const SequenceCompressorConfig& config() const { return config_; }
  int64_t num_rows(int64_t in_rows) const { return (in_rows + config_.chunk - 1) / config_.chunk; }
  /// x (n, in_size); returns (num_rows(n), out_size).
  Tensor forward(ConstMatrixView x) const;

 private:
  struct Layer;
  struct Weights;
  SequenceCompressor(const SequenceCompressorConfig& config, Backend& backend);
  void ask(const Layer& layer, MatrixView n) const;
  void mix(const Layer& layer, ConstMatrixView n, MatrixView h) const;
  void scan(const Layer& layer, ConstMatrixView convolved, ConstMatrixView steps,
            MatrixView y) const;

  SequenceCompressorConfig config_;
  Backend* backend_;
  std::unique_ptr<Weights> weights_;
};

}  // namespace onnuri
