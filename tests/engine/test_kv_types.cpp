// Keys and values as bytes: near the float32 logits, and the same bits for every chunk size.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <memory>
#include <numeric>

#include "onnuri/engine.h"

namespace onnuri {
namespace {

struct KvType {
  const char* name;
  double allowed;  // root mean square of the error, in standard deviations of the logits
};
// Of 8, 4 (e4m3) and 4 bits of mantissa behind a scale; twice what dense tiny models show.
const KvType kTypes[] = {
    {"f16", 4e-3}, {"bf16", 3e-2}, {"int8", 5e-2}, {"fp8", 0.25}, {"int4", 0.6}};

std::unique_ptr<Engine> load(const std::string& family, const std::string& kv_dtype,
                             int64_t chunk) {
  EngineOptions options;
  options.compute_dtype = "float32";
  options.kv_dtype = kv_dtype;
  options.prefill_chunk = chunk;
  options.num_threads = 2;
  return Engine::load(std::string(ONNURI_TEST_DATA) + "/golden/text/" + family, options);
}

std::vector<int32_t> prompt_ids(int64_t count) {
  std::vector<int32_t> ids(static_cast<size_t>(count));
  for (size_t i = 0; i < ids.size(); ++i) ids[i] = static_cast<int32_t>((i * 37 + 11) % 120);
  return ids;
}

double rms(const std::vector<float>& a, const std::vector<float>& b) {
  double squares = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    const double d = static_cast<double>(a[i]) - static_cast<double>(b[i]);
    squares += d * d;
  }
  return std::sqrt(squares / static_cast<double>(a.size()));
}

// Experts or keys that are nearly as good as others are exchanged by any rounding: how far the
// logits then move says nothing about the rows.
bool chooses(const std::string& family) {
  return family == "gpt_oss" || family == "deepseek_v3" || family == "axk2";
}

class KvTypes : public ::testing::TestWithParam<std::string> {};

TEST_P(KvTypes, LogitsAreNearAndChunksAgree) {
  const std::vector<int32_t> ids = prompt_ids(90);
  const std::vector<float> exact = load(GetParam(), "f32", 512)->logits(ids, {}, {}).values;
  const double mean =
      std::accumulate(exact.begin(), exact.end(), 0.0) / static_cast<double>(exact.size());
  const double deviation = rms(exact, std::vector<float>(exact.size(), static_cast<float>(mean)));
  for (const KvType& type : kTypes) {
    const std::vector<float> whole = load(GetParam(), type.name, 512)->logits(ids, {}, {}).values;
    if (chooses(GetParam())) {
      EXPECT_TRUE(std::isfinite(rms(whole, exact))) << type.name;
    } else {
      EXPECT_LE(rms(whole, exact), type.allowed * deviation)
          << type.name << ": " << rms(whole, exact) / deviation;
    }
    EXPECT_NE(std::memcmp(whole.data(), exact.data(), whole.size() * sizeof(float)), 0)
        << type.name;
    for (const int64_t chunk : {1, 13}) {
      const std::vector<float> cut = load(GetParam(), type.name, chunk)->logits(ids, {}, {}).values;
      EXPECT_EQ(std::memcmp(whole.data(), cut.data(), whole.size() * sizeof(float)), 0)
          << type.name << " in chunks of " << chunk;
    }
  }
}

// Windows, sinks, latent rows, differential halves, an indexer, odd head sizes.
INSTANTIATE_TEST_SUITE_P(Families, KvTypes,
                         ::testing::Values("gemma3", "exaone4_hybrid", "gpt_oss", "deepseek_v3",
                                           "motif_grouped", "motif", "axk2", "qwen3"));

TEST(KvTypes, AnswersDoNotDependOnGuessingAhead) {
  GenerateRequest request;
  request.input_ids = prompt_ids(40);
  request.max_new_tokens = 24;
  request.ignore_eos = true;
  for (const char* type : {"int8", "fp8", "int4"}) {
    const auto engine = load("qwen2", type, 512);
    request.lookup_tokens = 0;
    const std::vector<int32_t> plain = engine->generate(request, nullptr).token_ids;
    request.lookup_tokens = 4;
    EXPECT_EQ(engine->generate(request, nullptr).token_ids, plain) << type;
  }
}

}  // namespace
}  // namespace onnuri
