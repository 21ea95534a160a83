#include "fusion/positions.h"

#include <algorithm>
#include <numeric>

#include "core/check.h"

namespace onnuri {

namespace {

constexpr int64_t kMaxTokens = int64_t{1} << 24;  // whole numbers that single precision tells apart
constexpr int64_t kBrackets = 2;                  // tokens on either side of a group

void check_span(const MediaSpan& span, int64_t previous_end, int64_t num_tokens) {
  const bool sane = span.grid_t > 0 && span.grid_h > 0 && span.grid_w > 0 &&
                    span.grid_t <= kMaxTokens && span.grid_h <= kMaxTokens / span.grid_t &&
                    span.grid_w <= kMaxTokens / (span.grid_t * span.grid_h);
  const int64_t cells = sane ? span.grid_t * span.grid_h * span.grid_w : 0;
  const bool fits = span.group >= 0
                        ? span.num_tokens > 0 && span.first_cell >= 0 && span.num_tokens <= cells &&
                              span.first_cell <= cells - span.num_tokens
                        : span.first_cell == 0 && span.num_tokens == cells;
  if (!sane || !fits)
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

float time_of(int64_t t, const TimeScale& scale) {
  const float time =
      static_cast<float>(t) * static_cast<float>(scale.step) * static_cast<float>(scale.factor);
  if (!(time >= 0) || time > static_cast<float>(kMaxTokens))
    fail(ErrorCode::kInvalidArgument, "expected a video of at most ", kMaxTokens,
         " positions in time, found ", time);
  return scale.whole ? static_cast<float>(static_cast<int64_t>(time)) : time;
}

/// Writes positions token by token.
class Writer {
 public:
  Writer(int64_t num_tokens, PositionRules rules) : rules_(rules), num_tokens_(num_tokens) {
    out_.num_axes = 3;
    out_.positions.resize(static_cast<size_t>(3 * num_tokens));
  }

  void text_until(int64_t end) {
    for (; token_ < end; next_ += 1.0f) put(next_, next_, next_);
  }

  void medium(const MediaSpan& span) {
    check_span(span, token_, num_tokens_);
    text_until(span.first_token);
    const float start = next_;
    const float past = cells(span, start) + 1.0f;
    beyond_ = std::max(beyond_, past);
    const auto side = start + static_cast<float>(std::max(span.grid_h, span.grid_w));
    next_ = rules_.after == AfterVideo::kMaximum ? past : side;
  }

  void group(std::span<const MediaSpan> runs) {
    const int64_t begin = runs.front().first_token;
    const int64_t end = runs.back().first_token + runs.back().num_tokens;
    if (begin < token_ + kBrackets || end > num_tokens_ - kBrackets)
      fail(ErrorCode::kInvalidArgument, "expected a video and its sound between ", kBrackets,
           " tokens that open and ", kBrackets, " that close it, found them at [", begin, ", ", end,
           ") of ", num_tokens_);
    text_until(begin - kBrackets);
    brackets();
    const float start = next_;
    for (const MediaSpan& run : runs) {
      check_span(run, token_, num_tokens_);
      if (run.first_token != token_)
        fail(ErrorCode::kInvalidArgument, "expected the runs of a group side by side, found ",
             token_, " and ", run.first_token);
      next_ = cells(run, start) + 1.0f;
      beyond_ = std::max(beyond_, next_);
    }
    brackets();
  }

  PromptPositions finish() {
    text_until(num_tokens_);
    out_.next_position = std::max(next_, beyond_);
    return std::move(out_);
  }

 private:
  void put(float t, float h, float w) {
    float* const at = out_.positions.data() + token_++;
    at[0] = t;
    at[num_tokens_] = h;
    at[2 * num_tokens_] = w;
  }

  void brackets() {
    if (!rules_.brackets_share) return text_until(token_ + kBrackets);
    for (int64_t i = 0; i < kBrackets; ++i) put(next_, next_, next_);
    next_ += 1.0f;
  }

  /// Returns the largest position.
  float cells(const MediaSpan& span, float start) {
    float largest = 0;
    for (int64_t cell = span.first_cell; cell < span.first_cell + span.num_tokens; ++cell) {
      float t = 0, h = 0, w = 0;
      if (span.kind == SpanKind::kSound) {
        t = h = w = start + static_cast<float>(cell);
      } else {
        const int64_t plane = span.grid_h * span.grid_w;
        t = start + time_of(cell / plane, span.time);
        h = start + static_cast<float>(cell % plane / span.grid_w);
        w = start + static_cast<float>(cell % span.grid_w);
      }
      put(t, h, w);
      largest = std::max({largest, t, h, w});
    }
    return largest;
  }

  PositionRules rules_;
  int64_t num_tokens_;
  PromptPositions out_;
  int64_t token_ = 0;
  float next_ = 0;
  float beyond_ = 0;  // the largest position of media so far + 1
};

}  // namespace

PromptPositions text_positions(int64_t num_tokens) {
  check_count(num_tokens);
  PromptPositions out;
  out.positions.resize(static_cast<size_t>(num_tokens));
  std::iota(out.positions.begin(), out.positions.end(), 0.0f);
  out.next_position = static_cast<float>(num_tokens);
  return out;
}

PromptPositions mrope_positions(int64_t num_tokens, std::span<const MediaSpan> spans,
                                const PositionRules& rules) {
  check_count(num_tokens);
  Writer writer(num_tokens, rules);
  for (size_t i = 0; i < spans.size();) {
    size_t end = i + 1;
    if (spans[i].group < 0) {
      writer.medium(spans[i]);
    } else {
      while (end < spans.size() && spans[end].group == spans[i].group) ++end;
      writer.group(spans.subspan(i, end - i));
    }
    i = end;
  }
  return writer.finish();
}

}  // namespace onnuri
