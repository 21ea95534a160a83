// Which frames of a video a model looks at.
#pragma once

#include <cstdint>
#include <vector>

#include "encoders/vision/vision_config.h"

namespace onnuri {

/// Ascending indices into `total` frames of a clip that runs at `fps`; at least one, and for
/// FrameRule::kEvenFloor a multiple of `temporal_patch_size` where the clip has that many.
/// Throws kInvalidArgument for a clip without frames or without a rate.
std::vector<int64_t> choose_frames(const VideoConfig& config, int64_t temporal_patch_size,
                                   int64_t total, double fps);

}  // namespace onnuri
