#include <gtest/gtest.h>

#include <cmath>

#include "engine/voiced_sound.h"

namespace onnuri {
namespace {

Waveform recording() {  // silence, 4 s of swinging noise, silence, 4 s, silence
  Waveform wave;
  uint32_t state = 7;
  for (int part = 0; part < 5; ++part) {
    const int count = (part % 2 == 0 ? 10 : 4) * 16000;
    for (int i = 0; i < count; ++i) {
      state = state * 1664525u + 1013904223u;
      const double swing = 0.5 - 0.5 * std::cos(2 * M_PI * 4 * i / 16000);
      const float noise = static_cast<float>(static_cast<int32_t>(state)) * 0x1p-31f;
      wave.samples.push_back(part % 2 == 0 ? 0 : static_cast<float>(swing) * noise);
    }
  }
  return wave;
}

TEST(VoicedSound, GivesTimesOfTheRecordingBack) {
  const VoicedSound voiced(recording());
  const double length = static_cast<double>(voiced.sound().samples.size()) / 16000;
  EXPECT_NEAR(length, 9.6, 0.3);  // 4 s and margins, twice
  Transcript transcript;
  const double seam = length / 2;
  for (const auto& [start, end] :
       {std::pair(0.0, seam), std::pair(seam, length), std::pair(1.0, 2.0),
        std::pair(seam - 1, seam + 1), std::pair(length, length + 5),
        std::pair(seam - 0.2, seam + 2), std::pair(0.0, seam + 0.3)}) {
    TranscriptSegment segment;
    segment.start_s = start;
    segment.end_s = end;
    transcript.segments.push_back(segment);
  }
  voiced.restore_times(transcript);
  EXPECT_DOUBLE_EQ(transcript.audio_s, 38);
  const std::vector<std::pair<double, double>> wanted = {
      {9.6, 14.4}, {23.6, 28.4}, {10.6, 11.6}, {13.4, 24.6}, {28.4, 28.4}, {23.6, 25.6}, {9.6, 14.4}};
  for (size_t i = 0; i < wanted.size(); ++i) {
    EXPECT_NEAR(transcript.segments[i].start_s, wanted[i].first, 0.15) << i;
    EXPECT_NEAR(transcript.segments[i].end_s, wanted[i].second, 0.15) << i;
    EXPECT_GE(transcript.segments[i].end_s, transcript.segments[i].start_s);
  }
}

TEST(VoicedSound, MayBeEmpty) {
  Waveform silence;
  silence.samples.assign(16000, 0.0f);
  const VoicedSound voiced(silence);
  EXPECT_TRUE(voiced.empty());
  Transcript transcript;
  voiced.restore_times(transcript);
  EXPECT_DOUBLE_EQ(transcript.audio_s, 1);
}

}  // namespace
}  // namespace onnuri
