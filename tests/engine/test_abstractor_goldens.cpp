// Tiny checkpoints whose eyes end in a convolutional abstractor: from picture bytes to logits,
// against the reference. Data and recipe: tests/golden/make_abstractor_goldens.py.
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

class AbstractorGolden : public ::testing::TestWithParam<const char*> {
 protected:
  AbstractorGolden()
      : folder_(std::string(ONNURI_TEST_DATA) + "/golden/abstractor/" + GetParam()),
        golden_(Checkpoint::open(folder_ + "/golden.safetensors")) {
    const TensorView sizes = golden_->find("sizes");  // height, width
    for (int64_t k = 0; k < sizes.shape[0]; ++k)
      images_.push_back(noise_image(sizes.as<int32_t>()[2 * k], sizes.as<int32_t>()[2 * k + 1],
                                    static_cast<uint32_t>(1000 + k)));
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

  void expect_logits(const FloatMatrix& found) const {
    const TensorView expected = golden_->find("logits");
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

TEST_P(AbstractorGolden, FeaturesAgree) {
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

TEST_P(AbstractorGolden, LogitsAgree) { expect_logits(load("ref")->logits(ids_, images_, {})); }

TEST_P(AbstractorGolden, LogitsAgreeOnTheFastestKernels) {
  const auto engine = load("", 20);  // chunks end inside pictures
  expect_logits(engine->logits(ids_, images_, {}));
}

TEST_P(AbstractorGolden, GreedyTokensAgree) {
  const TensorView expected = golden_->find("generated");
  const std::vector<int32_t> tokens(expected.as<int32_t>(),
                                    expected.as<int32_t>() + expected.num_elements());
  const auto engine = load();
  GenerateRequest request;
  request.input_ids = ids_;
  request.images = images_;
  request.max_new_tokens = expected.num_elements();
  request.ignore_eos = true;
  EXPECT_EQ(engine->generate(request, {}).token_ids, tokens);
}

TEST_P(AbstractorGolden, RefusesPicturesThatDoNotFitThePrompt) {
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

INSTANTIATE_TEST_SUITE_P(Families, AbstractorGolden,
                         ::testing::Values("hyperclovax_tiles", "hyperclovax_tiles_clip",
                                           "hyperclovax_tiles_plain", "hyperclovax_tiles_lone",
                                           "kanana_v", "kanana_v_small"));

}  // namespace
}  // namespace onnuri
