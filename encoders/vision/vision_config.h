// Picture geometry and vision encoders as data.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <vector>

#include "encoders/transformer.h"

namespace onnuri {

enum class ResizeFilter { kBilinear, kBicubic, kLanczos };

struct ImageSize {
  int64_t height = 0;
  int64_t width = 0;
  bool operator==(const ImageSize& other) const = default;
};

/// Smart resize: both sides to multiples of patch * merge within a range of pixel areas.
struct ImageProcessorConfig {
  int64_t patch_size = 14;
  int64_t merge_size = 2;
  int64_t temporal_patch_size = 1;  // a still picture is repeated this often
  int64_t min_pixels = 0;
  int64_t max_pixels = 0;
  int64_t max_patches = 0;          // instead of areas: as large as so many patches allow
  bool stretch_short_side = false;  // bring a side below the factor up to it first
  bool enlarge_first = false;       // resize a picture with a side below the factor beforehand
  ResizeFilter filter = ResizeFilter::kBicubic;
  std::array<float, 3> mean{};
  std::array<float, 3> std{};
};

/// How a picture becomes tiles of one size, for encoders that know only that size.
enum class TileRule {
  kStretch,     // one tile, whatever the shape of the picture
  kCrop,        // one tile: the short side fits, the middle is kept
  kPanAndScan,  // the stretched picture; of a long one also its pieces along the long side
  kBestGrid,    // the stretched picture; then the grid of tiles that it fits best, with borders
  kWholeGrid,   // the picture stretched to a grid of tiles; then the stretched picture
};

/// Whether a picture is the only one of its prompt.
enum class PictureView { kAlone, kAmongOthers };

struct TileConfig {
  TileRule rule = TileRule::kStretch;
  ImageSize tile;
  ImageSize seen;                   // the top left of each tile: whole patches
  bool keep_shape = false;          // the stretched picture keeps its shape, with borders
  std::array<uint8_t, 3> border{};  // colour of all borders
  std::vector<ImageSize> grids;     // kBestGrid: the sizes to choose from, in pixels
  int64_t shortest_edge = 0;        // kCrop: the short side before the middle is cut out
  int64_t longest_edge = 0;         // kWholeGrid: the long side before it is rounded up to tiles
  bool split = true;                // kWholeGrid: else the overview alone
  int64_t min_crop = 256;           // kPanAndScan: shortest side of a piece
  int64_t max_crops = 4;
  double min_ratio = 1.2;  // long side / short side from which on there are pieces
  // Among others a picture is one tile, a square of it with borders of this colour.
  std::optional<std::array<uint8_t, 3>> square_among_others;
};

enum class VisionPositions {
  kNone,
  kLearnedGridBilinear,  // four neighbours, half-pixel centres
  kLearnedGridSmooth,    // the grid resampled without aliases, half-pixel centres
  kLearnedGridCorners,   // four neighbours, the outermost patches on the outermost rows
  kLearnedTable,         // one row per patch of the only grid there is
  kLearnedBucket,        // the row of the patch at the same fraction of a side x side grid
};

/// Which frames of a video are looked at.
enum class FrameRule {
  kEvenFloor,     // an even share of the clip each, cut down to whole frames
  kLinspace,      // first and last frame included, halves to even
  kLinspaceEven,  // the same of a whole number of temporal patches
};

/// What differs from pictures when `temporal_patch_size` frames become one grid of patches.
struct VideoConfig {
  int64_t min_pixels = 0;  // areas of one frame
  int64_t max_pixels = 0;
  bool area_of_clip = false;  // the areas are those of all frames together
  FrameRule frames = FrameRule::kEvenFloor;
  double frames_per_second = 2.0;
  int64_t min_frames = 4;
  int64_t max_frames = 768;
};

struct VisionConfig {
  ImageProcessorConfig processor;    // with tiling: patches, filter and colours only
  std::optional<TileConfig> tiling;  // absent: one grid of any size per picture
  TransformerConfig transformer;     // its rope is axial: rows, then columns, of the patch grid
  bool patch_bias = false;
  bool flat_patches =
      false;                 // the patch matrix is stored as (D, P * P * 3): rows, columns, colours
  bool class_token = false;  // a learned row in front of the patches of every tile
  bool pre_norm = false;     // between positions and layers
  VisionPositions positions = VisionPositions::kNone;
  int64_t position_grid_side = 0;  // learned grid, side x side
  float rope_theta = 10000.0f;
  bool post_norm = false;
  int64_t window_size = 0;                     // pixels; 0: every layer sees whole frames
  std::vector<int64_t> full_attention_layers;  // with windows
  std::vector<int64_t> tap_layers;             // whose outputs are features of their own
  std::optional<VideoConfig> video;            // absent: pictures only
};

}  // namespace onnuri
