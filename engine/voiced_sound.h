// A recording without the stretches in which nobody speaks, and the way back to its own times.
#pragma once

#include <vector>

#include "encoders/audio/voice_activity.h"
#include "onnuri/engine.h"

namespace onnuri {

class VoicedSound {
 public:
  explicit VoicedSound(const Waveform& audio);

  bool empty() const { return ranges_.empty(); }
  const Waveform& sound() const { return sound_; }  // the voiced ranges, end to end

  /// Segment times of the shortened sound become those of the recording. A start on a seam belongs
  /// to what comes after it, an end to what came before.
  void restore_times(Transcript& transcript) const;

 private:
  double restored(double time_s, bool is_start) const;

  double length_s_ = 0;  // of the recording
  std::vector<SampleRange> ranges_;
  Waveform sound_;
};

}  // namespace onnuri
