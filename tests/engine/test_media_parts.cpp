// Sounds and videos that grow: what was encoded before is found again, part by part, and the bits
// are those of an engine that keeps nothing.
#include <gtest/gtest.h>

#include <cstring>

#include "onnuri/engine.h"
#include "onnuri/error.h"
#include "tests/encoders/signal.h"
#include "tests/support/noise_image.h"

namespace onnuri {
namespace {

constexpr int32_t kSecond = 16000;

struct Parts {
  int64_t fresh = 0;
  int64_t reused = 0;
  bool operator==(const Parts&) const = default;
};

std::ostream& operator<<(std::ostream& out, const Parts& parts) {
  return out << parts.fresh << " encoded, " << parts.reused << " reused";
}

/// Noise whose loudest moment lies in the first second.
std::vector<float> recording(int64_t seconds) {
  std::vector<float> out = golden_signal(seconds * kSecond);
  for (size_t i = kSecond; i < out.size(); ++i) out[i] *= 0.25f;
  return out;
}

std::unique_ptr<Engine> load(const std::string& folder, const std::string& compute, bool keeps) {
  EngineOptions options;
  options.compute_dtype = compute;
  options.num_threads = 2;
  options.context_size = 2048;
  if (!keeps) options.encoder_cache_bytes = 0;
  return Engine::load(std::string(ONNURI_TEST_DATA) + "/golden/" + folder, options);
}

/// An engine that keeps parts, and one that does not, for the same requests.
class Pair {
 public:
  Pair(const std::string& folder, const std::string& compute)
      : kept_(load(folder, compute, true)), forgetful_(load(folder, compute, false)) {}

  /// Parts that the first one encodes and finds.
  Parts run(const GenerateRequest& request) {
    const Usage usage = kept_->generate(request, {}).usage;
    const auto logits = [&](Engine& engine) {
      return engine.logits(request.input_ids, {}, request.audios, request.videos).values;
    };
    const std::vector<float> found = logits(*kept_), fresh = logits(*forgetful_);
    EXPECT_EQ(found.size(), fresh.size());
    EXPECT_EQ(std::memcmp(found.data(), fresh.data(), fresh.size() * sizeof(float)), 0);
    const auto media = static_cast<int64_t>(request.audios.size() + request.videos.size());
    EXPECT_EQ(usage.encoder_passes + usage.encoder_reused, media);
    EXPECT_EQ(usage.encoder_passes > 0, usage.encoder_chunks > 0);
    return {usage.encoder_chunks, usage.encoder_chunks_reused};
  }
  Engine& forgetful() { return *forgetful_; }

 private:
  std::unique_ptr<Engine> kept_, forgetful_;
};

class GrowingSound : public ::testing::TestWithParam<const char*> {
 protected:
  GenerateRequest hear(Pair& pair, std::vector<float> samples) const {
    constexpr int32_t kPlaceholder = 60;
    GenerateRequest request;
    request.max_new_tokens = 1;
    request.ignore_eos = true;
    request.audios.push_back({kSecond, std::move(samples)});
    const int64_t tokens = pair.forgetful().encode_audio(request.audios[0]).rows;
    request.input_ids.assign(static_cast<size_t>(tokens) + 4, kPlaceholder);
    for (const size_t at : {size_t{0}, size_t{1}}) request.input_ids[at] = 5 + (at == 1);
    request.input_ids.end()[-1] = 9;
    request.input_ids.end()[-2] = 7;
    return request;
  }
};

// The last part of the shorter one ends in silence, that of the longer one goes on.
TEST_P(GrowingSound, CostsItsNewPartsAlone) {
  const std::string family = GetParam();
  const bool in_parts = family != "qwen2_audio";  // which sees 30 seconds at once
  for (const char* compute : {"float32", "auto"}) {
    SCOPED_TRACE(compute);
    Pair pair("hearing/" + family, compute);
    // Parts of two seconds, or of four.
    const auto parts = [&](int64_t seconds) {
      return !in_parts ? 1 : family == "qwen3_omni" ? (seconds + 3) / 4 : (seconds + 1) / 2;
    };
    EXPECT_EQ(pair.run(hear(pair, recording(5))), (Parts{parts(5), 0}));
    EXPECT_EQ(pair.run(hear(pair, recording(5))), (Parts{0, parts(5)}));
    const Parts longer = pair.run(hear(pair, recording(9)));
    const int64_t reused = in_parts ? parts(5) - 1 : 0;
    EXPECT_EQ(longer, (Parts{parts(9) - reused, reused}));
    // What is added is louder and lifts the floor: nothing is taken that would differ.
    std::vector<float> loud = recording(9);
    for (float& x : loud) x *= 1e-4f;
    EXPECT_EQ(pair.run(hear(pair, loud)).fresh, parts(9));
    loud.resize(11 * kSecond, 0.9f);
    pair.run(hear(pair, loud));
  }
}

TEST_P(GrowingSound, SilenceIsHeardOnce) {
  Pair pair(std::string("hearing/") + GetParam(), "float32");
  const Parts parts =
      pair.run(hear(pair, std::vector<float>(static_cast<size_t>(9 * kSecond), 0.0f)));
  if (std::string(GetParam()) == "qwen2_audio") {
    EXPECT_EQ(parts, (Parts{1, 0}));
  } else {
    EXPECT_EQ(parts.fresh, 2);  // a whole part and a shorter one
    EXPECT_GE(parts.reused, 1);
  }
}

INSTANTIATE_TEST_SUITE_P(Families, GrowingSound,
                         ::testing::Values("qwen2_audio", "qwen2_5_omni", "qwen3_omni"));

class GrowingVideo : public ::testing::TestWithParam<const char*> {
 protected:
  static Video noise(const std::vector<uint32_t>& frames) {
    Video out{static_cast<int64_t>(frames.size()), 61, 100, {}, 2.0, {}};
    for (const uint32_t k : frames) {
      const Image frame = noise_image(61, 100, 2000 + k);
      out.rgb.insert(out.rgb.end(), frame.rgb.begin(), frame.rgb.end());
    }
    return out;
  }

