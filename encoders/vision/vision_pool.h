// One vector per picture from the rows of a vision encoder: the class token times a matrix, or a
// learned question that attends to all patches.
//
//   pooled = o(attention(q(probe), k(rows), v(rows)));  out = pooled + fc2(act(fc1(norm(pooled))))
//
// Source: transformers 5.23, models/clip and models/siglip (MultiheadAttentionPoolingHead).
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "core/tensor_source.h"
#include "encoders/vision/vision_encoder.h"

namespace onnuri {

enum class PoolKind { kClassToken, kAttention };

struct VisionPoolConfig {
  PoolKind kind = PoolKind::kClassToken;
  TransformerConfig shape;  // heads, widths, eps and activation of the encoder
  int64_t out_size = 0;     // kAttention: the encoder's width
};

// Canonical names under `prefix`:
//   kClassToken: norm.{weight,bias} (D)   out.weight (out_size, D)
//   kAttention: probe (1, 1, D)   {q,k,v,o,fc1,fc2}.{weight,bias}   norm.{weight,bias} (D)
class VisionPool {
 public:
  static std::unique_ptr<VisionPool> load(const VisionPoolConfig& config, TensorSource& source,
                                          const std::string& prefix, Backend& backend,
                                          ComputeType compute);
  /// (out_size), of one picture.
  std::vector<float> forward(const VisionFeatures& features) const;

 private:
  struct Linear {
    PackedMatrix weight;
    std::vector<float> bias;
  };
  VisionPool(const VisionPoolConfig& config, Backend& backend)
      : config_(config), backend_(&backend) {}
  Tensor apply(ConstMatrixView x, const Linear& layer) const;
  Tensor attend(ConstMatrixView rows) const;

  VisionPoolConfig config_;
  Backend* backend_;
  std::vector<float> norm_weight_, norm_bias_;
  Tensor question_;  // (1, D), the probe times its matrix
  Linear k_, v_, o_, fc1_, fc2_, out_;
};

}  // namespace onnuri
