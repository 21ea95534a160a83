// Rope positions of a prompt: one axis, or time, height and width for pictures.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace onnuri {

/// One picture inside a prompt: its placeholder tokens start at `first_token`, and its grid of
/// tokens (after merging) has t * h * w cells in raster order.
struct MediaSpan {
  int64_t first_token = 0;
  int64_t num_tokens = 0;
  int64_t grid_t = 1;
  int64_t grid_h = 1;
  int64_t grid_w = 1;
  double time_step = 1.0;  // positions from one t to the next, cut down to whole numbers
};

/// Where the text after a video starts. After a picture all rules agree.
enum class AfterVideo {
  kLongestSide,  // its start + max(h, w): later times than that overlap with the text
  kMaximum,      // the largest position so far + 1
};

struct PromptPositions {
  int64_t num_axes = 1;
  std::vector<int32_t> positions;  // (num_axes, num_tokens)
  int32_t next_position = 0;       // of the first generated token, on all axes
};

/// Positions 0..n-1 on one axis.
PromptPositions text_positions(int64_t num_tokens);

/// M-RoPE (Qwen2-VL, section 2.1): text advances all axes together; a picture's tokens take
/// (start + t * time_step, start + row, start + col), and the next text starts where `rule` says.
/// The first generated token is beyond all positions.
PromptPositions mrope_positions(int64_t num_tokens, std::span<const MediaSpan> spans,
                                AfterVideo rule = AfterVideo::kMaximum);

}  // namespace onnuri
