// From a picture to normalised patches: geometry first, pixels second.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "core/tensor.h"
#include "core/thread_pool.h"
#include "encoders/vision/vision_config.h"
#include "onnuri/media.h"

namespace onnuri {

/// The size that a picture is resized to. Halves round to even, as in the reference.
/// Throws kInvalidArgument for empty pictures and for sides more than 200 : 1 apart.
ImageSize smart_resize(const ImageProcessorConfig& config, ImageSize size);
/// The size that a picture gets before that one: its own, but for config.enlarge_first.
ImageSize enlarged(const ImageProcessorConfig& config, ImageSize size);

/// Where the packed rows of one picture lie, and who may see whom.
///
/// Rows come in units of merge x merge neighbours, which later become one token. Units follow
/// each other in raster order, or window by window when the encoder attends in windows:
///
///   0 1 | 4     windows of 2 x 2 units over a grid of 3 x 3: the last column and row of
///   2 3 | 5     windows are narrower
///   ----+--
///   6 7 | 8
struct PatchPlan {
  int64_t grid_t = 1;                    // pictures of this grid, one after the other
  int64_t grid_h = 0, grid_w = 0;        // patches of one
  std::vector<int32_t> row, col;         // (num_patches), coordinates of each packed row
  std::vector<int64_t> unit_order;       // (num_units), raster index of each packed unit
  std::vector<int64_t> frame_segments;   // one segment per picture
  std::vector<int64_t> window_segments;  // one segment per window; empty without windows
  int64_t num_patches() const { return grid_t * grid_h * grid_w; }
};

/// The size that the frames of a video are resized to. Throws as smart_resize.
ImageSize resize_video(const ImageProcessorConfig& config, const VideoConfig& video_config,
                       const Video& video);

/// The plan for `count` resized pictures of one size, each seeing itself. `window_size` in pixels,
/// 0 for none.
PatchPlan plan_patches(const ImageProcessorConfig& config, int64_t window_size, ImageSize resized,
                       int64_t count = 1);

/// Resizes and cuts one picture: (grid_h * grid_w, 3 * temporal * patch * patch) in the plan's
/// order, a row as (channel, temporal, y, x), values (pixel / 255 - mean) / std.
Tensor image_patches(const ImageProcessorConfig& config, const PatchPlan& plan, const Image& image,
                     ThreadPool* pool);
/// The same for each of several pictures, one after the other.
Tensor image_patches(const ImageProcessorConfig& config, const PatchPlan& plan,
                     std::span<const Image> images, ThreadPool* pool);

/// Frames on the temporal axis of the patches: (num_patches, 3 * temporal * patch * patch), for
/// `plan.grid_t` pictures from the `first`th of the video on.
Tensor video_patches(const ImageProcessorConfig& config, const PatchPlan& plan, const Video& video,
                     ThreadPool* pool, int64_t first = 0);

}  // namespace onnuri
