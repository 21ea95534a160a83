// Tiny checkpoints of the families with merge blocks: pictures and a video to logits, against the
// reference. Data and recipe: tests/golden/make_grid_goldens.py.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "core/checkpoint.h"
#include "fusion/prompt.h"
#include "onnuri/engine.h"
#include "onnuri/error.h"
#include "tests/support/noise_image.h"

namespace onnuri {
namespace {

namespace fs = std::filesystem;

std::string golden_folder(const std::string& family) {
  return std::string(ONNURI_TEST_DATA) + "/golden/grid/" + family;
}

Video noise_video() {
  Video out{5, 61, 100, {}, 0, {}};
  for (uint32_t k = 0; k < 5; ++k) {
    const Image frame = noise_image(61, 100, 2000 + k);
    out.rgb.insert(out.rgb.end(), frame.rgb.begin(), frame.rgb.end());
  }
  return out;
}

std::vector<int32_t> integers(const TensorView& view) {
  return {view.as<int32_t>(), view.as<int32_t>() + view.num_elements()};
}

class GridGolden : public ::testing::TestWithParam<const char*> {
 protected:
  GridGolden()
      : golden_(Checkpoint::open(golden_folder(GetParam()) + "/golden.safetensors")),
        images_{noise_image(300, 181, 1000), noise_image(61, 100, 1001)},
        around_video_{images_[1], images_[1]},
        videos_{noise_video()},
        ids_(integers(golden_->find("input_ids"))),
        video_ids_(integers(golden_->find("video_ids"))) {}

  std::unique_ptr<Engine> load(const std::string& isa = "", int64_t prefill_chunk = 512) const {
    EngineOptions options;
    options.compute_dtype = "float32";
    options.num_threads = 2;
    options.context_size = 512;
    options.isa = isa;
    options.prefill_chunk = prefill_chunk;
    return Engine::load(golden_folder(GetParam()), options);
  }

  void expect_logits(const FloatMatrix& found, const std::string& name) const {
    const TensorView expected = golden_->find(name);
    ASSERT_EQ((Shape{found.rows, found.cols}), expected.shape);
    const float* want = expected.as<float>();
    const auto count = static_cast<size_t>(expected.num_elements());
    double sum = 0, squares = 0, largest = 0;
    for (size_t i = 0; i < count; ++i) {
      sum += static_cast<double>(want[i]);
      squares += static_cast<double>(want[i]) * static_cast<double>(want[i]);
      largest = std::max(largest, static_cast<double>(std::abs(found.values[i] - want[i])));
    }
    const double mean = sum / static_cast<double>(count);
    const double deviation = std::sqrt(squares / static_cast<double>(count) - mean * mean);
    RecordProperty(name + "_error", std::to_string(largest / deviation));
    EXPECT_LE(largest, 2e-3 * deviation);
    for (int64_t r = 0; r < found.rows; ++r) {
      const float* a = found.values.data() + r * found.cols;
      const float* b = want + r * found.cols;
      ASSERT_EQ(std::max_element(a, a + found.cols) - a, std::max_element(b, b + found.cols) - b)
          << "row " << r;
    }
  }

