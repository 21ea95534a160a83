// Features of neighbouring patches to one row of the decoder's width.
//
//   y = out?(fc2(act(fc1(join of group_rows rows))))     rows normed before or after the join
//
// The join is a concatenation or a mean; a projector may be its first product alone.
// Sources: Qwen2-VL section 2 (patch merger); transformers 5.23, models/qwen2_5_vl,
// models/paddleocr_vl, models/hyperclovax_vision_v2, models/llava (no norm, no join), models/gemma3
// (mean, norm, one product), models/idefics3 (one product).
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "core/tensor_source.h"
#include "kernels/linear.h"
#include "kernels/ops.h"

namespace onnuri {

enum class ProjectorNorm { kNone, kLayerNorm, kRmsNorm };
enum class ProjectorJoin { kConcat, kMean };  // kMean: before the norm

struct ProjectorConfig {
  int64_t in_size = 0;            // width of one encoder row
  int64_t group_rows = 4;         // neighbouring rows that become one token
  int64_t intermediate_size = 0;  // after fc1
  int64_t fc2_size = 0;           // after fc2
  int64_t out_size = 0;           // hidden size of the decoder
  bool has_fc2 = true;            // else fc2_size is not used
  bool out_linear = false;        // one more product, fc2_size to out_size
  bool bias = true;
  ProjectorJoin join = ProjectorJoin::kConcat;
  ProjectorNorm norm = ProjectorNorm::kRmsNorm;
  bool norm_joined = false;         // of a concatenation: the norm spans all of it
  float norm_weight_offset = 0.0f;  // of RMS norms
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
  void normalize(MatrixView x) const;
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
