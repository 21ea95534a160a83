// Tiny vision-language checkpoints from picture bytes to logits, against the reference.
// Data and recipe: tests/golden/make_vision_goldens.py.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "core/checkpoint.h"
#include "onnuri/engine.h"
#include "onnuri/error.h"
#include "tests/support/noise_image.h"

namespace onnuri {
namespace {

class VisionGolden : public ::testing::TestWithParam<const char*> {
 protected:
  VisionGolden()
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
    options.context_size = 512;
    options.isa = isa;
    options.prefill_chunk = prefill_chunk;
    return Engine::load(folder_, options);
  }

  void expect_logits(const FloatMatrix& found) const {
    const TensorView expected = golden_->find("logits");
    ASSERT_EQ((Shape{found.rows, found.cols}), expected.shape);
    const float* want = expected.as<float>();
    const auto count = static_cast<size_t>(expected.num_elements());
    double sum = 0, squares = 0;
    for (size_t i = 0; i < count; ++i) {
      sum += static_cast<double>(want[i]);
      squares += static_cast<double>(want[i]) * static_cast<double>(want[i]);
    }
    const double mean = sum / static_cast<double>(count);
    const double deviation = std::sqrt(squares / static_cast<double>(count) - mean * mean);
    for (size_t i = 0; i < count; ++i)
      ASSERT_NEAR(found.values[i], want[i], 2e-3 * deviation) << "element " << i;
    for (int64_t r = 0; r < found.rows; ++r) {
      const float* a = found.values.data() + r * found.cols;
      const float* b = want + r * found.cols;
      ASSERT_EQ(std::max_element(a, a + found.cols) - a, std::max_element(b, b + found.cols) - b)
          << "row " << r;
    }
  }

  std::string folder_;
  std::shared_ptr<const Checkpoint> golden_;
  std::vector<Image> images_;
  std::vector<int32_t> ids_;
};

TEST_P(VisionGolden, FeaturesAgree) {
  const auto engine = load("ref");
  for (size_t k = 0; k < images_.size(); ++k) {
    const FloatMatrix found = engine->encode_image(images_[k]);
    const TensorView expected = golden_->find("features_" + std::to_string(k));
    ASSERT_EQ((Shape{found.rows, found.cols}), expected.shape);
    float largest = 0;
    for (int64_t i = 0; i < expected.num_elements(); ++i)
      largest = std::max(largest, std::abs(expected.as<float>()[i]));
    for (int64_t i = 0; i < expected.num_elements(); ++i)
      ASSERT_NEAR(found.values[static_cast<size_t>(i)], expected.as<float>()[i], 2e-4f * largest)
          << "picture " << k << " element " << i;
  }
}

TEST_P(VisionGolden, LogitsAgree) { expect_logits(load("ref")->logits(ids_, images_, {})); }

TEST_P(VisionGolden, LogitsAgreeOnTheFastestKernels) {
  expect_logits(load()->logits(ids_, images_, {}));
}

TEST_P(VisionGolden, GreedyTokensAgree) {
  const TensorView expected = golden_->find("generated");
  const std::vector<int32_t> tokens(expected.as<int32_t>(),
                                    expected.as<int32_t>() + expected.num_elements());
  for (const int64_t chunk : {512, 7}) {  // 7 cuts through both pictures
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

// A picture costs one pass of the encoder, whoever brings it; the answer cannot tell.
TEST_P(VisionGolden, EncodesAPictureOnce) {
  GenerateRequest request;
  request.input_ids = ids_;
  request.images = images_;
  request.max_new_tokens = 8;
  request.ignore_eos = true;
  request.top_logprobs = 0;
  const auto expect_usage = [](const GenerateResult& result, int64_t passes, int64_t reused) {
    EXPECT_EQ(result.usage.encoder_passes, passes);
    EXPECT_EQ(result.usage.encoder_reused, reused);
  };
  const auto engine = load();
  const GenerateResult first = engine->generate(request, {});
  expect_usage(first, 2, 0);
  const GenerateResult second = engine->generate(request, {});
  expect_usage(second, 0, 2);
  EXPECT_EQ(second.token_ids, first.token_ids);
  for (size_t i = 0; i < first.logprobs.size(); ++i)
    EXPECT_EQ(second.logprobs[i].chosen.logprob, first.logprobs[i].chosen.logprob);
  expect_logits(engine->logits(ids_, images_, {}));
  ++request.images[0].rgb[0];  // one grey level of one pixel is another picture
  expect_usage(engine->generate(request, {}), 1, 1);

  EngineOptions options;
  options.encoder_cache_bytes = 0;
  const auto forgetful = Engine::load(folder_, options);
  expect_usage(forgetful->generate(request, {}), 2, 0);
  expect_usage(forgetful->generate(request, {}), 2, 0);
}

TEST_P(VisionGolden, RefusesPicturesThatDoNotFitThePrompt) {
  const auto engine = load();
  const std::vector<Image> one(images_.begin(), images_.begin() + 1);
  EXPECT_THROW(engine->logits(ids_, one, {}), Error);
  const std::vector<Image> swapped = {images_[1], images_[0]};
  EXPECT_THROW(engine->logits(ids_, swapped, {}), Error);
  EXPECT_THROW(engine->encode_image(Image{}), Error);
  EXPECT_THROW(engine->encode_image(noise_image(1, 300, 5)), Error);  // over 200 : 1
  EXPECT_THROW(engine->encode_image(Image{20, 20, std::vector<uint8_t>(7)}), Error);
  expect_logits(engine->logits(ids_, images_, {}));  // still usable
}

INSTANTIATE_TEST_SUITE_P(Families, VisionGolden,
                         ::testing::Values("qwen2_5_vl", "paddleocr_vl", "hyperclovax_vision"));

}  // namespace
}  // namespace onnuri
