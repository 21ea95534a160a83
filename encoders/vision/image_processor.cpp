// Source: transformers 5.23, models/qwen2_vl/image_processing_qwen2_vl.py (smart_resize, patches),
// models/paddleocr_vl/modular_paddleocr_vl.py (short sides), vision_utils.py (windows),
// models/siglip2/image_processing_siglip2.py (numbers of patches).
#include "encoders/vision/image_processor.h"

#include <algorithm>
#include <cmath>

#include "core/check.h"
#include "encoders/vision/resample.h"

namespace onnuri {

namespace {

constexpr double kMaxAspectRatio = 200;

/// Halves go to the even neighbour: std::nearbyint in the default rounding mode.
double round_half_even(double x) { return std::nearbyint(x); }

void stretch_short_sides(double factor, double& height, double& width) {
  if (height < factor) {
    width = round_half_even(width * factor / height);
    height = factor;
  }
  if (width < factor) {
    height = round_half_even(height * factor / width);
    width = factor;
  }
}

void check_sides(double height, double width, const char* what) {
  const double shorter = std::min(height, width);
  if (shorter <= 0)
    fail(ErrorCode::kInvalidArgument, "expected a ", what, " with pixels, found ", height, "x",
         width);
  if (std::max(height, width) > kMaxAspectRatio * shorter)
    fail(ErrorCode::kInvalidArgument, "expected a ", what, " with sides at most 200 : 1, found ",
         height, "x", width);
}

/// Both sides up to whole patches, by the largest scale that a search by halves finds.
ImageSize fill_patches(const ImageProcessorConfig& config, ImageSize size) {
  if (size.height <= 0 || size.width <= 0)
    fail(ErrorCode::kInvalidArgument, "expected a picture with pixels, found ", size.height, "x",
         size.width);
  constexpr double kPrecision = 1e-5;
  const auto patch = static_cast<double>(config.patch_size);
  const auto patches = [&](int64_t side, double scale) {
    return std::max(1.0, std::ceil(static_cast<double>(side) * scale / patch));
  };
  double low = kPrecision / 10, high = 100.0;
  while (high - low >= kPrecision) {
    const double scale = (low + high) / 2;
    const bool fits = patches(size.height, scale) * patches(size.width, scale) <=
                      static_cast<double>(config.max_patches);
    (fits ? low : high) = scale;
  }
  const double h = patches(size.height, low), w = patches(size.width, low);
  if (h * w > static_cast<double>(config.max_patches))  // beyond what the search can shrink
    fail(ErrorCode::kInvalidArgument, "expected a picture that fits ", config.max_patches,
         " patches, found ", size.height, "x", size.width);
  return {static_cast<int64_t>(h * patch), static_cast<int64_t>(w * patch)};
}

}  // namespace

ImageSize enlarged(const ImageProcessorConfig& config, ImageSize size) {
  const int64_t shorter = std::min(size.height, size.width);
  const int64_t factor = config.patch_size * config.merge_size;
  if (!config.enlarge_first || shorter <= 0 || shorter >= factor) return size;
  check_sides(static_cast<double>(size.height), static_cast<double>(size.width), "picture");
  const double scale = static_cast<double>(factor) / static_cast<double>(shorter);
  return {static_cast<int64_t>(static_cast<double>(size.height) * scale),
          static_cast<int64_t>(static_cast<double>(size.width) * scale)};
}

ImageSize smart_resize(const ImageProcessorConfig& config, ImageSize original) {
  if (config.max_patches > 0) return fill_patches(config, original);
  const ImageSize size = enlarged(config, original);
  const auto factor = static_cast<double>(config.patch_size * config.merge_size);
  auto height = static_cast<double>(size.height);
  auto width = static_cast<double>(size.width);
  check_sides(height, width, "picture");
  if (config.stretch_short_side) stretch_short_sides(factor, height, width);

  const auto max_pixels = static_cast<double>(config.max_pixels);
  const auto min_pixels = static_cast<double>(config.min_pixels);
  double h = round_half_even(height / factor) * factor;
  double w = round_half_even(width / factor) * factor;
  if (h * w > max_pixels) {
    const double shrink = std::sqrt(height * width / max_pixels);
    h = std::max(factor, std::floor(height / shrink / factor) * factor);
    w = std::max(factor, std::floor(width / shrink / factor) * factor);
  } else if (h * w < min_pixels) {
    const double grow = std::sqrt(min_pixels / (height * width));
    h = std::ceil(height * grow / factor) * factor;
    w = std::ceil(width * grow / factor) * factor;
  }
  // Without a lower bound on the area a thin picture could vanish.
  return {static_cast<int64_t>(std::max(h, factor)), static_cast<int64_t>(std::max(w, factor))};
}

ImageSize resize_video(const ImageProcessorConfig& config, const VideoConfig& video_config,
                       const Video& video) {
  if (video.num_frames <= 0)
    fail(ErrorCode::kInvalidArgument, "expected a video with frames, found none");
  ImageProcessorConfig one = config;
  one.min_pixels = video_config.min_pixels;
  one.max_pixels = video_config.max_pixels;
  if (!video_config.area_of_clip) return smart_resize(one, {video.height, video.width});

  const auto factor = static_cast<double>(config.patch_size * config.merge_size);
  const auto step = static_cast<double>(config.temporal_patch_size);
  const auto frames = static_cast<double>(video.num_frames);
  check_sides(static_cast<double>(video.height), static_cast<double>(video.width), "video");
  auto height = static_cast<double>(video.height);
  auto width = static_cast<double>(video.width);
  if (std::min(height, width) < factor) {
    const double scale = std::max(factor / height, factor / width);
    height = std::floor(height * scale);
    width = std::floor(width * scale);
  }
  double h = round_half_even(height / factor) * factor;
  double w = round_half_even(width / factor) * factor;
  const double area = round_half_even(frames / step) * step * h * w;
  if (area > static_cast<double>(video_config.max_pixels)) {
    const double shrink =
        std::sqrt(frames * height * width / static_cast<double>(video_config.max_pixels));
    h = std::max(factor, std::floor(height / shrink / factor) * factor);
    w = std::max(factor, std::floor(width / shrink / factor) * factor);
  } else if (area < static_cast<double>(video_config.min_pixels)) {
    const double grow =
        std::sqrt(static_cast<double>(video_config.min_pixels) / (frames * height * width));
    h = std::ceil(height * grow / factor) * factor;
    w = std::ceil(width * grow / factor) * factor;
  }
  return {static_cast<int64_t>(std::max(h, factor)), static_cast<int64_t>(std::max(w, factor))};
}

namespace {

/// The plan of one picture.
PatchPlan plan_one(const ImageProcessorConfig& config, int64_t window_size, ImageSize resized) {
  const int64_t merge = config.merge_size;
  const int64_t factor = config.patch_size * merge;
  ONNURI_CHECK(factor > 0 && resized.height % factor == 0 && resized.width % factor == 0);
  PatchPlan plan;
  plan.grid_h = resized.height / config.patch_size;
  plan.grid_w = resized.width / config.patch_size;
  plan.frame_segments = {0, plan.num_patches()};
  const int64_t units_h = resized.height / factor;
  const int64_t units_w = resized.width / factor;
  const int64_t side = window_size / factor;  // units
  const int64_t window_h = window_size > 0 ? side : units_h;
  const int64_t window_w = window_size > 0 ? side : units_w;
  ONNURI_CHECK(window_h > 0 && window_w > 0);

  if (window_size > 0) plan.window_segments.push_back(0);
  for (int64_t wy = 0; wy < units_h; wy += window_h) {
    for (int64_t wx = 0; wx < units_w; wx += window_w) {
      for (int64_t uy = wy; uy < std::min(wy + window_h, units_h); ++uy) {
        for (int64_t ux = wx; ux < std::min(wx + window_w, units_w); ++ux) {
          plan.unit_order.push_back(uy * units_w + ux);
          for (int64_t i = 0; i < merge * merge; ++i) {
            plan.row.push_back(static_cast<int32_t>(uy * merge + i / merge));
            plan.col.push_back(static_cast<int32_t>(ux * merge + i % merge));
          }
        }
      }
      if (window_size > 0) plan.window_segments.push_back(static_cast<int64_t>(plan.row.size()));
    }
  }
  return plan;
}

}  // namespace

PatchPlan plan_patches(const ImageProcessorConfig& config, int64_t window_size, ImageSize resized,
                       int64_t count) {
  ONNURI_CHECK(count > 0);
  PatchPlan plan = plan_one(config, window_size, resized);
  if (count == 1) return plan;
  const PatchPlan one = plan;
  plan.grid_t = count;
  const auto units = static_cast<int64_t>(one.unit_order.size());
  for (int64_t t = 1; t < count; ++t) {
    plan.row.insert(plan.row.end(), one.row.begin(), one.row.end());
    plan.col.insert(plan.col.end(), one.col.begin(), one.col.end());
    for (const int64_t unit : one.unit_order) plan.unit_order.push_back(t * units + unit);
    plan.frame_segments.push_back((t + 1) * one.num_patches());
    for (size_t s = 1; s < one.window_segments.size(); ++s)
      plan.window_segments.push_back(t * one.num_patches() + one.window_segments[s]);
  }
  return plan;
}

namespace {

/// Patches of one picture, or of several frames on the temporal axis, into `patches`,
/// (grid_h * grid_w, 3 * temporal * patch * patch).
void cut_patches(const ImageProcessorConfig& config, const PatchPlan& plan,
                 std::span<const Image> frames, ThreadPool* pool, float* patches) {
  const int64_t patch = config.patch_size;
  const int64_t repeat = config.temporal_patch_size;
  ONNURI_CHECK(frames.size() == 1 || static_cast<int64_t>(frames.size()) == repeat);
  std::vector<Image> resized;
  for (const Image& image : frames) {
    if (static_cast<int64_t>(image.rgb.size()) != image.height * image.width * 3)
      fail(ErrorCode::kInvalidArgument, "expected ", image.height, "x", image.width,
           "x3 bytes of picture, found ", image.rgb.size());
    const ImageSize own{image.height, image.width};
    const ImageSize first = enlarged(config, own);
    const int64_t height = plan.grid_h * patch, width = plan.grid_w * patch;
    resized.push_back(resample(
        first == own ? image : resample(image, first.height, first.width, config.filter, pool),
        height, width, config.filter, pool));
  }

  std::array<std::array<float, 256>, 3> value;  // (pixel / 255 - mean) / std, tabulated
  for (size_t c = 0; c < 3; ++c)
    for (size_t v = 0; v < 256; ++v)
      value[c][v] = (static_cast<float>(v) / 255.0f - config.mean[c]) / config.std[c];

  auto cut = [&](int64_t i, int) {
    float* out = patches + i * 3 * repeat * patch * patch;
    const int64_t y0 = plan.row[static_cast<size_t>(i)] * patch;
    const int64_t x0 = plan.col[static_cast<size_t>(i)] * patch;
    for (size_t c = 0; c < 3; ++c)
      for (int64_t t = 0; t < repeat; ++t) {
        const Image& image = resized[resized.size() == 1 ? 0 : static_cast<size_t>(t)];
        for (int64_t y = 0; y < patch; ++y) {
          const uint8_t* from = image.rgb.data() + ((y0 + y) * image.width + x0) * 3 + c;
          for (int64_t x = 0; x < patch; ++x) *out++ = value[c][from[3 * x]];
        }
      }
  };
  const int64_t count = plan.grid_h * plan.grid_w;
  if (pool != nullptr) {
    pool->run(count, cut);
  } else {
    for (int64_t i = 0; i < count; ++i) cut(i, 0);
  }
}

}  // namespace

Tensor image_patches(const ImageProcessorConfig& config, const PatchPlan& plan, const Image& image,
                     ThreadPool* pool) {
  return image_patches(config, plan, std::span(&image, 1), pool);
}

Tensor image_patches(const ImageProcessorConfig& config, const PatchPlan& plan,
                     std::span<const Image> images, ThreadPool* pool) {
  ONNURI_CHECK(static_cast<int64_t>(images.size()) == plan.grid_t);
  const int64_t width = 3 * config.temporal_patch_size * config.patch_size * config.patch_size;
  Tensor patches(DType::kF32, Shape{plan.num_patches(), width});
  float* out = patches.f32();
  for (const Image& image : images) {
    cut_patches(config, plan, std::span(&image, 1), pool, out);
    out += plan.grid_h * plan.grid_w * width;
  }
  return patches;
}

Tensor video_patches(const ImageProcessorConfig& config, const PatchPlan& plan, const Video& video,
                     ThreadPool* pool, int64_t first) {
  const int64_t frame_bytes = video.height * video.width * 3;
  if (static_cast<int64_t>(video.rgb.size()) != video.num_frames * frame_bytes)
    fail(ErrorCode::kInvalidArgument, "expected ", video.num_frames, "x", video.height, "x",
         video.width, "x3 bytes of video, found ", video.rgb.size());
  const int64_t step = config.temporal_patch_size;
  const int64_t width = 3 * step * config.patch_size * config.patch_size;
  Tensor patches(DType::kF32, Shape{plan.num_patches(), width});
  std::vector<Image> frames(static_cast<size_t>(step));
  for (int64_t t = 0; t < plan.grid_t; ++t) {
    for (int64_t i = 0; i < step; ++i) {
      const int64_t frame = std::min((first + t) * step + i, video.num_frames - 1);
      const auto from = video.rgb.begin() + frame * frame_bytes;
      frames[static_cast<size_t>(i)] = {video.height, video.width, {from, from + frame_bytes}};
    }
    cut_patches(config, plan, frames, pool, patches.f32() + t * plan.grid_h * plan.grid_w * width);
  }
  return patches;
}

}  // namespace onnuri
