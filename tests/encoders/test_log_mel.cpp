// The front end against transformers (goldens by make_audio_goldens.py) and against its own sums.
#include <gtest/gtest.h>

#include <cmath>
#include <complex>
#include <fstream>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "encoders/audio/log_mel.h"
#include "onnuri/error.h"
#include "tests/encoders/signal.h"
#include "tests/support/worst.h"

namespace onnuri {
namespace {

constexpr float kTolerance = 1e-4f;

/// One line of the goldens: a column of the reference's spectrogram, or the mean of all of them.
struct Column {
  int64_t length = 0;  // negative: not padded to 30 s
  int64_t num_mels = 0, num_frames = 0;
  int64_t frame = 0;  // -1: the mean
  std::vector<float> values;
};

std::vector<Column> read_columns(const std::string& path) {
  std::ifstream file(path);
  std::vector<Column> out;
  for (std::string line; std::getline(file, line);) {
    std::istringstream in(line);
    Column c;
    in >> c.length >> c.num_mels >> c.num_frames >> c.frame;
    for (float x; in >> x;) c.values.push_back(x);
    out.push_back(std::move(c));
  }
  return out;
}

std::vector<float> mean_of(const std::vector<float>& all, int64_t num_mels) {
  std::vector<double> sums(static_cast<size_t>(num_mels));
  for (size_t i = 0; i < all.size(); ++i) sums[i % sums.size()] += static_cast<double>(all[i]);
  std::vector<float> out;
  const double frames = static_cast<double>(all.size() / sums.size());
  for (const double sum : sums) out.push_back(static_cast<float>(sum / frames));
  return out;
}

TEST(LogMel, AgreesWithTheReference) {
  const std::vector<Column> columns =
      read_columns(std::string(ONNURI_TEST_DATA) + "/golden/speech/log_mel.txt");
  EXPECT_GT(columns.size(), 200u);
  ThreadPool pool(2);
  const std::vector<float> samples = golden_signal(95 * 16000);
  std::vector<float> all;
  double worst = 0;
  std::pair<int64_t, int64_t> last{};
  for (const Column& c : columns) {
    SCOPED_TRACE("length " + std::to_string(c.length) + ", " + std::to_string(c.num_mels) +
                 " mels, frame " + std::to_string(c.frame));
    ASSERT_EQ(c.values.size(), static_cast<size_t>(c.num_mels));
    if (last != std::pair{c.length, c.num_mels}) {
      LogMelConfig config;
      config.num_mels = c.num_mels;
      if (c.length < 0) config.padded_samples = 0;
      const auto length = static_cast<size_t>(std::abs(c.length));
      all = LogMel(config).compute(pool, std::span(samples).first(length));
      last = {c.length, c.num_mels};
    }
    ASSERT_EQ(all.size(), static_cast<size_t>(c.num_frames * c.num_mels));
    const std::vector<float> means = mean_of(all, c.num_mels);
    const float* found = c.frame < 0 ? means.data() : all.data() + c.frame * c.num_mels;
    for (size_t m = 0; m < c.values.size(); ++m) {
      worst = larger(worst, std::abs(found[m] - c.values[m]));
      ASSERT_NEAR(found[m], c.values[m], kTolerance) << "mel " << m;
    }
  }
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
