// Whatever allocation fails: an error for a request, or nothing at all, and an engine that goes on.
#include <gtest/gtest.h>

#include <algorithm>
#include <future>
#include <random>

#include "core/json.h"
#include "onnuri/engine.h"
#include "onnuri/error.h"
#include "tests/faults/failing_memory.h"
#include "tests/support/noise_image.h"

namespace onnuri {
namespace {

std::unique_ptr<Engine> load(const std::string& folder, const std::string& draft = "") {
  const std::string golden = std::string(ONNURI_TEST_DATA) + "/golden/";
  EngineOptions options;
  options.compute_dtype = "float32";
  options.num_threads = 2;
  options.context_size = 192;
  options.prefill_chunk = 24;
  options.encoder_cache_bytes = 0;
  if (!draft.empty()) options.draft_model = golden + draft;
  return Engine::load(golden + folder, options);
}

GenerateRequest request_for(unsigned seed, int64_t prompt, int64_t answer) {
  std::mt19937 random(seed);
  GenerateRequest request;
  for (int64_t i = 0; i < prompt; ++i)
    request.input_ids.push_back(3 + static_cast<int32_t>(random() % 50));
  request.max_new_tokens = answer;
  request.ignore_eos = true;
  return request;
}

/// True when the request was answered, as expected; false when memory ran out.
bool answers(Engine& engine, const GenerateRequest& request, const std::vector<int32_t>& expected) {
  try {
    EXPECT_EQ(engine.generate(request, {}).token_ids, expected);
    return true;
  } catch (const Error& error) {
    fail_allocation(0);
    EXPECT_EQ(error.code(), ErrorCode::kOutOfMemory) << error.what();
    return false;
  }
}

void expect_in_order(Engine& engine) {  // metrics_json checks the books of the cache and the loop
  const JsonValue counts = parse_json(engine.metrics_json(), "metrics");
  EXPECT_EQ(counts.at("requests", "metrics").as_int("requests"), 0);
}

/// Fails one allocation after the other, in growing steps, until the request makes fewer.
void fail_each(Engine& engine, const GenerateRequest& request) {
  const std::vector<int32_t> expected = engine.generate(request, {}).token_ids;
  int64_t refused = 0, tried = 0;
  for (int64_t nth = 1;; nth += 1 + nth / 40) {
    fail_allocation(nth);
    const bool answered = answers(engine, request, expected);
    const bool reached = allocation_has_failed();
    fail_allocation(0);
    if (!reached) break;
    ++tried;
    refused += answered ? 0 : 1;
    expect_in_order(engine);
    ASSERT_TRUE(answers(engine, request, expected)) << nth;
  }
  EXPECT_GT(tried, 50);
  EXPECT_GT(refused, 10);
}

class FaultsOf : public ::testing::TestWithParam<const char*> {};

TEST_P(FaultsOf, EachFailsItsRequestAlone) {
  const auto engine = load(GetParam());
  GenerateRequest request = request_for(1, 60, 8);
  request.num_choices = 2;
  request.lookup_tokens = 4;
  fail_each(*engine, request);
}

INSTANTIATE_TEST_SUITE_P(Families, FaultsOf,
                         ::testing::Values("text/qwen3", "text/exaone4_hybrid", "text/exaone_moe",
                                           "text/deepseek_v3", "text/qwen3_next"));

TEST(Faults, OfADraft) {
  const auto engine = load("text/exaone4_hybrid", "text/exaone4_hybrid");
  fail_each(*engine, request_for(2, 50, 12));
}

TEST(Faults, OfAnEncoder) {
  const auto engine = load("grid/qwen2_vl");
  GenerateRequest request = request_for(1, 2, 4);
  request.input_ids = {1, 9, 152};
  request.input_ids.insert(request.input_ids.end(), 3 * 5, 150);
  request.input_ids.insert(request.input_ids.end(), {153, 40, 41, 42});
  request.images = {noise_image(61, 100, 7)};
  fail_each(*engine, request);
}

// With several requests at once, at most one of them pays.
TEST(Faults, AmongOthers) {
  const auto engine = load("text/exaone4_hybrid");
  std::vector<GenerateRequest> requests;
  std::vector<std::vector<int32_t>> expected;
  for (unsigned i = 0; i < 4; ++i) {
    requests.push_back(request_for(i, 40 + 5 * i, 10));
    expected.push_back(engine->generate(requests.back(), {}).token_ids);
  }
  std::mt19937 random(3);
  int64_t refused = 0;
  for (int round = 0; round < 60; ++round) {
    std::vector<std::future<bool>> found;
    std::promise<void> start;
    const std::shared_future<void> go = start.get_future().share();
    for (size_t i = 0; i < requests.size(); ++i)
      found.push_back(std::async(std::launch::async, [&, i] {
        go.wait();
        return answers(*engine, requests[i], expected[i]);
      }));
    fail_allocation(1 + static_cast<int64_t>(random() % 2000));
    start.set_value();
    int64_t failed = 0;
    for (auto& answer : found) failed += answer.get() ? 0 : 1;
    fail_allocation(0);
    EXPECT_LE(failed, 1);
    refused += failed;
    expect_in_order(*engine);
  }
  EXPECT_GT(refused, 5);
}

}  // namespace
}  // namespace onnuri
