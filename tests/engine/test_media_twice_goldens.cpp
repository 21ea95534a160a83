// Tiny checkpoints with eyes and ears that take media as rows and as words: from pixels and samples
// to logits, against the reference. Data and recipe: tests/golden/make_omni_goldens.py.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "core/checkpoint.h"
#include "engine/code_encoder.h"
#include "onnuri/engine.h"
#include "onnuri/error.h"
#include "tests/encoders/signal.h"
#include "tests/support/golden_error.h"
#include "tests/support/noise_image.h"

namespace onnuri {
namespace {

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
    FloatMatrix some{found.rows, 0, {}};
    const std::vector<int32_t> columns = ints("columns");
    some.cols = static_cast<int64_t>(columns.size());
    for (int64_t r = 0; r < found.rows; ++r)
      for (const int32_t c : columns)
        some.values.push_back(found.values[static_cast<size_t>(r * found.cols + c)]);
    ASSERT_EQ((Shape{some.rows, some.cols}), expected.shape);
    const double error = largest_error(some, expected) / deviation(expected);
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

TEST_P(MediaTwice, NothingNeedsToBeKept) {
  EngineOptions options;
  options.compute_dtype = "float32";
  options.context_size = 1024;
  options.encoder_cache_bytes = 0;
  expect_logits(Engine::load(folder_, options)->logits(ids_, images_, sounds_));
}

TEST_P(MediaTwice, FeaturesAgree) {
  const auto engine = load("ref");
  const auto expect = [&](const FloatMatrix& found, const std::string& name) {
    const TensorView expected = golden_->find(name);
    ASSERT_EQ((Shape{found.rows, found.cols}), expected.shape) << name;
    EXPECT_LE(largest_error(found, expected) / deviation(expected), 2e-4) << name;
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

class Spelling : public MediaTwice {
 protected:
  Spelling() : files_(open_model_files(folder_)), config_(map_model(files_)) {}

  std::shared_ptr<CodeEncoder> encoder(const char* isa) {
    backend_ = std::make_unique<Backend>(2, isa);
    source_ = std::make_unique<TensorSource>(files_.checkpoint, config_.names);
    return make_code_encoder(config_, *source_, *backend_);
  }
  std::vector<int32_t> tokens(const std::string& name, int32_t first) const {
    std::vector<int32_t> out = ints(name);
    for (int32_t& id : out) id += first;
    return out;
  }

  ModelFiles files_;
  ModelConfig config_;
  std::unique_ptr<Backend> backend_;
  std::unique_ptr<TensorSource> source_;
};

TEST_P(Spelling, CodesAreThoseOfTheReference) {
  for (const char* isa : {"ref", ""}) {
    const auto codes = encoder(isa);
    ASSERT_TRUE(codes != nullptr && codes->sees() && codes->hears());
    for (size_t k = 0; k < images_.size(); ++k)
      EXPECT_EQ(codes->encode(images_[k]),
                tokens("image_codes_" + std::to_string(k), codes->config().first_image_code));
    for (size_t k = 0; k < sounds_.size(); ++k) {
      const std::vector<int32_t> expected =
          tokens("sound_codes_" + std::to_string(k), codes->config().first_audio_code);
      EXPECT_EQ(codes->num_audio_codes(sounds_[k]), static_cast<int64_t>(expected.size()));
      EXPECT_EQ(codes->encode(sounds_[k]), expected);
    }
  }
}

// 80 s at a time; a rest of less than 400 samples belongs to the window before it.
TEST_P(Spelling, LongSoundsAreCut) {
  const auto codes = encoder("");
  const auto count = [&](int64_t samples) {
    return codes->num_audio_codes({16000, std::vector<float>(static_cast<size_t>(samples), 0.1f)});
  };
  constexpr int64_t kWindow = 80 * 16000;
  EXPECT_EQ(count(1), 1);
  EXPECT_EQ(count(kWindow), 2000);
  EXPECT_EQ(count(kWindow + 399), 2001);  // 8002 frames
  EXPECT_EQ(count(kWindow + 400), 2001);
  EXPECT_EQ(count(2 * kWindow + 16000), 4025);
  EXPECT_THROW(count(0), Error);
}

TEST_P(Spelling, ShapesAreChosenByTheNearestRatio) {
  CodesConfig config;
  config.shapes = {{1.0, "square"}, {0.5, "tall"}, {2.0, "wide"}, {1.0, "square again"}};
  TensorSource source(files_.checkpoint, config_.names);
  Backend backend(1, "");
  const CodeEncoder codes(config, source, source, backend);
  const auto token = [&](int64_t h, int64_t w) {
    return codes.nearest_shape(Image{h, w, {}})->token;
  };
  EXPECT_EQ(token(10, 10), "square");
  EXPECT_EQ(token(10, 14), "square");
  EXPECT_EQ(token(10, 90), "wide");
  EXPECT_EQ(token(100, 1), "tall");
  EXPECT_EQ(token(4, 3), "square");  // as far from both: the first
  EXPECT_THROW(codes.grid_side(), Error);
  EXPECT_THROW(codes.num_audio_codes(sounds_[0]), Error);
}

// A second request finds codes and rows where the first left them.
TEST_P(Spelling, CodesAreKept) {
  const auto engine = load();
  GenerateRequest request;
  request.input_ids = ids_;
  request.images = images_;
  request.audios = sounds_;
  request.max_new_tokens = 1;
  const GenerateResult first = engine->generate(request, {}),
                       second = engine->generate(request, {});
  EXPECT_EQ(first.usage.encoder_passes, 10);
  EXPECT_EQ(second.usage.encoder_passes, 0);
  EXPECT_EQ(second.usage.encoder_reused, 10);
  EXPECT_EQ(second.token_ids, first.token_ids);
}

TEST_P(Spelling, RefusesAnotherNumberOfPlaceholders) {
  const auto engine = load();
  std::vector<int32_t> fewer = ids_;
  *std::find(fewer.begin(), fewer.end(), encoder("")->config().image_placeholder) = 7;
  EXPECT_THROW(engine->logits(fewer, images_, sounds_), Error);
  std::vector<int32_t> none = ids_;  // rows alone are enough
  std::replace(none.begin(), none.end(), encoder("")->config().image_placeholder, 7);
  EXPECT_NO_THROW(engine->logits(none, images_, sounds_));
}

// Sizes are checked before memory is asked for, and codes must be words of the vocabulary.
TEST_P(Spelling, RefusesConfigsThatCannotBe) {
  const auto expect_refused = [&](const char* part, const char* key, int64_t value) {
    ModelFiles files = files_;
    JsonValue inner = *files.config.find(part);
    inner.set(key, value);
    files.config.set(part, std::move(inner));
    Backend backend(1, "");
    EXPECT_THROW(
        {
          const ModelConfig config = map_model(files);
          TensorSource source(files.checkpoint, config.names);
          make_code_encoder(config, source, backend);
        },
        Error)
        << part << "." << key << " " << value;
  };
  for (const int64_t value : {int64_t{-1}, int64_t{0}, int64_t{3}, int64_t{1} << 30, INT64_MAX}) {
    for (const char* key :
         {"n_mels", "n_audio_state", "n_audio_head", "n_audio_layer", "fsmn_kernel_size"})
      expect_refused("discrete_audio_config", key, value);
    for (const char* key : {"hidden_size", "intermediate_size", "num_attention_heads", "image_size",
                            "patch_size", "pool_scale"})
      expect_refused("discrete_vision_config", key, value);
  }
  for (const int64_t value : {int64_t{0}, int64_t{-4}, INT64_MAX, INT64_MIN})
    expect_refused("discrete_vision_config", "select_layer_id", value);
  for (const char* key : {"discrete_image_unit_0_id", "discrete_audio_unit_0_id"})
    for (const int64_t value : {int64_t{-1}, int64_t{6800}, int64_t{1} << 31}) {
      ModelFiles files = files_;
      files.config.set(key, value);
      EXPECT_THROW(map_model(files), Error) << key << " " << value;
    }
}

INSTANTIATE_TEST_SUITE_P(Families, Spelling, ::testing::Values("omni_codes"));
INSTANTIATE_TEST_SUITE_P(Families, MediaTwice, ::testing::Values("omni", "omni_codes"));

}  // namespace
}  // namespace onnuri
