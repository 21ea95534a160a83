// Sources: transformers 5.23, sample_frames of models/qwen2_vl and models/qwen3_vl. A clip of fewer
// frames than one temporal patch, which the reference cannot sample, is looked at as a whole.
#include "encoders/vision/frame_sampling.h"

#include <algorithm>
#include <cmath>

#include "core/check.h"

namespace onnuri {
namespace {

std::vector<int64_t> even_floor(int64_t total, int64_t count) {
  const double step = static_cast<double>(total) / static_cast<double>(count);
  std::vector<int64_t> out;
  for (int64_t i = 0; i < count; ++i)
    out.push_back(std::min(static_cast<int64_t>(static_cast<double>(i) * step), total - 1));
  return out;
}

std::vector<int64_t> linspace(int64_t total, int64_t count) {
  if (count == 1) return {0};
  const double step = static_cast<double>(total - 1) / static_cast<double>(count - 1);
  std::vector<int64_t> out;
  for (int64_t i = 0; i < count; ++i)
    out.push_back(static_cast<int64_t>(std::nearbyint(static_cast<double>(i) * step)));
  out.back() = total - 1;
  return out;
}

}  // namespace

std::vector<int64_t> choose_frames(const VideoConfig& config, int64_t temporal_patch_size,
                                   int64_t total, double fps) {
  if (total < 1 || !(fps > 0) || !std::isfinite(fps))
    fail(ErrorCode::kInvalidArgument, "expected a video with frames and a frame rate, found ",
         total, " frames at ", fps, " per second");
  const double asked = static_cast<double>(total) / fps * config.frames_per_second;
  const auto low = static_cast<double>(config.min_frames);
  if (config.frames == FrameRule::kLinspaceEven) {
    const auto most = static_cast<double>(std::min(config.max_frames, total));
    const auto count = static_cast<int64_t>(std::min(std::max(asked, low), most));
    const int64_t whole = count / temporal_patch_size * temporal_patch_size;
    return linspace(total, std::max(whole, std::min(temporal_patch_size, total)));
  }
  if (config.frames == FrameRule::kLinspace) {
    const double whole = std::floor(std::min(asked, static_cast<double>(total)));
    const auto most = static_cast<double>(std::min(config.max_frames, total));
    return linspace(total, static_cast<int64_t>(std::min(std::max(whole, low), most)));
  }
  const int64_t step = temporal_patch_size;
  const int64_t most = std::min(config.max_frames, total) / step * step;
  if (most == 0) return even_floor(total, std::min(config.max_frames, total));
  const double count = std::min(std::max(asked, low), static_cast<double>(most));
  const int64_t frames = static_cast<int64_t>(count) / step * step;
  return even_floor(total, std::max(frames, std::min(step, most)));
}

}  // namespace onnuri
