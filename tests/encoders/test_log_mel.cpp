// The front end against transformers (goldens by make_audio_goldens.py) and against its own sums.
#include <gtest/gtest.h>

#include <cmath>
#include <complex>
#include <fstream>
#include <map>
#include <sstream>

#include "encoders/audio/log_mel.h"
#include "onnuri/error.h"
#include "tests/encoders/signal.h"
#include "tests/support/worst.h"

namespace onnuri {
namespace {

constexpr float kTolerance = 1e-4f;

TEST(LogMel, AgreesWithTheReference) {
  std::ifstream file(std::string(ONNURI_TEST_DATA) + "/golden/speech/log_mel.txt");
  ASSERT_TRUE(file.good());
  ThreadPool pool(2);
  std::map<std::pair<int64_t, int64_t>, std::vector<float>> computed;
  double worst = 0;
  int num_lines = 0;
  for (std::string line; std::getline(file, line); ++num_lines) {
    std::istringstream in(line);
    int64_t length = 0, mels = 0, frame = 0;
    in >> length >> mels >> frame;
    LogMelConfig config;
    config.num_mels = mels;
    if (length < 0) config.padded_samples = 0;  // a negative length means: not padded
    auto& all = computed[{length, mels}];
    if (all.empty()) all = LogMel(config).compute(pool, golden_signal(std::abs(length)));
    ASSERT_LE(static_cast<size_t>((frame + 1) * mels), all.size()) << line.substr(0, 20);
    for (int64_t m = 0; m < mels; ++m) {
      float expected = 0;
      in >> expected;
      const float found = all[static_cast<size_t>(frame * mels + m)];
      worst = larger(worst, std::abs(found - expected));
      ASSERT_NEAR(found, expected, kTolerance)
          << "length " << length << " frame " << frame << " mel " << m;
    }
    ASSERT_TRUE(in);
  }
  EXPECT_GT(num_lines, 80);
  RecordProperty("worst", std::to_string(worst));
}

TEST(LogMel, FramesOfAWindowEqualThoseOfTheWhole) {
  ThreadPool pool(2);
  const LogMel mel{LogMelConfig{}};
  const auto samples = golden_signal(40000);
  const PaddedSignal signal{samples, 48000};
  std::vector<float> all(300 * 80), part(37 * 80);
  mel.log_frames(pool, signal, 0, matrix(all.data(), 300, 80));
  mel.log_frames(pool, signal, 101, matrix(part.data(), 37, 80));
  EXPECT_TRUE(std::equal(part.begin(), part.end(), all.begin() + 101 * 80));
}

TEST(LogMel, SilenceIsTheFloor) {
  ThreadPool pool(1);
  const std::vector<float> silence(16000, 0.0f);
  for (const float x : LogMel(LogMelConfig{}).compute(pool, silence)) ASSERT_FLOAT_EQ(x, -1.5f);
}

TEST(LogMel, RefusesSizesThatCannotBe) {
  LogMelConfig config;
  config.n_fft = 0;
  EXPECT_THROW(LogMel{config}, Error);
  config.n_fft = 2 * 7;  // no radix for seven
  EXPECT_THROW(LogMel{config}, Error);
}

TEST(RealFft, EqualsTheSum) {
  constexpr int kLanes = RealFft::kLanes;
  for (const int64_t size : {2, 4, 6, 10, 12, 30, 48, 50, 120, 400, 512, 1200}) {
    const RealFft fft(size);
    std::vector<float> frames(static_cast<size_t>(size * kLanes));
    const auto noise = golden_signal(size * kLanes);
    std::copy(noise.begin(), noise.end(), frames.begin());
    std::vector<float> work(static_cast<size_t>(fft.workspace_size()));
    std::vector<float> power(static_cast<size_t>(fft.num_bins() * kLanes));
    fft.power(frames.data(), work.data(), power.data());
    for (int64_t k = 0; k < fft.num_bins(); ++k) {
      for (int l = 0; l < kLanes; ++l) {
        std::complex<double> sum = 0;
        for (int64_t i = 0; i < size; ++i) {
          const double angle = -2 * M_PI * static_cast<double>(i * k) / static_cast<double>(size);
          sum += static_cast<double>(frames[static_cast<size_t>(i * kLanes + l)]) *
                 std::polar(1.0, angle);
        }
        const double expected = std::norm(sum);
        ASSERT_NEAR(power[static_cast<size_t>(k * kLanes + l)], expected,
                    1e-5 * (static_cast<double>(size) + expected))
            << "size " << size << " bin " << k;
      }
    }
  }
}

TEST(MelFilters, HaveUnitAreaAndCoverTheBand) {
  const auto filters = make_mel_filters(80, 201, 16000);
  size_t nonzeros = 0;
  for (const MelFilter& f : filters) nonzeros += f.weights.size();
  EXPECT_EQ(filters.size(), 80u);
  EXPECT_EQ(nonzeros, 391u);
}

}  // namespace
}  // namespace onnuri
