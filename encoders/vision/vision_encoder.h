// A vision transformer over patches of any grid.
#pragma once

#include <memory>
#include <string>

#include "core/tensor_source.h"
#include "encoders/transformer.h"
#include "encoders/vision/image_processor.h"
#include "encoders/vision/vision_config.h"

namespace onnuri {

/// What a picture becomes: rows of features in units of merge x merge neighbouring patches, units
/// in raster order.
struct VisionFeatures {
  int64_t units_h = 0, units_w = 0;
  Tensor rows;  // (units_h * units_w * merge * merge, hidden_size)
};

// Canonical names under `prefix`:
//   patch.weight (D, 3, [T,] P, P)   patch.bias (D)   positions (side * side, D)
//   post_norm.{weight,bias} (D)      and those of Transformer
class VisionEncoder {
 public:
  static std::unique_ptr<VisionEncoder> load(const VisionConfig& config, TensorSource& source,
                                             const std::string& prefix, Backend& backend,
                                             ComputeType compute);
  ~VisionEncoder();

  const VisionConfig& config() const { return config_; }
  PatchPlan plan(ImageSize size) const;
  /// One caller at a time. Throws kInvalidArgument for pictures that cannot be resized.
  VisionFeatures forward(const Image& image) const;
  /// The part after the pixels: patches in the plan's order.
  VisionFeatures forward(const PatchPlan& plan, const Tensor& patches) const;

 private:
  struct Weights;
  VisionEncoder(const VisionConfig& config, Backend& backend);
  void add_positions(const PatchPlan& plan, MatrixView h) const;
  VisionConfig config_;
  Backend* backend_;
  std::unique_ptr<Weights> weights_;
};

}  // namespace onnuri
