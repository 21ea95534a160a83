// Sources: transformers 5.23, image processors of clip (crop), gemma3 (pan and scan), llava_next
// (best grid) and idefics3 (whole grid). Sizes are computed in doubles, as there.
#include "encoders/vision/tiling.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "core/check.h"
#include "encoders/vision/resample.h"

namespace onnuri {
namespace {

constexpr double kMaxAspectRatio = 200;
constexpr int64_t kLongestSide = 4096;  // of a whole grid before it is rounded up to tiles

int64_t whole(double x) { return static_cast<int64_t>(x); }
int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

/// The chosen size covers the most of the picture, and wastes the least.
ImageSize best_grid(const std::vector<ImageSize>& grids, ImageSize size) {
  ImageSize best;
  int64_t most = 0;
  int64_t least_waste = std::numeric_limits<int64_t>::max();
  const auto height = static_cast<double>(size.height);
  const auto width = static_cast<double>(size.width);
  for (const ImageSize& grid : grids) {
    const double scale = std::min(static_cast<double>(grid.width) / width,
                                  static_cast<double>(grid.height) / height);
    const int64_t scaled = whole(width * scale) * whole(height * scale);
    const int64_t covered = std::min(scaled, size.height * size.width);
    const int64_t waste = grid.height * grid.width - covered;
    if (covered > most || (covered == most && waste < least_waste)) {
      most = covered;
      least_waste = waste;
      best = grid;
    }
  }
  return best;
}

void plan_best_grid(const TileConfig& config, ImageSize size, TilePlan& plan) {
  plan.canvas = best_grid(config.grids, size);
  if (plan.canvas.height == 0)
    fail(ErrorCode::kInvalidArgument, "expected a picture that fits a grid of tiles, found ",
         size.height, "x", size.width);
  plan.grid_h = plan.canvas.height / config.tile.height;
  plan.grid_w = plan.canvas.width / config.tile.width;
  const auto height = static_cast<double>(size.height);
  const auto width = static_cast<double>(size.width);
  const double scale_w = static_cast<double>(plan.canvas.width) / width;
  const double scale_h = static_cast<double>(plan.canvas.height) / height;
  if (scale_w < scale_h) {
    plan.fitted = {std::min(whole(std::ceil(height * scale_w)), plan.canvas.height),
                   plan.canvas.width};
  } else {
    plan.fitted = {plan.canvas.height,
                   std::min(whole(std::ceil(width * scale_h)), plan.canvas.width)};
  }
}

/// The long side becomes `longest`, the other follows, rounded to an even number upwards.
ImageSize scale_to_longest(ImageSize size, int64_t longest) {
  const double ratio = static_cast<double>(size.width) / static_cast<double>(size.height);
  ImageSize out = size;
  if (size.width >= size.height) {
    out.width = longest;
    out.height = whole(static_cast<double>(longest) / ratio);
    out.height += out.height % 2;
  } else {
    out.height = longest;
    out.width = whole(static_cast<double>(longest) * ratio);
    out.width += out.width % 2;
  }
  return {std::max<int64_t>(out.height, 1), std::max<int64_t>(out.width, 1)};
}

ImageSize limit_longest(ImageSize size, int64_t longest) {
  const double ratio = static_cast<double>(size.width) / static_cast<double>(size.height);
  if (size.width >= size.height && size.width > longest)
    size = {whole(static_cast<double>(longest) / ratio), longest};
  else if (size.height > size.width && size.height > longest)
    size = {longest, whole(static_cast<double>(longest) * ratio)};
  return {std::max<int64_t>(size.height, 1), std::max<int64_t>(size.width, 1)};
}

void plan_whole_grid(const TileConfig& config, ImageSize size, TilePlan& plan) {
  const int64_t side = config.tile.height;
  plan.between = limit_longest(scale_to_longest(size, config.longest_edge), kLongestSide);
  if (!config.split) {
    plan.canvas = plan.fitted = config.tile;
    return;
  }
  const double ratio =
      static_cast<double>(plan.between.width) / static_cast<double>(plan.between.height);
  ImageSize canvas;
  if (plan.between.width >= plan.between.height) {
    canvas.width = ceil_div(plan.between.width, side) * side;
    canvas.height = ceil_div(whole(static_cast<double>(canvas.width) / ratio), side) * side;
  } else {
    canvas.height = ceil_div(plan.between.height, side) * side;
    canvas.width = ceil_div(whole(static_cast<double>(canvas.height) * ratio), side) * side;
  }
  plan.canvas = plan.fitted = {std::max(canvas.height, side), std::max(canvas.width, side)};
  if (plan.canvas == config.tile) return;
  plan.grid_h = plan.canvas.height / side;
  plan.grid_w = plan.canvas.width / side;
}

void plan_pan_and_scan(const TileConfig& config, ImageSize size, TilePlan& plan) {
  const int64_t longer = std::max(size.height, size.width);
  const int64_t shorter = std::min(size.height, size.width);
  const double ratio = static_cast<double>(longer) / static_cast<double>(shorter);
  if (ratio < config.min_ratio) return;
  int64_t count = std::min(longer / config.min_crop, whole(std::floor(ratio + 0.5)));
  count = std::min(std::max<int64_t>(2, count), config.max_crops);
  if (std::min(ceil_div(longer, count), shorter) < config.min_crop) return;
  if ((count - 1) * ceil_div(longer, count) >= longer) return;  // nothing left for the last
  plan.grid_h = size.width >= size.height ? 1 : count;
  plan.grid_w = size.width >= size.height ? count : 1;
  plan.canvas = plan.fitted = size;
}

Image crop(const Image& image, int64_t top, int64_t left, ImageSize size) {
  ONNURI_CHECK(top >= 0 && left >= 0 && size.height <= image.height - top &&
               size.width <= image.width - left);
  Image out{size.height, size.width, {}};
  out.rgb.resize(static_cast<size_t>(size.height * size.width * 3));
  for (int64_t y = 0; y < size.height; ++y)
    std::memcpy(out.rgb.data() + y * size.width * 3,
                image.rgb.data() + ((top + y) * image.width + left) * 3,
                static_cast<size_t>(size.width * 3));
  return out;
}

/// The picture in the middle of a canvas of one colour.
Image pad(const Image& image, ImageSize canvas, const std::array<uint8_t, 3>& color) {
  Image out{canvas.height, canvas.width, {}};
  out.rgb.resize(static_cast<size_t>(canvas.height * canvas.width * 3));
  for (size_t i = 0; i < out.rgb.size(); ++i) out.rgb[i] = color[i % 3];
  const int64_t top = (canvas.height - image.height) / 2;
  const int64_t left = (canvas.width - image.width) / 2;
  for (int64_t y = 0; y < image.height; ++y)
    std::memcpy(out.rgb.data() + ((top + y) * canvas.width + left) * 3,
                image.rgb.data() + y * image.width * 3, static_cast<size_t>(image.width * 3));
  return out;
}

/// The picture as one tile, stretched or between borders.
Image make_overview(const Image& image, const TileConfig& config, ResizeFilter filter,
                    ThreadPool* pool) {
  const ImageSize tile = config.tile;
  if (!config.keep_shape || image.height == image.width)
    return resample(image, tile.height, tile.width, filter, pool);
  const auto shorter = [&](int64_t a, int64_t b, int64_t side) {
    const double ratio = static_cast<double>(a) / static_cast<double>(b);
    return std::min(side, whole(std::ceil(ratio * static_cast<double>(side))));
  };
  const ImageSize size =
      image.width > image.height
          ? ImageSize{shorter(image.height, image.width, tile.width), tile.width}
          : ImageSize{tile.height, shorter(image.width, image.height, tile.height)};
  return pad(resample(image, size.height, size.width, filter, pool), tile, config.border);
}

Image crop_middle(const Image& image, const TileConfig& config, ResizeFilter filter,
                  ThreadPool* pool) {
  const ImageSize tile = config.tile;
  const int64_t longer = std::max(image.height, image.width);
  const int64_t shorter = std::min(image.height, image.width);
  const int64_t target = config.shortest_edge;
  const int64_t scaled = whole(static_cast<double>(target * longer) / static_cast<double>(shorter));
  const ImageSize size =
      image.width <= image.height ? ImageSize{scaled, target} : ImageSize{target, scaled};
  const Image resized = resample(image, size.height, size.width, filter, pool);
  return crop(resized, (size.height - tile.height) / 2, (size.width - tile.width) / 2, tile);
}

/// The overview of the square around a picture. The resampler takes columns first where both sides
/// shrink alike, and borders of one colour stay what they are, so that the square, whose area knows
/// no limit, is never made: a few rows at a time are widened, then the few columns are heightened.
Image square_overview(const Image& image, const TileConfig& config, ResizeFilter filter,
                      ThreadPool* pool) {
  constexpr int64_t kRows = 64;
  const std::array<uint8_t, 3>& color = *config.square_among_others;
  const ImageSize tile = config.tile;
  const int64_t side = std::max(image.height, image.width);
  Image narrow{image.height, tile.width, {}};
  narrow.rgb.reserve(static_cast<size_t>(image.height * tile.width * 3));
  for (int64_t y = 0; y < image.height; y += kRows) {
    const ImageSize strip{std::min(kRows, image.height - y), side};
    const Image rows = pad(crop(image, y, 0, {strip.height, image.width}), strip, color);
    const Image resized = resample(rows, strip.height, tile.width, filter, pool);
    narrow.rgb.insert(narrow.rgb.end(), resized.rgb.begin(), resized.rgb.end());
  }
  return resample(pad(narrow, {side, tile.width}, color), tile.height, tile.width, filter, pool);
}

/// Cuts the canvas into cells of the grid; those at the far edges may be smaller.
std::vector<Image> cut_grid(const Image& canvas, const TilePlan& plan) {
  std::vector<Image> out;
  const int64_t cell_h = ceil_div(canvas.height, plan.grid_h);
  const int64_t cell_w = ceil_div(canvas.width, plan.grid_w);
  for (int64_t y = 0; y < plan.grid_h; ++y)
    for (int64_t x = 0; x < plan.grid_w; ++x)
      out.push_back(crop(canvas, y * cell_h, x * cell_w,
                         {std::min(cell_h, canvas.height - y * cell_h),
                          std::min(cell_w, canvas.width - x * cell_w)}));
  return out;
}

/// The tiles of one rule, each config.tile.
std::vector<Image> cut_by_rule(const TileConfig& config, const TilePlan& plan, ResizeFilter filter,
                               const Image& image, ThreadPool* pool) {
  const auto resized = [&](const Image& from, ImageSize to) {
    return resample(from, to.height, to.width, filter, pool);
  };
  std::vector<Image> tiles;
  switch (config.rule) {
    case TileRule::kCrop: tiles.push_back(crop_middle(image, config, filter, pool)); break;
    case TileRule::kStretch: tiles.push_back(make_overview(image, config, filter, pool)); break;
    case TileRule::kPanAndScan:
      tiles.push_back(resized(image, config.tile));
      if (plan.grid_h == 0) break;
      for (const Image& piece : cut_grid(image, plan)) tiles.push_back(resized(piece, config.tile));
      break;
    case TileRule::kBestGrid:
      tiles = cut_grid(pad(resized(image, plan.fitted), plan.canvas, config.border), plan);
      tiles.insert(tiles.begin(), make_overview(image, config, filter, pool));
      break;
    case TileRule::kWholeGrid: {
      const Image canvas = resized(resized(image, plan.between), plan.canvas);
      if (plan.grid_h > 0) tiles = cut_grid(canvas, plan);
      tiles.push_back(resized(canvas, config.tile));
      break;
    }
  }
  return tiles;
}

}  // namespace

TilePlan plan_tiling(const TileConfig& config, ImageSize size, PictureView view) {
  if (size.height <= 0 || size.width <= 0)
    fail(ErrorCode::kInvalidArgument, "expected a picture with pixels, found ", size.height, "x",
         size.width);
  const auto longer = static_cast<double>(std::max(size.height, size.width));
  if (longer > kMaxAspectRatio * static_cast<double>(std::min(size.height, size.width)))
    fail(ErrorCode::kInvalidArgument, "expected a picture with sides at most 200 : 1, found ",
         size.height, "x", size.width);
  TilePlan plan;
  plan.square = view == PictureView::kAmongOthers && config.square_among_others.has_value();
  if (plan.square) return plan;
  switch (config.rule) {
    case TileRule::kStretch:
    case TileRule::kCrop: break;
    case TileRule::kPanAndScan: plan_pan_and_scan(config, size, plan); break;
    case TileRule::kBestGrid: plan_best_grid(config, size, plan); break;
    case TileRule::kWholeGrid: plan_whole_grid(config, size, plan); break;
  }
  return plan;
}

std::vector<Image> cut_tiles(const TileConfig& config, const TilePlan& plan, ResizeFilter filter,
                             const Image& image, ThreadPool* pool) {
  std::vector<Image> tiles;
  if (plan.square)
    tiles.push_back(square_overview(image, config, filter, pool));
  else
    tiles = cut_by_rule(config, plan, filter, image, pool);
  if (config.seen != config.tile)
    for (Image& tile : tiles) tile = crop(tile, 0, 0, config.seen);
  return tiles;
}

}  // namespace onnuri
