// Picture geometry and vision encoders as data.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "encoders/transformer.h"

namespace onnuri {

enum class ResizeFilter { kBilinear, kBicubic, kLanczos };

/// Smart resize: both sides to multiples of patch * merge within a range of pixel areas.
struct ImageProcessorConfig {
  int64_t patch_size = 14;
  int64_t merge_size = 2;
  int64_t temporal_patch_size = 1;  // a still picture is repeated this often
  int64_t min_pixels = 0;
  int64_t max_pixels = 0;
  bool stretch_short_side = false;  // bring a side below the factor up to it first
  ResizeFilter filter = ResizeFilter::kBicubic;
  std::array<float, 3> mean{};
  std::array<float, 3> std{};
};

enum class VisionPositions { kNone, kLearnedGridBilinear };

struct VisionConfig {
  ImageProcessorConfig processor;
  TransformerConfig transformer;  // its rope is axial: rows, then columns, of the patch grid
  bool patch_bias = false;
  VisionPositions positions = VisionPositions::kNone;
  int64_t position_grid_side = 0;  // learned grid, side x side, sampled at half-pixel centres
  float rope_theta = 10000.0f;
  bool post_norm = false;
  int64_t window_size = 0;                     // pixels; 0: every layer sees whole frames
  std::vector<int64_t> full_attention_layers;  // with windows
};

}  // namespace onnuri
