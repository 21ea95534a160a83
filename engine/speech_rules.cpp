#include "engine/speech_rules.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace onnuri {
namespace {

constexpr float kNever = -std::numeric_limits<float>::infinity();
constexpr int64_t kFramesPerStep = 2;

void forbid(std::span<float> logits, std::span<const int32_t> ids) {
  for (const int32_t id : ids) {
    if (id >= 0 && static_cast<size_t>(id) < logits.size())
      logits[static_cast<size_t>(id)] = kNever;
  }
}

// [begin, end), cut to what exists.
void forbid_range(std::span<float> logits, int64_t begin, int64_t end) {
  const auto size = static_cast<int64_t>(logits.size());
  begin = std::clamp<int64_t>(begin, 0, size);
  end = std::clamp<int64_t>(end, begin, size);
  std::fill(logits.begin() + begin, logits.begin() + end, kNever);
}

// True when the timestamps together are more likely than the best text token.
bool timestamps_win(std::span<const float> logits, size_t first) {
  const float best_text =
      *std::max_element(logits.begin(), logits.begin() + static_cast<long>(first));
  const float best_time =
      *std::max_element(logits.begin() + static_cast<long>(first), logits.end());
  if (best_time == kNever) return false;
  double sum = 0;
  for (const float x : logits.subspan(first)) sum += std::exp(static_cast<double>(x - best_time));
  return static_cast<double>(best_time) + std::log(sum) > static_cast<double>(best_text);
}

void apply_timestamp_rules(const SpeechDecoderConfig& config, std::span<const int32_t> generated,
                           std::span<float> logits) {
  const int32_t first = config.first_timestamp();
  const auto size = static_cast<int64_t>(logits.size());
  const auto is_time = [&](size_t i) { return generated[i] >= first; };
  forbid_range(logits, config.no_timestamps, first);
  const size_t n = generated.size();
  const bool last_is_time = n >= 1 && is_time(n - 1);
  const bool one_before_is_time = n < 2 || is_time(n - 2);
  if (last_is_time && one_before_is_time) forbid_range(logits, first, size);  // text follows a pair
  if (last_is_time && !one_before_is_time) forbid_range(logits, 0, config.end_of_text);

  const auto last =
      std::find_if(generated.rbegin(), generated.rend(), [&](int32_t id) { return id >= first; });
  if (last != generated.rend()) {
    const bool closes = last_is_time && !one_before_is_time;
    forbid_range(logits, first, closes ? *last : *last + 1);
  }
  if (generated.empty()) {
    forbid_range(logits, 0, first);
    if (config.max_initial_timestamp >= 0) {
      forbid_range(logits, int64_t{first} + config.max_initial_timestamp + 1, size);
    }
  }
  if (first < size && timestamps_win(logits, static_cast<size_t>(first))) {
    forbid_range(logits, 0, first);
  }
}

}  // namespace

void apply_speech_rules(const SpeechDecoderConfig& config, bool timestamps,
                        std::span<const int32_t> generated, std::span<float> logits) {
  if (generated.empty()) forbid(logits, config.begin_suppress_tokens);
  forbid(logits, config.suppress_tokens);
  if (timestamps) apply_timestamp_rules(config, generated, logits);
}

SpeechCuts cut_speech(const SpeechDecoderConfig& config, std::span<const int32_t> tokens,
                      int64_t num_frames) {
  const int32_t first = config.first_timestamp();
  const auto size = static_cast<int64_t>(tokens.size());
  const auto at = [&](int64_t i) { return tokens[static_cast<size_t>(i)]; };
  const auto is_time = [&](int64_t i) { return i >= 0 && i < size && at(i) >= first; };
  const auto step = [&](int64_t i) { return std::max<int64_t>(at(i) - first, 0); };

  std::vector<int64_t> ends;  // a cut ends between the two timestamps of a pair
  for (int64_t i = 1; i < size; ++i) {
    if (is_time(i - 1) && is_time(i)) ends.push_back(i);
  }
  SpeechCuts out;
  if (ends.empty()) {
    SpeechCut whole{0, size, 0, num_frames / kFramesPerStep};
    for (int64_t i = size - 1; i >= 0; --i) {
      if (!is_time(i)) continue;
      if (step(i) > 0) whole.end_step = step(i);
      break;
    }
    out.cuts.push_back(whole);
    out.next_frame = num_frames;
    return out;
  }
  // A single timestamp at the end says that nothing is spoken after it.
  const bool complete = is_time(size - 1) && !is_time(size - 2);
  if (complete) ends.push_back(size);
  int64_t begin = 0;
  for (const int64_t end : ends) {
    out.cuts.push_back({begin, end, step(begin), step(end - 1)});
    begin = end;
  }
  if (!complete) ++out.cuts.back().end;  // keeps the timestamp that the next window starts at
  out.next_frame = complete ? num_frames : step(ends.back() - 1) * kFramesPerStep;
  if (out.next_frame <= 0) out.next_frame = num_frames;
  return out;
}

}  // namespace onnuri
