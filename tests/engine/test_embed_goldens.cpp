// Tiny checkpoints that put pictures and texts into one space, against the reference. Data and
// recipe: tests/golden/make_embed_goldens.py.
#include <gtest/gtest.h>

#include <cmath>

#include "core/checkpoint.h"
#include "core/json.h"
#include "onnuri/engine.h"
#include "onnuri/error.h"
#include "tests/support/noise_image.h"

namespace onnuri {
namespace {

class EmbedGolden : public ::testing::TestWithParam<const char*> {
 protected:
  EmbedGolden()
      : folder_(std::string(ONNURI_TEST_DATA) + "/golden/vision/" + GetParam()),
        golden_(Checkpoint::open(folder_ + "/golden.safetensors")) {
    const TensorView sizes = golden_->find("sizes");
    for (int64_t k = 0; k < sizes.shape[0]; ++k)
      images_.push_back(noise_image(sizes.as<int32_t>()[2 * k], sizes.as<int32_t>()[2 * k + 1],
                                    static_cast<uint32_t>(1000 + k)));
  }

  std::unique_ptr<Engine> load(const std::string& isa) const {
    EngineOptions options;
    options.compute_dtype = "float32";
    options.num_threads = 2;
    options.isa = isa;
    return Engine::load(folder_, options);
  }

  std::vector<std::vector<float>> texts(Engine& engine) const {
    const TensorView ids = golden_->find("text_ids");
    std::vector<std::vector<float>> out;
    for (int64_t i = 0; i < ids.shape[0]; ++i)
      out.push_back(engine.embed_tokens(
          {ids.as<int32_t>() + i * ids.shape[1], static_cast<size_t>(ids.shape[1])}));
    return out;
  }

  static void expect_near(std::span<const float> found, const float* expected, float tolerance) {
    for (size_t i = 0; i < found.size(); ++i)
      ASSERT_NEAR(found[i], expected[i], tolerance) << "element " << i;
  }

  std::string folder_;
  std::shared_ptr<const Checkpoint> golden_;
  std::vector<Image> images_;
};

TEST_P(EmbedGolden, VectorsAndSimilaritiesAgree) {
  for (const char* isa : {"ref", ""}) {
    const auto engine = load(isa);
    const JsonValue facts = parse_json(engine->describe_json(), "facts");
    const double scale = facts.find("logit_scale")->as_double("facts");
    const double bias = facts.find("logit_bias")->as_double("facts");
    const TensorView image_embeds = golden_->find("image_embeds");
    const TensorView text_embeds = golden_->find("text_embeds");
    const TensorView logits = golden_->find("logits_per_image");
    const int64_t width = image_embeds.shape[1];
    const auto words = texts(*engine);
    for (size_t k = 0; k < words.size(); ++k) {
      ASSERT_EQ(static_cast<int64_t>(words[k].size()), width);
      expect_near(words[k], text_embeds.as<float>() + static_cast<int64_t>(k) * width, 2e-6f);
    }
    for (size_t i = 0; i < images_.size(); ++i) {
      const std::vector<float> vector = engine->embed_image(images_[i]);
      ASSERT_EQ(static_cast<int64_t>(vector.size()), width);
      expect_near(vector, image_embeds.as<float>() + static_cast<int64_t>(i) * width, 2e-6f);
      for (size_t k = 0; k < words.size(); ++k) {
        double dot = 0;
        for (size_t c = 0; c < vector.size(); ++c)
          dot += static_cast<double>(vector[c]) * static_cast<double>(words[k][c]);
        EXPECT_NEAR(scale * dot + bias, logits.as<float>()[i * words.size() + k], 1e-5);
      }
    }
  }
}

TEST_P(EmbedGolden, HiddenStatesAgree) {
  const auto engine = load("");
  for (size_t k = 0; k < images_.size(); ++k) {
    const FloatMatrix found = engine->encode_image(images_[k]);
    SCOPED_TRACE("picture " + std::to_string(k));
    const TensorView expected = golden_->find("hidden_" + std::to_string(k));
    ASSERT_EQ((Shape{found.rows, found.cols}), expected.shape);
    expect_near(found.values, expected.as<float>(), 2e-5f);
  }
}

TEST_P(EmbedGolden, RefusesWhatItCannotEmbed) {
  const auto engine = load("");
  const std::vector<int32_t> foreign = {3, 999}, none, long_text(99, 3);
  EXPECT_THROW(engine->embed_tokens(foreign), Error);
  EXPECT_THROW(engine->embed_tokens(none), Error);
  EXPECT_THROW(engine->embed_tokens(long_text), Error);
  EXPECT_THROW(engine->embed_image(Image{}), Error);
  if (std::string(GetParam()) == "siglip2")
    EXPECT_EQ(engine->encode_image(noise_image(1, 300, 5)).rows, 40);
  else
    EXPECT_THROW(engine->embed_image(noise_image(1, 300, 5)), Error);
  EXPECT_THROW(engine->embed_text("no tokenizer here"), Error);
  EXPECT_THROW(engine->logits(foreign, {}, {}), Error);
  EXPECT_EQ(texts(*engine).size(), 3u);
}

INSTANTIATE_TEST_SUITE_P(Families, EmbedGolden,
                         ::testing::Values("clip", "clip_old", "siglip", "siglip2"));

}  // namespace
}  // namespace onnuri
