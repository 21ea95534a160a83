// A text encoder that gives one vector per text, beside a vision encoder with the same aim.
//
//   h = embeddings[id] + positions[i] -> transformer -> norm -> one row -> product
//
// Source: transformers 5.23, models/clip (causal, the row of the end token) and models/siglip (the
// last row).
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/tensor_source.h"
#include "encoders/transformer.h"

namespace onnuri {

enum class TextRow { kLast, kFirstEnd, kLargestId };

struct TextTowerConfig {
  TransformerConfig transformer;
  int64_t vocab_size = 0;
  int64_t max_positions = 0;
  int64_t out_size = 0;
  bool out_bias = false;
  TextRow row = TextRow::kLast;
  int32_t end_id = -1;  // of kFirstEnd
};

// Canonical names under `prefix`:
//   embed.weight (vocab, D)   positions (max_positions, D)   norm.{weight,bias} (D)
//   out.weight (out_size, D)   out.bias (out_size)   and those of Transformer
class TextTower {
 public:
  static std::unique_ptr<TextTower> load(const TextTowerConfig& config, TensorSource& source,
                                         const std::string& prefix, Backend& backend,
                                         ComputeType compute);
  const TextTowerConfig& config() const { return config_; }
  /// (out_size). One caller at a time. Throws kInvalidArgument for ids out of range, none, or too
  /// many.
  std::vector<float> embed(std::span<const int32_t> ids) const;

 private:
  TextTower(const TextTowerConfig& config, Backend& backend)
      : config_(config), backend_(&backend) {}
  int64_t chosen_row(std::span<const int32_t> ids) const;

  TextTowerConfig config_;
  Backend* backend_;
  std::vector<float> embeddings_, positions_, norm_weight_, norm_bias_, out_bias_;
  PackedMatrix out_;
  std::unique_ptr<Transformer> transformer_;
};

}  // namespace onnuri
