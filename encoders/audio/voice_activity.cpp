#include "encoders/audio/voice_activity.h"

#include <algorithm>
#include <cmath>

namespace onnuri {
namespace {

constexpr double kFrameS = 0.02;
constexpr double kAroundS = 15.0;  // on each side of the frame that is judged
constexpr double kStepS = 1.0;     // how often floor and peak are found anew
constexpr double kHumHz = 100.0;   // below: not voice

// Mean power of each frame in dB of full scale, behind a one-pole high-pass.
std::vector<double> frame_levels(std::span<const float> samples, int64_t frame,
                                 int64_t sample_rate_hz) {
  const double keep =
      std::exp(-2 * 3.14159265358979 * kHumHz / static_cast<double>(sample_rate_hz));
  std::vector<double> levels;
  levels.reserve(samples.size() / static_cast<size_t>(frame) + 1);
  double last = 0, high = 0, power = 0;
  int64_t count = 0;
  const auto flush = [&] {
    levels.push_back(10 * std::log10(power / static_cast<double>(count) + 1e-12));
    power = 0;
    count = 0;
  };
  for (const float sample : samples) {
    const auto x = static_cast<double>(sample);
    high = keep * (high + x - last);
    last = x;
    power += high * high;
    if (++count == frame) flush();
  }
  if (count > 0) flush();
  return levels;
}

std::vector<bool> voiced_frames(const std::vector<double>& levels,
                                const VoiceActivityConfig& config) {
  const auto step = static_cast<size_t>(kStepS / kFrameS);
  const auto around = static_cast<size_t>(kAroundS / kFrameS);
  std::vector<bool> voiced(levels.size());
  std::vector<double> near;
  for (size_t first = 0; first < levels.size(); first += step) {
    const size_t begin = first > around ? first - around : 0;
    const size_t end = std::min(levels.size(), first + step + around);
    near.assign(levels.begin() + static_cast<long>(begin), levels.begin() + static_cast<long>(end));
    const auto tenth = near.begin() + static_cast<long>(near.size() / 10);
    std::nth_element(near.begin(), tenth, near.end());
    const double floor = *tenth;
    const double peak = *std::max_element(near.begin(), near.end());
    const double threshold =
        std::max({floor + config.above_floor_db, peak - config.below_peak_db, config.quietest_db});
    for (size_t i = first; i < std::min(levels.size(), first + step); ++i)
      voiced[i] = levels[i] > threshold;
  }
  return voiced;
}

}  // namespace

std::vector<SampleRange> find_voice(std::span<const float> samples, int64_t sample_rate_hz,
                                    const VoiceActivityConfig& config) {
  const auto in_samples = [&](double s) {
    return static_cast<int64_t>(s * static_cast<double>(sample_rate_hz));
  };
  const auto size = static_cast<int64_t>(samples.size());
  const int64_t frame = std::max<int64_t>(1, in_samples(kFrameS));
  const std::vector<bool> voiced =
      voiced_frames(frame_levels(samples, frame, sample_rate_hz), config);

  // Bursts that lie a syllable apart are one.
  std::vector<SampleRange> bursts;
  for (size_t i = 0; i < voiced.size(); ++i) {
    if (!voiced[i]) continue;
    const int64_t begin = static_cast<int64_t>(i) * frame;
    if (bursts.empty() || begin - bursts.back().end > in_samples(config.margin_s))
      bursts.push_back({begin, begin});
    bursts.back().end = std::min(size, begin + frame);
  }
  std::vector<SampleRange> out;
  for (const SampleRange& burst : bursts) {
    if (burst.end - burst.begin < in_samples(config.min_voice_s)) continue;
    const int64_t margin = in_samples(config.margin_s);
    const SampleRange range = {std::max<int64_t>(0, burst.begin - margin),
                               std::min(size, burst.end + margin)};
    const bool joined =
        !out.empty() && burst.begin - (out.back().end - margin) < in_samples(config.min_silence_s);
    if (joined)
      out.back().end = range.end;
    else
      out.push_back(range);
  }
  // Margins never overlap, whatever the settings.
  for (size_t i = 1; i < out.size(); ++i) out[i].begin = std::max(out[i].begin, out[i - 1].end);
  return out;
}

}  // namespace onnuri
