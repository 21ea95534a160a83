#include "engine/voiced_sound.h"

#include <algorithm>

namespace onnuri {
namespace {

// Around a seam lie margins in which nobody speaks, and the model rounds its times: what ends or
// begins this near belongs to the other side.
constexpr double kSlackS = 0.8;

}  // namespace

VoicedSound::VoicedSound(const Waveform& audio)
    : length_s_(static_cast<double>(audio.samples.size()) /
                static_cast<double>(audio.sample_rate_hz)),
      ranges_(find_voice(audio.samples, audio.sample_rate_hz)) {
  sound_.sample_rate_hz = audio.sample_rate_hz;
  for (const SampleRange& range : ranges_)
    sound_.samples.insert(sound_.samples.end(), audio.samples.begin() + range.begin,
                          audio.samples.begin() + range.end);
}

double VoicedSound::restored(double time_s, bool is_start) const {
  const auto rate = static_cast<double>(sound_.sample_rate_hz);
  const double at = time_s * rate;
  const double judged = at + (is_start ? kSlackS : -kSlackS) * rate;
  double passed = 0;  // samples of the shortened sound
  for (const SampleRange& range : ranges_) {
    const auto length = static_cast<double>(range.end - range.begin);
    const bool last = &range == &ranges_.back();
    if (last || (is_start ? judged < passed + length : judged <= passed + length))
      return (static_cast<double>(range.begin) + std::clamp(at - passed, 0.0, length)) / rate;
    passed += length;
  }
  return time_s;
}

void VoicedSound::restore_times(Transcript& transcript) const {
  for (TranscriptSegment& segment : transcript.segments) {
    segment.start_s = restored(segment.start_s, true);
    segment.end_s = std::max(segment.start_s, restored(segment.end_s, false));
  }
  transcript.audio_s = length_s_;
}

}  // namespace onnuri
