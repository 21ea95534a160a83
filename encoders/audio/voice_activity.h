// Where in a recording somebody may be speaking, from loudness alone.
//
// Frames of 20 ms count as voice when they rise above the noise around them: 9 dB above the
// quietest tenth of the 30 s at hand, and no more than 45 dB below the loudest. Speech has pauses,
// so its floor is the room; steady noise is its own floor. A plain detector in the manner of
// energy-based ones (Rabiner and Sambur 1975): it drops silence, hum and hiss, not music.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace onnuri {

struct SampleRange {
  int64_t begin = 0;
  int64_t end = 0;
};

struct VoiceActivityConfig {
  double above_floor_db = 9;
  double below_peak_db = 45;
  double quietest_db = -60;    // below full scale: never voice
  double min_voice_s = 0.12;   // shorter bursts are clicks
  double min_silence_s = 2.0;  // shorter pauses stay
  double margin_s = 0.4;       // kept on both sides
};

/// Ranges in order, apart from one another. Empty where nobody speaks.
std::vector<SampleRange> find_voice(std::span<const float> samples, int64_t sample_rate_hz,
                                    const VoiceActivityConfig& config = {});

}  // namespace onnuri
