// Tiny checkpoints whose encoders see tiles of one size: from picture bytes to logits, against the
// reference. Data and recipe: tests/golden/make_tile_goldens.py.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "core/checkpoint.h"
#include "onnuri/engine.h"
#include "onnuri/error.h"
#include "tests/support/golden_error.h"
#include "tests/support/noise_image.h"

namespace onnuri {
namespace {

class TileGolden : public ::testing::TestWithParam<const char*> {
 protected:
  TileGolden()
      : folder_(std::string(ONNURI_TEST_DATA) + "/golden/vision/" + GetParam()),
        golden_(Checkpoint::open(folder_ + "/golden.safetensors")),
        images_{noise_image(300, 181, 1000), noise_image(61, 100, 1001)} {
    const TensorView ids = golden_->find("input_ids");
    ids_.assign(ids.as<int32_t>(), ids.as<int32_t>() + ids.num_elements());
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

  void expect_logits(const FloatMatrix& found, const char* name = "logits") const {
    const TensorView expected = golden_->find(name);
    ASSERT_EQ((Shape{found.rows, found.cols}), expected.shape);
    const double error = largest_error(found, expected) / deviation(expected);
    RecordProperty("logits_error_in_deviations", std::to_string(error));
    EXPECT_LE(error, 2e-3);
    for (int64_t r = 0; r < found.rows; ++r) {
      const float* a = found.values.data() + r * found.cols;
      const float* b = expected.as<float>() + r * found.cols;
      ASSERT_EQ(std::max_element(a, a + found.cols) - a, std::max_element(b, b + found.cols) - b)
          << "row " << r;
    }
  }

  std::string folder_;
  std::shared_ptr<const Checkpoint> golden_;
  std::vector<Image> images_;
  std::vector<int32_t> ids_;
};

TEST_P(TileGolden, FeaturesAgree) {
  const auto engine = load("ref");
  for (size_t k = 0; k < images_.size(); ++k) {
    const FloatMatrix found = engine->encode_image(images_[k]);
    const TensorView expected = golden_->find("features_" + std::to_string(k));
    ASSERT_EQ((Shape{found.rows, found.cols}), expected.shape);
    const double error = largest_error(found, expected) / deviation(expected);
    RecordProperty("features_error_in_deviations", std::to_string(error));
    EXPECT_LE(error, 2e-4) << "picture " << k;
  }
}

TEST_P(TileGolden, LogitsAgree) { expect_logits(load("ref")->logits(ids_, images_, {})); }

TEST_P(TileGolden, LogitsAgreeOnTheFastestKernels) {
  expect_logits(load()->logits(ids_, images_, {}));
}

TEST_P(TileGolden, ChunksDoNotChangeLogits) {
  const FloatMatrix whole = load()->logits(ids_, images_, {});
  for (const int64_t chunk : {1, 7, 20}) {  // inside pictures, and across two
    const FloatMatrix cut = load("", chunk)->logits(ids_, images_, {});
    EXPECT_EQ(cut.values, whole.values) << "prefill chunks of " << chunk;
  }
}

TEST_P(TileGolden, GreedyTokensAgree) {
  const TensorView expected = golden_->find("generated");
  const std::vector<int32_t> tokens(expected.as<int32_t>(),
                                    expected.as<int32_t>() + expected.num_elements());
  for (const int64_t chunk : {512, 7}) {
    const auto engine = load("", chunk);
    GenerateRequest request;
    request.input_ids = ids_;
    request.images = images_;
    request.max_new_tokens = expected.num_elements();
    request.ignore_eos = true;
    const GenerateResult result = engine->generate(request, {});
    EXPECT_EQ(result.token_ids, tokens) << "prefill chunks of " << chunk;
  }
}

// Where the reference cuts only the picture that is the only one of its prompt.
TEST_P(TileGolden, PicturesAmongOthersAgree) {
  const TensorView ids = golden_->find("among_ids");
  if (ids.empty()) GTEST_SKIP() << "every picture is seen alike";
  const std::vector<int32_t> among(ids.as<int32_t>(), ids.as<int32_t>() + ids.num_elements());
  const auto engine = load();
  for (int round = 0; round < 2; ++round) {  // the second from the cache of encoded pictures
    expect_logits(engine->logits(among, images_, {}), "among_logits");
    expect_logits(engine->logits(ids_, images_, {}));
  }
  const std::vector<Image> one(images_.begin(), images_.begin() + 1);
  EXPECT_THROW(engine->logits(among, one, {}), Error);
}

// Frames of a video as tiles of half the sides, in front of a picture.
TEST_P(TileGolden, VideosAgree) {
  const TensorView ids = golden_->find("video_ids");
  if (ids.empty()) GTEST_SKIP() << "pictures only";
  const std::vector<int32_t> seen(ids.as<int32_t>(), ids.as<int32_t>() + ids.num_elements());
  Video video{3, 61, 100, {}, 0, {}};
  for (uint32_t k = 0; k < 3; ++k) {
    const Image frame = noise_image(61, 100, 2000 + k);
    video.rgb.insert(video.rgb.end(), frame.rgb.begin(), frame.rgb.end());
  }
  const std::vector<Image> one(images_.begin() + 1, images_.end());
  for (const char* isa : {"ref", ""}) {
    const auto engine = load(isa);
    for (int round = 0; round < 2; ++round)  // the second from the cache of encoded frames
      expect_logits(engine->logits(seen, one, {}, std::vector<Video>{video}), "video_logits");
    video.rgb.pop_back();
    EXPECT_THROW(engine->logits(seen, one, {}, std::vector<Video>{video}), Error);
    video.rgb.push_back(0);
    video.rgb.back() = noise_image(61, 100, 2002).rgb.back();
  }
}

TEST_P(TileGolden, RefusesPicturesThatDoNotFitThePrompt) {
  const auto engine = load();
  const std::vector<Image> one(images_.begin(), images_.begin() + 1);
  EXPECT_THROW(engine->logits(ids_, one, {}), Error);
  EXPECT_THROW(engine->encode_image(Image{}), Error);
  EXPECT_THROW(engine->encode_image(noise_image(1, 300, 5)), Error);  // over 200 : 1
  EXPECT_THROW(engine->encode_image(Image{20, 20, std::vector<uint8_t>(7)}), Error);
  EXPECT_NO_THROW(engine->encode_image(noise_image(1, 1, 5)));
  EXPECT_NO_THROW(engine->encode_image(noise_image(1, 200, 5)));
  EXPECT_NO_THROW(engine->encode_image(noise_image(199, 1, 5)));
  expect_logits(engine->logits(ids_, images_, {}));  // still usable
}

INSTANTIATE_TEST_SUITE_P(Families, TileGolden,
                         ::testing::Values("gemma3_vision", "gemma3_crops", "llava", "llava_next",
                                           "llava_onevision", "idefics3", "smolvlm"));

}  // namespace
}  // namespace onnuri