  std::shared_ptr<const Checkpoint> golden_;
  std::vector<Image> images_, around_video_;
  std::vector<Video> videos_;
  std::vector<int32_t> ids_, video_ids_;
};

TEST_P(GridGolden, FeaturesAgree) {
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

TEST_P(GridGolden, PictureLogitsAgree) {
  for (const char* isa : {"ref", ""}) expect_logits(load(isa)->logits(ids_, images_, {}), "logits");
}

TEST_P(GridGolden, VideoLogitsAgree) {
  for (const char* isa : {"ref", ""})
    expect_logits(load(isa)->logits(video_ids_, around_video_, {}, videos_), "video_logits");
}

// The grids in units of 2 x 2 patches: the family's own processor, of 61 x 100 pixels.
TEST_P(GridGolden, PositionsAgree) {
  const std::string family = GetParam();
  if (golden_->find("video_positions").empty()) GTEST_SKIP() << "one axis";
  // Patches of 14 pixels, else 8.
  const bool large = family == "qwen2_vl" || family == "qwen2_5_omni";
  const int64_t h = large ? 3 : 4, w = large ? 5 : 6;
  const bool apart = family.starts_with("qwen3_vl") || family == "qwen3_5";
  const std::vector<MediaGrid> pictures(2, {1, h, w});
  const std::vector<MediaGrid> videos(apart ? 3 : 1, {apart ? 1 : 3, h, w});
  std::vector<MediaSpan> spans = find_media_spans(video_ids_, 151, videos);
  // 13 positions per second and 2 seconds per grid, or 25 and 1.
  const bool seconds = family.ends_with("_omni");
  const double step = family == "qwen3_omni" ? 26.0 : 25.0;
  for (MediaSpan& span : spans) span.time.step = seconds ? step : 1.0;
  for (const MediaSpan& span : find_media_spans(video_ids_, 150, pictures)) spans.push_back(span);
  std::sort(spans.begin(), spans.end(),
            [](const MediaSpan& a, const MediaSpan& b) { return a.first_token < b.first_token; });
  const PromptPositions found =
      mrope_positions(static_cast<int64_t>(video_ids_.size()), spans,
                      {seconds ? AfterVideo::kMaximum : AfterVideo::kLongestSide});
  const std::vector<int32_t> expected = integers(golden_->find("video_positions"));
  EXPECT_EQ(found.positions, std::vector<float>(expected.begin(), expected.end()));
  EXPECT_EQ(found.next_position, static_cast<float>(integers(golden_->find("video_next")).front()));
}

TEST_P(GridGolden, GreedyTokensAgree) {
  for (const int64_t chunk : {512, 7}) {  // 7 cuts through all media
    SCOPED_TRACE(chunk);
    const auto engine = load("", chunk);
    GenerateRequest request;
    request.input_ids = ids_;
    request.images = images_;
    request.max_new_tokens = golden_->find("generated").num_elements();
    request.ignore_eos = true;
    EXPECT_EQ(engine->generate(request, {}).token_ids, integers(golden_->find("generated")));
    request.input_ids = video_ids_;
    request.images = around_video_;
    request.videos = videos_;
    EXPECT_EQ(engine->generate(request, {}).token_ids, integers(golden_->find("video_generated")));
  }
}

TEST_P(GridGolden, RefusesMediaThatDoNotFitThePrompt) {
  const auto engine = load();
  EXPECT_THROW(engine->logits(video_ids_, around_video_, {}), Error);
  EXPECT_THROW(engine->logits(video_ids_, {}, {}, videos_), Error);
  EXPECT_THROW(engine->logits(ids_, images_, {}, videos_), Error);
  Video torn = noise_video();
  torn.rgb.pop_back();
  EXPECT_THROW(engine->logits(video_ids_, around_video_, {}, std::vector<Video>{torn}), Error);
  Video none;
  EXPECT_THROW(engine->logits(video_ids_, around_video_, {}, std::vector<Video>{none}), Error);
  expect_logits(engine->logits(ids_, images_, {}), "logits");  // still usable
}

INSTANTIATE_TEST_SUITE_P(Families, GridGolden,
                         ::testing::Values("qwen2_vl", "qwen3_vl", "qwen3_vl_moe",
                                           "qwen3_vl_moe_hub", "qwen3_5", "exaone4_5", "qwen3_omni",
                                           "qwen2_5_omni"));

TEST(GridGoldens, OlderFilesKeepTheDecoderAtTheTop) {
  const fs::path from = golden_folder("qwen2_vl");
  const fs::path to = fs::path(::testing::TempDir()) / "onnuri_flat_config";
  fs::remove_all(to);
  fs::create_directories(to);
  for (const char* name : {"preprocessor_config.json", "model.safetensors"})
    fs::copy_file(from / name, to / name);
  fs::copy_file(from / "config_flat.json", to / "config.json");
  EngineOptions options;
  options.compute_dtype = "float32";
  options.num_threads = 2;
  const auto golden = Checkpoint::open((from / "golden.safetensors").string());
  const std::vector<int32_t> ids = integers(golden->find("input_ids"));
  const std::vector<Image> images = {noise_image(300, 181, 1000), noise_image(61, 100, 1001)};
  const FloatMatrix nested = Engine::load(from.string(), options)->logits(ids, images, {});
  const FloatMatrix flat = Engine::load(to.string(), options)->logits(ids, images, {});
  EXPECT_EQ(flat.values, nested.values);
  fs::remove_all(to);
}

}  // namespace
}  // namespace onnuri
