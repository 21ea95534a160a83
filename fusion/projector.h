// Features of neighbouring patches to one row of the decoder's width.
//
//   y = out?(fc2(gelu(fc1(concat of group_rows normed rows))))
//
// Sources: Qwen2-VL section 2 (patch merger); transformers 5.23, models/qwen2_5_vl,
// models/paddleocr_vl, models/hyperclovax_vision_v2.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "core/tensor_source.h"
#include "kernels/linear.h"
#include "kernels/ops.h"

namespace onnuri {

enum class ProjectorNorm { kLayerNorm, kRmsNorm };

struct ProjectorConfig {
  int64_t in_size = 0;            // width of one encoder row
  int64_t group_rows = 4;         // neighbouring rows that become one token
  int64_t intermediate_size = 0;  // after fc1
  int64_t fc2_size = 0;           // after fc2
  int64_t out_size = 0;           // hidden size of the decoder
  bool out_linear = false;        // one more product, fc2_size to out_size
  ProjectorNorm norm = ProjectorNorm::kRmsNorm;
  float norm_eps = 1e-6f;
  Activation activation = Activation::kGeluErf;
};

// Canonical names under `prefix`:
//   norm.{weight,bias} (in_size)   fc1.{weight,bias}   fc2.{weight,bias}   out.{weight,bias}
class Projector {
 public:
  static std::unique_ptr<Projector> load(const ProjectorConfig& config, TensorSource& source,
                                         const std::string& prefix, Backend& backend,
                                         ComputeType compute);

  const ProjectorConfig& config() const { return config_; }

  /// features (n * group_rows, in_size), the rows of a group adjacent, are normed in place;
  /// returns (n, out_size).
  Tensor forward(MatrixView features) const;

 private:
  struct Linear {
    PackedMatrix weight;
    std::vector<float> bias;
  };
  Projector(const ProjectorConfig& config, Backend& backend)
      : config_(config), backend_(&backend) {}
  Tensor apply(ConstMatrixView x, const Linear& layer) const;

  ProjectorConfig config_;
  Backend* backend_;
  std::vector<float> norm_weight_, norm_bias_;
  Linear fc1_, fc2_, out_;
};

}  // namespace onnuri
