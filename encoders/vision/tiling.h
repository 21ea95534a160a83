// From a picture of any shape to tiles of one size.
#pragma once

#include <vector>

#include "core/thread_pool.h"
#include "encoders/vision/vision_config.h"
#include "onnuri/media.h"

namespace onnuri {

/// What a picture of one size becomes:
///
///   kBestGrid     overview, then grid_h x grid_w tiles row by row
///   kWholeGrid    grid_h x grid_w tiles row by row, then the overview; or the overview alone
///   kPanAndScan   overview, then the pieces (one of grid_h, grid_w is 1); or the overview alone
///   others        the overview alone
///
/// Among others, where the config says so, a picture becomes the overview of a square around it.
struct TilePlan {
  int64_t grid_h = 0, grid_w = 0;  // tiles beside the overview; 0: none
  ImageSize canvas;                // that the tiles are cut from
  ImageSize fitted;                // of the picture on the canvas, in its middle
  ImageSize between;               // kWholeGrid: a first resize; {0, 0}: none
  bool square = false;             // the overview alone, of a square
  int64_t num_tiles() const { return 1 + grid_h * grid_w; }
};

/// Throws kInvalidArgument for empty pictures and for sides too far apart to be cut.
TilePlan plan_tiling(const TileConfig& config, ImageSize size,
                     PictureView view = PictureView::kAlone);

/// The tiles in the order of the plan, each config.seen.
std::vector<Image> cut_tiles(const TileConfig& config, const TilePlan& plan, ResizeFilter filter,
                             const Image& image, ThreadPool* pool);

}  // namespace onnuri
