// Rope positions of a prompt: one axis, or time, height and width for pictures.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace onnuri {

enum class SpanKind { kPicture, kVideo, kSound };

/// The position in time of grid t, after where the medium starts: t * step * factor, in single
/// precision and in this order, as the references compute it.
struct TimeScale {
  double step = 1.0;
  double factor = 1.0;
  bool whole = true;  // cut down to whole numbers
};

/// A run of tokens of one medium inside a prompt. The medium is a grid of t * h * w cells in raster
/// order (after merging), and the run holds `num_tokens` of them from `first_cell` on: all, unless
/// it belongs to a group.
struct MediaSpan {
  int64_t first_token = 0;
  int64_t num_tokens = 0;
  int64_t grid_t = 1;
  int64_t grid_h = 1;
  int64_t grid_w = 1;
  SpanKind kind = SpanKind::kPicture;
  int64_t medium = 0;      // which of its kind
  int64_t first_cell = 0;  // of the medium's grid
  int64_t group = -1;      // runs of one group (a video and its sound) share where they start
  TimeScale time = {};
};

/// Where the text after a video starts. After a picture all rules agree.
enum class AfterVideo {
  kLongestSide,  // its start + max(h, w): later times than that overlap with the text
  kMaximum,      // the largest position so far + 1
};

struct PositionRules {
  AfterVideo after = AfterVideo::kMaximum;
  // The two tokens that open a group, and the two that close it, stand at one position each.
  bool brackets_share = false;
};

struct PromptPositions {
  int64_t num_axes = 1;
  std::vector<float> positions;  // (num_axes, num_tokens); whole unless a TimeScale is not
  float next_position = 0;       // of the first generated token, on all axes
};

/// Positions 0..n-1 on one axis.
PromptPositions text_positions(int64_t num_tokens);

/// M-RoPE (Qwen2-VL, section 2.1) and its form for a video with its sound (TMRoPE, Qwen2.5-Omni).
/// Text advances all axes together; a picture's tokens take (start + time of t, start + row,
/// start + column); sound inside a group advances all axes from the group's start. The text after
/// a picture or video starts where the rules say, after a group one beyond its last run. Sound
/// outside groups counts like text and needs no span. The first generated token is beyond all
/// positions. Throws kInvalidArgument for spans that do not fit their grids, each other, or
/// between the two tokens on either side of a group.
PromptPositions mrope_positions(int64_t num_tokens, std::span<const MediaSpan> spans,
                                const PositionRules& rules = {});

}  // namespace onnuri
