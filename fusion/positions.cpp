#include "fusion/positions.h"

#include <algorithm>
#include <limits>
#include <numeric>

#include "core/check.h"

namespace onnuri {

namespace {

constexpr int64_t kMaxTokens = std::numeric_limits<int32_t>::max() / 4;

void check_span(const MediaSpan& span, int64_t previous_end, int64_t num_tokens) {
  const bool sane = span.grid_t > 0 && span.grid_h > 0 && span.grid_w > 0 &&
                    span.grid_t <= kMaxTokens && span.grid_h <= kMaxTokens / span.grid_t &&
                    span.grid_w <= kMaxTokens / (span.grid_t * span.grid_h) &&
                    span.grid_t * span.grid_h * span.grid_w == span.num_tokens;
  if (!sane)
    fail(ErrorCode::kInvalidArgument, "expected ", span.num_tokens,
         " placeholder tokens to fill a grid, found ", span.grid_t, " x ", span.grid_h, " x ",
         span.grid_w);
  if (span.first_token < previous_end || span.first_token > num_tokens - span.num_tokens)
    fail(ErrorCode::kInvalidArgument, "expected media spans in order inside ", num_tokens,
         " tokens, found one of ", span.num_tokens, " at ", span.first_token);
}

void check_count(int64_t num_tokens) {
  if (num_tokens < 0 || num_tokens > kMaxTokens)
    fail(ErrorCode::kInvalidArgument, "expected at most ", kMaxTokens, " tokens, found ",
         num_tokens);
}

/// In single precision, as the reference computes it.
int32_t time_of(int64_t t, double step) {
  const float time = static_cast<float>(t) * static_cast<float>(step);
  if (!(time >= 0) || time > static_cast<float>(kMaxTokens))
    fail(ErrorCode::kInvalidArgument, "expected a video of at most ", kMaxTokens,
         " positions in time, found ", time);
  return static_cast<int32_t>(time);
}

}  // namespace

PromptPositions text_positions(int64_t num_tokens) {
  check_count(num_tokens);
  PromptPositions out;
  out.positions.resize(static_cast<size_t>(num_tokens));
  std::iota(out.positions.begin(), out.positions.end(), 0);
  out.next_position = static_cast<int32_t>(num_tokens);
  return out;
}

PromptPositions mrope_positions(int64_t num_tokens, std::span<const MediaSpan> spans,
                                AfterVideo rule) {
  check_count(num_tokens);
  PromptPositions out;
  out.num_axes = 3;
  out.positions.resize(static_cast<size_t>(3 * num_tokens));
  int32_t* const t_axis = out.positions.data();
  int32_t* const h_axis = t_axis + num_tokens;
  int32_t* const w_axis = h_axis + num_tokens;

  int32_t next = 0;
  int32_t beyond = 0;  // the largest position of media so far + 1
  int64_t token = 0;
  const auto text_until = [&](int64_t end) {
    for (; token < end; ++token, ++next) t_axis[token] = h_axis[token] = w_axis[token] = next;
  };
  for (const MediaSpan& span : spans) {
    check_span(span, token, num_tokens);
    text_until(span.first_token);
    int32_t last_time = 0;
    for (int64_t t = 0; t < span.grid_t; ++t) {
      last_time = time_of(t, span.time_step);
      for (int64_t h = 0; h < span.grid_h; ++h)
        for (int64_t w = 0; w < span.grid_w; ++w, ++token) {
          t_axis[token] = next + last_time;
          h_axis[token] = next + static_cast<int32_t>(h);
          w_axis[token] = next + static_cast<int32_t>(w);
        }
    }
    const auto side = static_cast<int32_t>(std::max(span.grid_h, span.grid_w));
    beyond = std::max({beyond, next + last_time + 1, next + side});
    next = rule == AfterVideo::kMaximum ? std::max(next + last_time + 1, next + side) : next + side;
  }
  text_until(num_tokens);
  out.next_position = std::max(next, beyond);
  return out;
}

}  // namespace onnuri
