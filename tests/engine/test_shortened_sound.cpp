// A video whose sound has placeholders of its own and is shortened before the decoder reads it.
// Data and recipe: tests/golden/make_omni_goldens.py.
#include <gtest/gtest.h>

#include <algorithm>

#include "core/checkpoint.h"
#include "onnuri/engine.h"
#include "onnuri/error.h"
#include "tests/encoders/signal.h"
#include "tests/support/golden_error.h"
#include "tests/support/noise_image.h"

namespace onnuri {
namespace {

constexpr int32_t kVideoSound = 156;
constexpr int64_t kVideoSamples = 160'000 + 9000;

class ShortenedSound : public ::testing::Test {
 protected:
  ShortenedSound()
      : folder_(std::string(ONNURI_TEST_DATA) + "/golden/omni/omni_heard"),
        golden_(Checkpoint::open(folder_ + "/golden.safetensors")) {
    const std::vector<int32_t> sizes = ints("sizes");  // height, width
    for (size_t k = 0; k < sizes.size() / 2; ++k)
      images_.push_back(
          noise_image(sizes[2 * k], sizes[2 * k + 1], static_cast<uint32_t>(1000 + k)));
    for (const int32_t length : ints("lengths")) sounds_.push_back({16000, golden_signal(length)});
    Video video{5, 61, 100, {}, 2.0, {}};
    for (uint32_t k = 0; k < 5; ++k) {
      const Image frame = noise_image(61, 100, 2000 + k);
      video.rgb.insert(video.rgb.end(), frame.rgb.begin(), frame.rgb.end());
    }
    video.sound.samples = golden_signal(kVideoSamples);
    videos_.push_back(video);
    ids_ = ints("input_ids");
  }

  std::vector<int32_t> ints(const std::string& name) const {
    const TensorView view = golden_->find(name);
    return {view.as<int32_t>(), view.as<int32_t>() + view.num_elements()};
  }

  std::unique_ptr<Engine> load(const std::string& isa, int64_t prefill_chunk) const {
    EngineOptions options;
    options.compute_dtype = "float32";
    options.num_threads = 2;
    options.context_size = 1024;
    options.isa = isa;
    options.prefill_chunk = prefill_chunk;
    return Engine::load(folder_, options);
  }

  std::string folder_;
  std::shared_ptr<const Checkpoint> golden_;
  std::vector<Image> images_;
  std::vector<Waveform> sounds_;
  std::vector<Video> videos_;
  std::vector<int32_t> ids_;
};

TEST_F(ShortenedSound, LogitsAgree) {
  const TensorView expected = golden_->find("logits");
  const std::vector<int32_t> columns = ints("columns"), best = ints("best");
  for (const auto& [isa, chunk] : {std::pair("ref", 512), std::pair("", 512), std::pair("", 37)}) {
    SCOPED_TRACE(std::string(isa) + " " + std::to_string(chunk));
    const FloatMatrix found = load(isa, chunk)->logits(ids_, images_, sounds_, videos_);
    FloatMatrix some{found.rows, static_cast<int64_t>(columns.size()), {}};
    for (int64_t r = 0; r < found.rows; ++r) {
      const float* row = found.values.data() + r * found.cols;
      for (const int32_t c : columns) some.values.push_back(row[c]);
      ASSERT_EQ(std::max_element(row, row + found.cols) - row, best[static_cast<size_t>(r)])
          << "row " << r;
    }
    ASSERT_EQ((Shape{some.rows, some.cols}), expected.shape);
    EXPECT_LE(largest_error(some, expected), 2e-3 * deviation(expected));
  }
}

TEST_F(ShortenedSound, GreedyTokensAgree) {
  GenerateRequest request;
  request.input_ids = ids_;
  request.images = images_;
  request.audios = sounds_;
  request.videos = videos_;
  request.ignore_eos = true;
  request.max_new_tokens = golden_->find("generated").num_elements();
  const auto engine = load("", 64);
  const GenerateResult first = engine->generate(request, {});
  EXPECT_EQ(first.token_ids, ints("generated"));
  EXPECT_EQ(first.usage.encoder_passes, 7);  // 2 pictures, 3 sounds, what is seen and heard
  const GenerateResult second = engine->generate(request, {});
  EXPECT_EQ(second.token_ids, first.token_ids);
  EXPECT_EQ(second.usage.encoder_chunks, 0);
  EXPECT_EQ(second.usage.encoder_reused, 7);
}

TEST_F(ShortenedSound, RefusesAnotherNumberOfPlaceholders) {
  const auto engine = load("", 512);
  std::vector<int32_t> fewer = ids_;
  *std::find(fewer.begin(), fewer.end(), kVideoSound) = 9;
  EXPECT_THROW(engine->logits(fewer, images_, sounds_, videos_), Error);
  std::vector<Video> silent = videos_;
  silent[0].sound.samples.clear();
  EXPECT_THROW(engine->logits(ids_, images_, sounds_, silent), Error);
  // Without the sound the pictures stand alone.
  std::vector<int32_t> seen = ids_;
  std::erase(seen, kVideoSound);
  EXPECT_EQ(engine->logits(seen, images_, sounds_, silent).rows, static_cast<int64_t>(seen.size()));
  EXPECT_THROW(engine->logits(seen, images_, sounds_, videos_), Error);
}

}  // namespace
}  // namespace onnuri
