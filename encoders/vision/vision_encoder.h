// A vision transformer over patches of any grid.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/tensor_source.h"
#include "encoders/transformer.h"
#include "encoders/vision/image_processor.h"
#include "encoders/vision/vision_config.h"

namespace onnuri {

/// What pictures of one size become: rows of features in units of merge x merge neighbouring
/// patches, units in raster order, picture after picture.
struct VisionFeatures {
  int64_t units_h = 0, units_w = 0;  // of one picture
  Tensor rows;                       // (pictures * units_h * units_w * merge * merge, hidden_size)
  Tensor class_rows;                 // (pictures, hidden_size) with a class token
  std::vector<Tensor> taps;          // shaped as `rows`, after each of config().tap_layers
};

// Canonical names under `prefix`:
//   patch.weight (D, 3, [T,] P, P)   patch.bias (D)   positions ([1 +] side * side, D)
//   class_token (D)   {pre_norm,post_norm}.{weight,bias} (D)   and those of Transformer
class VisionEncoder {
 public:
  static std::unique_ptr<VisionEncoder> load(const VisionConfig& config, TensorSource& source,
                                             const std::string& prefix, Backend& backend,
                                             ComputeType compute);
  ~VisionEncoder();

  const VisionConfig& config() const { return config_; }
  PatchPlan plan(ImageSize size) const;
  /// The pixels of a picture as rows of `plan`, which is plan() of its size.
  Tensor patches(const PatchPlan& plan, const Image& image) const;
  /// One caller at a time. Throws kInvalidArgument for pictures that cannot be resized.
  VisionFeatures forward(const Image& image) const;
  /// Tiles of config().tiling, none of them resized.
  VisionFeatures forward(std::span<const Image> tiles) const;
  /// A video: every `temporal_patch_size` frames become one picture; the last frame is repeated as
  /// needed. With config().video.
  PatchPlan plan(const Video& video) const;
  VisionFeatures forward(const Video& video) const;
  /// Pictures [first, first + count) of the video's plan alone, to the same bits: no picture sees
  /// another.
  VisionFeatures forward(const Video& video, const PatchPlan& whole, int64_t first,
                         int64_t count) const;
  /// The part after the pixels: patches in the plan's order.
  VisionFeatures forward(const PatchPlan& plan, const Tensor& patches) const;

 private:
  struct Weights;
  VisionEncoder(const VisionConfig& config, Backend& backend);
  Tensor embed(const PatchPlan& plan, const Tensor& patches) const;
  void add_grid_positions(const PatchPlan& plan, MatrixView h) const;
  void add_smooth_positions(const PatchPlan& plan, MatrixView h) const;
  void add_table_positions(const PatchPlan& plan, MatrixView h) const;
  void norm(const std::vector<float>& weight, const std::vector<float>& bias, MatrixView h) const;
  VisionConfig config_;
  Backend* backend_;
  std::unique_ptr<Weights> weights_;
};

}  // namespace onnuri
