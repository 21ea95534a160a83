// Rows of several tiles of one picture to the rows that the decoder reads.
//
//   overview: 0 1   tiles side by side:  a b | e f     out: 0 1 2 3, then the grid without its
//             2 3                        c d | g h          borders, row by row: a b e f n c d g h
//             n
//
// n is a learned row that ends each line. Grids with more rows than the decoder is used to are
// shrunk first. Source: transformers 5.23, pack_image_features of llava_next and llava_onevision.
#pragma once

#include <cstdint>

#include "core/tensor.h"
#include "kernels/matrix.h"

namespace onnuri {

struct TileJoinConfig {
  bool newline = true;
  int64_t max_tiles = 0;  // shrink grids of more than 1.1^2 times the rows of this many; 0: never
  bool cut_borders = true;
  bool round_sides = true;  // of the picture on the grid, to seven decimals, then cut off
};

/// The lines of the grid that are kept, and their size in the end. All in rows of features.
struct TileJoinPlan {
  int64_t tile_h = 0, tile_w = 0;  // of one tile
  int64_t grid_h = 0, grid_w = 0;  // tiles
  int64_t top = 0, left = 0;       // first kept row and column of the grid
  int64_t kept_h = 0, kept_w = 0;
  int64_t out_h = 0, out_w = 0;  // after shrinking; out_w without the newline
  int64_t num_rows(bool newline) const {
    return tile_h * tile_w + out_h * (out_w + (newline ? 1 : 0));
  }
};

/// `image_h`, `image_w`: the picture's own size in pixels, whose shape decides on the borders.
TileJoinPlan plan_tile_join(const TileJoinConfig& config, int64_t tile_h, int64_t tile_w,
                            int64_t grid_h, int64_t grid_w, int64_t image_h, int64_t image_w);

/// rows ((1 + grid_h * grid_w) * tile_h * tile_w, D), the overview first; `newline` (D) or null.
Tensor join_tiles(const TileJoinPlan& plan, ConstMatrixView rows, const float* newline);

/// Tiles of half the height and width, halves rounded up, between neighbours in a straight line:
/// rows (n * tile_h * tile_w, D) to (n * ceil(tile_h / 2) * ceil(tile_w / 2), D). Source:
/// apply_pooling of llava_onevision, for the frames of a video.
Tensor halve_tiles(ConstMatrixView rows, int64_t tile_h, int64_t tile_w);

}  // namespace onnuri
