// Tiny checkpoints that hear, from samples to logits, against the reference.
// Data and recipe: tests/golden/make_hearing_goldens.py.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "core/checkpoint.h"
#include "onnuri/engine.h"
#include "onnuri/error.h"
#include "tests/encoders/signal.h"

namespace onnuri {
namespace {

struct HearingCase {
  std::vector<Waveform> sounds;
  std::vector<int32_t> ids;
  TensorView logits;
};

class Hearing : public ::testing::TestWithParam<const char*> {
 protected:
  Hearing()
      : folder_(std::string(ONNURI_TEST_DATA) + "/golden/hearing/" + GetParam()),
        golden_(Checkpoint::open(folder_ + "/golden.safetensors")) {
    const auto& names = golden_->names();
    for (int k = 0;; ++k) {
      const std::string end = "_" + std::to_string(k);
      if (std::find(names.begin(), names.end(), "ids" + end) == names.end()) break;
      HearingCase item;
      for (const int32_t length : ints("lengths" + end))
        item.sounds.push_back({16000, golden_signal(length)});
      item.ids = ints("ids" + end);
      item.logits = golden_->find("logits" + end);
      cases_.push_back(std::move(item));
    }
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

  static void expect_logits(const FloatMatrix& found, const TensorView& expected) {
    ASSERT_EQ((Shape{found.rows, found.cols}), expected.shape);
    const float* want = expected.as<float>();
    const auto count = static_cast<size_t>(expected.num_elements());
    double sum = 0, squares = 0;
    for (size_t i = 0; i < count; ++i) {
      sum += static_cast<double>(want[i]);
      squares += static_cast<double>(want[i]) * static_cast<double>(want[i]);
    }
    const double mean = sum / static_cast<double>(count);
    const double limit = 2e-3 * std::sqrt(squares / static_cast<double>(count) - mean * mean);
    for (size_t i = 0; i < count; ++i)
      ASSERT_NEAR(found.values[i], want[i], limit) << "element " << i;
    for (int64_t r = 0; r < found.rows; ++r) {
      const float* a = found.values.data() + r * found.cols;
      const float* b = want + r * found.cols;
      ASSERT_EQ(std::max_element(a, a + found.cols) - a, std::max_element(b, b + found.cols) - b)
          << "row " << r;
    }
  }

  std::string folder_;
  std::shared_ptr<const Checkpoint> golden_;
  std::vector<HearingCase> cases_;
};

TEST_P(Hearing, LogitsAgreeForEveryLength) {
  ASSERT_GE(cases_.size(), 10u);
  for (const char* isa : {"ref", ""}) {
    const auto engine = load(isa);
    for (size_t k = 0; k < cases_.size(); ++k) {
      SCOPED_TRACE("case " + std::to_string(k) + " on '" + isa + "'");
      expect_logits(engine->logits(cases_[k].ids, {}, cases_[k].sounds), cases_[k].logits);
    }
  }
}

TEST_P(Hearing, GreedyTokensAgree) {
  for (const int64_t chunk : {512, 7}) {  // 7 cuts through the sounds
    const auto engine = load("", chunk);
    GenerateRequest request;
    request.input_ids = cases_.back().ids;
    request.audios = cases_.back().sounds;
    request.max_new_tokens = static_cast<int64_t>(ints("generated").size());
    request.ignore_eos = true;
    EXPECT_EQ(engine->generate(request, {}).token_ids, ints("generated")) << chunk;
  }
}

// A conversation that grows by a sound pays for that sound, and for neighbours that it changes.
TEST_P(Hearing, SoundsAreKeptWhileOthersCome) {
  constexpr int32_t kPlaceholder = 60;
  const auto kept = load();
  EngineOptions options;
  options.compute_dtype = "float32";
  options.num_threads = 2;
  options.context_size = 1024;
  options.encoder_cache_bytes = 0;
  const auto forgetful = Engine::load(folder_, options);
  GenerateRequest request;
  request.max_new_tokens = 1;
  request.ignore_eos = true;
  request.input_ids = {5};
  int64_t passes = 0, reused = 0;
  // Twice the same; longer than all before by little, by much, and shorter than the longest.
  for (const int32_t length : {8000, 8000, 8300, 20000, 3000}) {
    request.audios.push_back({16000, golden_signal(length)});
    const int64_t tokens = forgetful->encode_audio(request.audios.back()).rows;
    request.input_ids.insert(request.input_ids.end(), {7, 9});
    request.input_ids.insert(request.input_ids.end(), static_cast<size_t>(tokens), kPlaceholder);
    request.input_ids.push_back(8);
    const GenerateResult result = kept->generate(request, {});
    const auto count = static_cast<int64_t>(request.audios.size());
    EXPECT_EQ(result.usage.encoder_passes + result.usage.encoder_reused, count);
    passes += result.usage.encoder_passes;
    reused += result.usage.encoder_reused;
    const FloatMatrix a = kept->logits(request.input_ids, {}, request.audios);
    const FloatMatrix b = forgetful->logits(request.input_ids, {}, request.audios);
    ASSERT_EQ(a.values.size(), b.values.size());
    EXPECT_EQ(std::memcmp(a.values.data(), b.values.data(), a.values.size() * sizeof(float)), 0)
        << count << " sounds";
  }
  EXPECT_EQ(passes + reused, 15);
  if (std::string(GetParam()) == "qwen3_omni") {  // sounds are padded to the longest
    EXPECT_GE(reused, 7);
  } else {
    EXPECT_EQ(passes, 4);
  }
}

TEST_P(Hearing, RefusesWhatCannotBeHeard) {
  const auto engine = load();
  const HearingCase& last = cases_.back();
  const std::vector<Waveform> one(last.sounds.begin(), last.sounds.begin() + 1);
  EXPECT_THROW(engine->logits(last.ids, {}, one), Error);
  const std::vector<Waveform> swapped = {last.sounds[1], last.sounds[0]};
  EXPECT_THROW(engine->logits(last.ids, {}, swapped), Error);
  EXPECT_THROW(engine->encode_audio({16000, {}}), Error);
  EXPECT_THROW(engine->encode_audio({8000, golden_signal(8000)}), Error);
  for (const float bad :
       {std::numeric_limits<float>::quiet_NaN(), -std::numeric_limits<float>::infinity()}) {
    Waveform broken{16000, golden_signal(16000)};
    broken.samples[777] = bad;
    try {
      engine->encode_audio(broken);
      FAIL() << "expected an error for " << bad;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument);
      EXPECT_NE(std::string(error.what()).find("777"), std::string::npos) << error.what();
    }
  }
  EXPECT_THROW(engine->transcribe({16000, golden_signal(16000)}, {}), Error);
  expect_logits(engine->logits(last.ids, {}, last.sounds), last.logits);  // still usable
}

INSTANTIATE_TEST_SUITE_P(Families, Hearing,
                         ::testing::Values("qwen2_audio", "qwen2_5_omni", "qwen3_omni"));

}  // namespace
}  // namespace onnuri
