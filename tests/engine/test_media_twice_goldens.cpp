// Tiny checkpoints with eyes and ears whose sounds are cut into windows: from pixels and samples to
// logits, against the reference. Data and recipe: tests/golden/make_omni_goldens.py.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "core/checkpoint.h"
#include "onnuri/engine.h"
#include "onnuri/error.h"
#include "tests/encoders/signal.h"
#include "tests/support/noise_image.h"

namespace onnuri {
namespace {

double deviation(const TensorView& x) {
  double sum = 0, squares = 0;
  for (int64_t i = 0; i < x.num_elements(); ++i) {
    const auto value = static_cast<double>(x.as<float>()[i]);
    sum += value;
    squares += value * value;
  }
  const auto count = static_cast<double>(x.num_elements());
  return std::sqrt(squares / count - sum / count * (sum / count));
}

double largest_error(const FloatMatrix& found, const TensorView& expected) {
  double worst = 0;
  for (int64_t i = 0; i < expected.num_elements(); ++i) {
    const double error = std::abs(static_cast<double>(found.values[static_cast<size_t>(i)]) -
                                  static_cast<double>(expected.as<float>()[i]));
    worst = std::isnan(error) ? INFINITY : std::max(worst, error);
  }
  return worst / deviation(expected);
}

class MediaTwice : public ::testing::TestWithParam<const char*> {
 protected:
  MediaTwice()
      : folder_(std::string(ONNURI_TEST_DATA) + "/golden/omni/" + GetParam()),
        golden_(Checkpoint::open(folder_ + "/golden.safetensors")) {
    const std::vector<int32_t> sizes = ints("sizes");  // height, width
    for (size_t k = 0; k < sizes.size() / 2; ++k)
      images_.push_back(
          noise_image(sizes[2 * k], sizes[2 * k + 1], static_cast<uint32_t>(1000 + k)));
    for (const int32_t length : ints("lengths")) sounds_.push_back({16000, golden_signal(length)});
    ids_ = ints("input_ids");
  }

  std::vector<int32_t> ints(const std::string& name) const {
    const TensorView view = golden_->find(name);
    return {view.as<int32_t>(), view.as<int32_t>() + view.num_elements()};
  }

  std::unique_ptr<Engine> load(const std::string& isa = "", int64_t prefill_chunk = 512) const {
    EngineOptions options;
    options.compute_dtype = "float32";
    options.num_threads = 2;
    options.context_size = 1024;
    options.isa = isa;
    options.prefill_chunk = prefill_chunk;
    return Engine::load(folder_, options);
  }

  void expect_logits(const FloatMatrix& found) const {
    const TensorView expected = golden_->find("logits");
    ASSERT_EQ((Shape{found.rows, found.cols}), expected.shape);
    const double error = largest_error(found, expected);
    RecordProperty("logits_error_in_deviations", std::to_string(error));
    EXPECT_LE(error, 2e-3);
    const std::vector<int32_t> best = ints("best");
    for (int64_t r = 0; r < found.rows; ++r) {
      const float* row = found.values.data() + r * found.cols;
      ASSERT_EQ(std::max_element(row, row + found.cols) - row, best[static_cast<size_t>(r)])
          << "row " << r;
    }
  }

  std::string folder_;
  std::shared_ptr<const Checkpoint> golden_;
  std::vector<Image> images_;
  std::vector<Waveform> sounds_;
  std::vector<int32_t> ids_;
};

TEST_P(MediaTwice, FeaturesAgree) {
  const auto engine = load("ref");
  const auto expect = [&](const FloatMatrix& found, const std::string& name) {
    const TensorView expected = golden_->find(name);
    ASSERT_EQ((Shape{found.rows, found.cols}), expected.shape) << name;
    EXPECT_LE(largest_error(found, expected), 2e-4) << name;
  };
  for (size_t k = 0; k < images_.size(); ++k)
    expect(engine->encode_image(images_[k]), "image_" + std::to_string(k));
  for (size_t k = 0; k < 2; ++k)  // the third is a single row
    expect(engine->encode_audio(sounds_[k]), "sound_" + std::to_string(k));
}

TEST_P(MediaTwice, LogitsAgree) { expect_logits(load("ref")->logits(ids_, images_, sounds_)); }

TEST_P(MediaTwice, LogitsAgreeOnTheFastestKernels) {
  const auto engine = load("", 20);  // chunks end inside media
  expect_logits(engine->logits(ids_, images_, sounds_));
}

TEST_P(MediaTwice, GreedyTokensAgree) {
  GenerateRequest request;
  request.input_ids = ids_;
  request.images = images_;
  request.audios = sounds_;
  request.max_new_tokens = static_cast<int64_t>(ints("generated").size());
  request.ignore_eos = true;
  EXPECT_EQ(load()->generate(request, {}).token_ids, ints("generated"));
}

TEST_P(MediaTwice, RefusesMediaThatDoNotFitThePrompt) {
  const auto engine = load();
  const std::vector<Image> one(images_.begin(), images_.begin() + 1);
  std::vector<Waveform> shorter = sounds_;
  shorter[1].samples.resize(160000);
  EXPECT_THROW(engine->logits(ids_, one, sounds_), Error);
  EXPECT_THROW(engine->logits(ids_, images_, shorter), Error);
  expect_logits(engine->logits(ids_, images_, sounds_));  // still usable
}

// The tail of one frame becomes no row; rows of windows are those of the windows alone.
TEST_P(MediaTwice, WindowsKnowNothingOfEachOther) {
  const auto engine = load();
  Waveform first{16000, golden_signal(160000)}, second{16000, golden_signal(4000)};
  Waveform both = first;
  both.samples.insert(both.samples.end(), second.samples.begin(), second.samples.end());
  const FloatMatrix a = engine->encode_audio(first), b = engine->encode_audio(second);
  std::vector<float> joined = a.values;
  joined.insert(joined.end(), b.values.begin(), b.values.end());
  EXPECT_EQ(engine->encode_audio(both).values, joined);
  first.samples.push_back(0.5f);
  EXPECT_EQ(engine->encode_audio(first).values, a.values);
}

INSTANTIATE_TEST_SUITE_P(Families, MediaTwice, ::testing::Values("omni"));

}  // namespace
}  // namespace onnuri
