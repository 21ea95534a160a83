// Rows of features to the numbers of the nearest rows of a learned codebook.
//
//   z = in(tanh(task(x)));   code = argmin |z - project(table)|, both of unit length where asked
//
// The codebook is projected once. Everything runs in float32: rounding would change codes.
// Sources: Zhu et al. 2024 (SimVQ, arXiv 2411.02038); Han et al. 2025 (arXiv 2506.18898).
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "core/tensor_source.h"
#include "kernels/linear.h"

namespace onnuri {

struct VectorCodesConfig {
  int64_t in_size = 0;    // of a row
  int64_t code_size = 0;  // of a row of the codebook
  int64_t num_codes = 0;
  bool unit_length = false;
};

// Canonical names under `prefix`:
//   task.{weight,bias} (in_size, in_size)   in.{weight,bias} (code_size, in_size)
//   table (num_codes, code_size)   project.{weight,bias} (code_size, code_size)
class VectorCodes {
 public:
  static std::unique_ptr<VectorCodes> load(const VectorCodesConfig& config, TensorSource& source,
                                           const std::string& prefix, Backend& backend);
  /// x (n, in_size); n codes.
  std::vector<int32_t> forward(ConstMatrixView x) const;

 private:
  struct Product {
    PackedMatrix weight;
    std::vector<float> bias;
  };
  VectorCodes(const VectorCodesConfig& config, Backend& backend)
      : config_(config), backend_(&backend) {}
  Tensor apply(ConstMatrixView x, const Product& product) const;
  VectorCodesConfig config_;
  Backend* backend_;
  Product task_, in_;
  PackedMatrix codebook_;            // (num_codes, code_size)
  std::vector<float> half_squares_;  // (num_codes), of the codebook's rows
};

/// Finite scalar quantisation to three steps a column: round(tanh(x) * 0.999) + 1 are the digits of
/// a number to base 3, the lowest first. Source: Mentzer et al. 2023 (arXiv 2309.15505).
/// x (n, digits), at most 19 of them.
std::vector<int32_t> ternary_codes(ConstMatrixView x);

}  // namespace onnuri