  static GenerateRequest see(const std::vector<uint32_t>& frames) {
    constexpr int32_t kVideo = 151, kStart = 152, kEnd = 153;
    const std::string family = GetParam();
    const bool large = family == "qwen2_vl" || family == "qwen2_5_omni" || family == "exaone4_5";
    const auto tokens = static_cast<size_t>(large ? 3 * 5 : 4 * 6);
    const size_t grids = (frames.size() + 1) / 2;
    const size_t runs = family.starts_with("qwen3_vl") ? grids : 1;
    GenerateRequest request;
    request.max_new_tokens = 1;
    request.ignore_eos = true;
    request.videos.push_back(noise(frames));
    request.input_ids = {1, 9};
    for (size_t k = 0; k < runs; ++k) {
      request.input_ids.push_back(kStart);
      request.input_ids.insert(request.input_ids.end(), tokens * grids / runs, kVideo);
      request.input_ids.push_back(kEnd);
    }
    request.input_ids.insert(request.input_ids.end(), {4, 8});
    return request;
  }
};

TEST_P(GrowingVideo, CostsItsNewFramesAlone) {
  for (const char* compute : {"float32", "auto"}) {
    SCOPED_TRACE(compute);
    Pair pair(std::string("grid/") + GetParam(), compute);
    EXPECT_EQ(pair.run(see({0, 1, 2, 3})), (Parts{2, 0}));
    EXPECT_EQ(pair.run(see({0, 1, 2, 3})), (Parts{0, 2}));
    EXPECT_EQ(pair.run(see({0, 1, 2, 3, 4, 5})), (Parts{1, 2}));
    EXPECT_EQ(pair.run(see({0, 1, 2, 3, 4})), (Parts{1, 2}));  // 4 and 4 again
    EXPECT_EQ(pair.run(see({9, 8, 2, 3, 7, 6, 0, 1})), (Parts{2, 2}));
    EXPECT_EQ(pair.run(see({1, 0})), (Parts{1, 0}));
  }
}

TEST_P(GrowingVideo, AStillPictureIsSeenOnce) {
  Pair pair(std::string("grid/") + GetParam(), "float32");
  EXPECT_EQ(pair.run(see({3, 3, 3, 3, 3, 3})), (Parts{1, 2}));
  EXPECT_EQ(pair.run(see({3, 3, 5, 3, 3, 3, 5, 3})), (Parts{1, 3}));
}

TEST_P(GrowingVideo, PartsAreFoundInAnyVideoOfTheRequest) {
  Pair pair(std::string("grid/") + GetParam(), "float32");
  GenerateRequest both = see({0, 1, 2, 3});
  const GenerateRequest other = see({2, 3, 4, 5, 0, 1});
  both.videos.push_back(other.videos[0]);
  both.input_ids.insert(both.input_ids.end(), other.input_ids.begin(), other.input_ids.end());
  EXPECT_EQ(pair.run(both), (Parts{3, 2}));
}

INSTANTIATE_TEST_SUITE_P(Families, GrowingVideo,
                         ::testing::Values("qwen2_vl", "qwen3_vl", "qwen3_vl_moe", "exaone4_5",
                                           "qwen2_5_omni", "qwen3_omni"));

}  // namespace
}  // namespace onnuri
