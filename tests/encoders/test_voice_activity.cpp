#include <gtest/gtest.h>

#include <cmath>

#include "encoders/audio/voice_activity.h"

namespace onnuri {
namespace {

constexpr int64_t kRate = 16000;

class Recording {
 public:
  // Noise whose loudness swings as syllables do.
  Recording& speech(double seconds, float level) {
    return add(seconds, [&](double t) {
      const auto swing = static_cast<float>(0.5 - 0.5 * std::cos(2 * M_PI * 4 * t));
      return level * swing * swing * noise();
    });
  }
  Recording& hiss(double seconds, float level) {
    return add(seconds, [&](double) { return level * noise(); });
  }
  Recording& hum(double seconds, float level) {
    return add(seconds,
               [&](double t) { return level * static_cast<float>(std::sin(2 * M_PI * 50 * t)); });
  }
  Recording& over_all(float level) {
    for (float& x : samples) x += level * noise();
    return *this;
  }
  std::vector<float> samples;

 private:
  template <typename F>
  Recording& add(double seconds, const F& sample) {
    const auto count = static_cast<int64_t>(seconds * kRate);
    for (int64_t i = 0; i < count; ++i) samples.push_back(sample(static_cast<double>(i) / kRate));
    return *this;
  }
  float noise() {
    state_ = state_ * 1664525u + 1013904223u;
    return static_cast<float>(static_cast<int32_t>(state_)) * 0x1p-31f;
  }
  uint32_t state_ = 1;
};

std::vector<std::pair<double, double>> seconds(const std::vector<SampleRange>& ranges) {
  std::vector<std::pair<double, double>> out;
  for (const SampleRange& r : ranges)
    out.emplace_back(static_cast<double>(r.begin) / kRate, static_cast<double>(r.end) / kRate);
  return out;
}

void expect_near(const std::vector<SampleRange>& found,
                 const std::vector<std::pair<double, double>>& wanted) {
  const auto got = seconds(found);
  ASSERT_EQ(got.size(), wanted.size());
  for (size_t i = 0; i < wanted.size(); ++i) {
    EXPECT_NEAR(got[i].first, wanted[i].first, 0.15) << i;
    EXPECT_NEAR(got[i].second, wanted[i].second, 0.15) << i;
  }
}

TEST(VoiceActivity, KeepsSpeechWithMarginsAndDropsLongSilence) {
  Recording r;
  r.hiss(5, 0).speech(4, 0.3f).hiss(8, 0).speech(3, 0.3f).hiss(6, 0);
  expect_near(find_voice(r.samples, kRate), {{4.6, 9.4}, {16.6, 20.4}});
}

TEST(VoiceActivity, HearsSpeechOverNoiseAndHum) {
  Recording r;
  r.hiss(6, 0).speech(5, 0.3f).hiss(6, 0).over_all(0.003f);
  for (size_t i = 0; i < r.samples.size(); ++i)
    r.samples[i] +=
        0.02f * static_cast<float>(std::sin(2 * M_PI * 50 * static_cast<double>(i) / kRate));
  expect_near(find_voice(r.samples, kRate), {{5.6, 11.4}});
}

TEST(VoiceActivity, KeepsShortPauses) {
  Recording r;
  r.speech(3, 0.3f).hiss(1.5, 0).speech(3, 0.3f);
  expect_near(find_voice(r.samples, kRate), {{0, 7.5}});
}

TEST(VoiceActivity, FindsNobodyInSilenceHissHumAndClicks) {
  EXPECT_TRUE(find_voice({}, kRate).empty());
  EXPECT_TRUE(find_voice(Recording().hiss(20, 0).samples, kRate).empty());
  EXPECT_TRUE(find_voice(Recording().hiss(20, 0.1f).samples, kRate).empty());
  EXPECT_TRUE(find_voice(Recording().hum(20, 0.5f).samples, kRate).empty());
  Recording clicks;
  clicks.hiss(10, 0.001f);
  for (size_t at = 16000; at < clicks.samples.size(); at += 48000) clicks.samples[at] = 1;
  EXPECT_TRUE(find_voice(clicks.samples, kRate).empty());
}

// A quiet speaker half an hour after a loud one is judged by the sound around.
TEST(VoiceActivity, FollowsTheLoudnessAround) {
  Recording r;
  r.speech(5, 0.9f).hiss(60, 0).speech(5, 0.01f).hiss(5, 0);
  expect_near(find_voice(r.samples, kRate), {{0, 5.4}, {64.6, 70.4}});
}

TEST(VoiceActivity, RangesLieInOrderInside) {
  Recording r;
  for (int i = 0; i < 12; ++i) r.speech(0.5 + 0.1 * i, 0.2f).hiss(0.4 * i, 0.0005f);
  VoiceActivityConfig config;
  config.min_silence_s = 0;
  config.margin_s = 1;
  int64_t last = 0;
  for (const SampleRange& range : find_voice(r.samples, kRate, config)) {
    EXPECT_GE(range.begin, last);
    EXPECT_GT(range.end, range.begin);
    last = range.end;
  }
  EXPECT_LE(last, static_cast<int64_t>(r.samples.size()));
  EXPECT_GT(last, 0);
}

}  // namespace
}  // namespace onnuri
