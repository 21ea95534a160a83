// Many requests at once on one engine: each gets the answer, to the last bit, that it gets alone.
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cstring>
#include <future>
#include <mutex>
#include <random>
#include <thread>

#include "core/checkpoint.h"
#include "core/json.h"
#include "onnuri/engine.h"
#include "onnuri/error.h"
#include "tests/encoders/signal.h"
#include "tests/support/noise_image.h"
#include "tests/support/sanitized.h"

namespace onnuri {
namespace {

using namespace std::chrono_literals;

EngineOptions small_options() {
  EngineOptions options;
  options.compute_dtype = "float32";
  options.num_threads = 2;
  options.context_size = 192;
  options.prefill_chunk = 24;
  options.prefix_caching = false;
  return options;
}

std::unique_ptr<Engine> load(const std::string& folder, const EngineOptions& options) {
  return Engine::load(std::string(ONNURI_TEST_DATA) + "/golden/" + folder, options);
}

GenerateRequest request_for(std::vector<int32_t> ids, int64_t answer) {
  GenerateRequest request;
  request.input_ids = std::move(ids);
  request.max_new_tokens = answer;
  request.ignore_eos = true;
  request.top_logprobs = 3;
  return request;
}

std::vector<int32_t> random_ids(int64_t count, std::mt19937& random) {
  std::uniform_int_distribution<int32_t> id(3, 60);
  std::vector<int32_t> out;
  for (int64_t i = 0; i < count; ++i) out.push_back(id(random));
  return out;
}

void expect_same(const GenerateResult& found, const GenerateResult& alone) {
  EXPECT_EQ(found.token_ids, alone.token_ids);
  ASSERT_EQ(found.logprobs.size(), alone.logprobs.size());
  for (size_t i = 0; i < found.logprobs.size(); ++i) {
    const double a = found.logprobs[i].chosen.logprob, b = alone.logprobs[i].chosen.logprob;
    EXPECT_EQ(std::memcmp(&a, &b, sizeof a), 0) << "token " << i << ": " << a << ", " << b;
  }
}

JsonValue counts_of(Engine& engine) { return parse_json(engine.metrics_json(), "metrics"); }
int64_t count_of(const JsonValue& counts, const char* name) {
  return counts.at(name, "metrics").as_int(name);
}

/// Requests of all kinds: long and short, greedy and drawn, with guesses, and several answers.
std::vector<GenerateRequest> mixed_requests(size_t count, unsigned seed) {
  std::mt19937 random(seed);
  std::vector<GenerateRequest> out;
  for (size_t i = 0; i < count; ++i) {
    GenerateRequest request =
        request_for(random_ids(5 + static_cast<int64_t>(random() % 90), random),
                    1 + static_cast<int64_t>(random() % 40));
    request.priority = static_cast<int64_t>(random() % 3);
    request.tenant = random() % 2 == 0 ? "a" : "b";
    if (i % 3 == 1) {
      request.sampling.temperature = 0.9f;
      request.sampling.seed = i;
    }
    if (i % 4 == 2) {
      request.lookup_tokens = 6;
      for (size_t k = 0; k < 20; ++k) request.input_ids.push_back(request.input_ids[k % 4]);
    }
    if (i % 5 == 3) request.num_choices = 2;
    out.push_back(std::move(request));
  }
  return out;
}

class ManyRequests : public ::testing::TestWithParam<const char*> {};

TEST_P(ManyRequests, AnswersAreThoseOfEachAlone) {
  const std::vector<GenerateRequest> requests = mixed_requests(12, 3);
  const auto alone = load(GetParam(), small_options());
  std::vector<GenerateResult> expected;
  for (const GenerateRequest& request : requests) expected.push_back(alone->generate(request, {}));
  for (const bool keeps : {false, true}) {
    SCOPED_TRACE(keeps);
    EngineOptions options = small_options();
    options.prefix_caching = keeps;
    const auto engine = load(GetParam(), options);
    std::vector<std::future<GenerateResult>> answers;
    for (const GenerateRequest& request : requests)
      answers.push_back(std::async(std::launch::async,
                                   [&engine, &request] { return engine->generate(request, {}); }));
    for (size_t i = 0; i < requests.size(); ++i) {
      SCOPED_TRACE(i);
      const GenerateResult found = answers[i].get();
      expect_same(found, expected[i]);
      ASSERT_EQ(found.more_choices.size(), expected[i].more_choices.size());
      for (size_t k = 0; k < found.more_choices.size(); ++k)
        EXPECT_EQ(found.more_choices[k].token_ids, expected[i].more_choices[k].token_ids);
    }
    const JsonValue counts = counts_of(*engine);
    if (!keeps) {
      EXPECT_EQ(count_of(counts, "kv_pages_free"), count_of(counts, "kv_pages"));
    }
  }
}

// Four sequences of up to 155 tokens share room for 192: some have to give way and begin again.
INSTANTIATE_TEST_SUITE_P(Families, ManyRequests,
                         ::testing::Values("text/qwen3", "text/qwen3_moe", "text/gemma3",
                                           "text/exaone4_hybrid", "text/gpt_oss", "text/exaone_moe",
                                           "text/deepseek_v3", "text/axk2", "text/qwen3_next",
                                           "text/qwen3_5_moe"));

// How requests meet is up to chance: they are sent until some have met.
TEST(ManyRequestsOf, ShareTheirPasses) {
  const auto engine = load("text/qwen3", small_options());
  std::mt19937 random(4);
  const GenerateRequest request = request_for(random_ids(40, random), 100);
  int64_t largest = 0;
  for (int i = 0; i < 100 && largest < 2; ++i) {
    auto other = std::async(std::launch::async, [&] { return engine->generate(request, {}); });
    const GenerateResult found = engine->generate(request, {});
    expect_same(other.get(), found);
    largest = count_of(counts_of(*engine), "largest_batch");
  }
  EXPECT_GT(largest, 1);
}

TEST(ManyRequestsOf, Logits) {
  const auto engine = load("text/exaone4_hybrid", small_options());
  std::mt19937 random(5);
  std::vector<std::vector<int32_t>> texts;
  std::vector<FloatMatrix> expected;
  for (int i = 0; i < 6; ++i) {
    texts.push_back(random_ids(100, random));
    expected.push_back(engine->logits(texts.back(), {}, {}));
  }
  std::vector<std::future<FloatMatrix>> found;
  for (const auto& text : texts)
    found.push_back(std::async(std::launch::async, [&] { return engine->logits(text, {}, {}); }));
  std::vector<double> scores = engine->token_nll(texts[0]);
  for (size_t i = 0; i < texts.size(); ++i) EXPECT_EQ(found[i].get().values, expected[i].values);
  EXPECT_EQ(scores, engine->token_nll(texts[0]));
}

TEST(ManyRequestsOf, PicturesBesideText) {
  EngineOptions options = small_options();
  options.encoder_step_tokens = 1;
  options.encoder_cache_bytes = 0;
  const auto engine = load("grid/qwen2_vl", options);
  std::vector<GenerateRequest> requests;
  std::mt19937 random(9);
  for (int i = 0; i < 6; ++i) {
    std::vector<int32_t> ids = {1, 9, 152};
    ids.insert(ids.end(), 3 * 5, 150);
    ids.insert(ids.end(), {153, 40, 41, 42});
    requests.push_back(request_for(i % 2 == 0 ? ids : random_ids(60, random), 8));
    if (i % 2 == 0) requests.back().images = {noise_image(61, 100, static_cast<unsigned>(100 + i))};
  }
  std::vector<GenerateResult> expected;
  for (const GenerateRequest& request : requests) expected.push_back(engine->generate(request, {}));
  std::vector<std::future<GenerateResult>> found;
  for (const GenerateRequest& request : requests)
    found.push_back(std::async(std::launch::async, [&] { return engine->generate(request, {}); }));
  const FloatMatrix rows = engine->encode_image(requests[0].images[0]);
  for (size_t i = 0; i < requests.size(); ++i) expect_same(found[i].get(), expected[i]);
  EXPECT_EQ(rows.values, engine->encode_image(requests[0].images[0]).values);
}

TEST(ManyRequestsOf, SoundBesideText) {
  EngineOptions options = small_options();
  options.encoder_step_tokens = 1;
  options.encoder_cache_bytes = 0;
  const std::string folder = "hearing/qwen2_5_omni";
  const auto golden =
      Checkpoint::open(std::string(ONNURI_TEST_DATA) + "/golden/" + folder + "/golden.safetensors");
  const auto ints = [&](const std::string& name) {
    const TensorView view = golden->find(name);
    return std::vector<int32_t>(view.as<int32_t>(), view.as<int32_t>() + view.num_elements());
  };
  const auto engine = load(folder, options);
  std::vector<GenerateRequest> requests;
  std::mt19937 random(10);
  for (int i = 0; i < 6; ++i) {
    const std::string end = "_" + std::to_string(i);
    requests.push_back(request_for(i % 2 == 0 ? ints("ids" + end) : random_ids(60, random), 8));
    if (i % 2 != 0) continue;
    for (const int32_t length : ints("lengths" + end))
      requests.back().audios.push_back({16000, golden_signal(length)});
  }
  std::vector<GenerateResult> expected;
  for (const GenerateRequest& request : requests) expected.push_back(engine->generate(request, {}));
  for (int round = 0; round < 3; ++round) {
    std::vector<std::future<GenerateResult>> found;
    for (const GenerateRequest& request : requests)
      found.push_back(
          std::async(std::launch::async, [&] { return engine->generate(request, {}); }));
    for (size_t i = 0; i < requests.size(); ++i) expect_same(found[i].get(), expected[i]);
  }
}

TEST(ManyRequestsOf, OneFailsAlone) {
  const auto engine = load("text/qwen3", small_options());
  std::mt19937 random(2);
  const GenerateRequest good = request_for(random_ids(40, random), 30);
  const GenerateResult expected = engine->generate(good, {});
  std::vector<std::future<GenerateResult>> found;
  for (int i = 0; i < 4; ++i)
    found.push_back(std::async(std::launch::async, [&] { return engine->generate(good, {}); }));
  std::vector<std::future<void>> bad;
  for (int i = 0; i < 4; ++i)
    bad.push_back(std::async(std::launch::async, [&, i] {
      GenerateRequest request = good;
      if (i == 0) request.input_ids[2] = 1 << 20;
      if (i == 1) request.format.regex = "(((";
      int64_t events = 0;
      const auto listener = [&](const TokenEvent&) -> bool {
        if (i > 1 && ++events == 3) throw std::runtime_error("a listener that fails");
        return true;
      };
      EXPECT_THROW(engine->generate(request, listener), std::exception);
    }));
  for (auto& answer : bad) answer.get();
  for (auto& answer : found) expect_same(answer.get(), expected);
}

TEST(ManyRequestsOf, WhoeverIsCancelledInLineNeverBegins) {
  EngineOptions options = small_options();
  options.max_sequences = 1;
  const auto engine = load("text/qwen3", options);
  std::mt19937 random(2);
  const GenerateRequest request = request_for(random_ids(40, random), 150);
  std::promise<void> begun, may_end;
  std::atomic<bool> has_begun = false;
  auto first = std::async(std::launch::async, [&] {
    return engine->generate(request, [&](const TokenEvent&) {
      if (!has_begun.exchange(true)) {
        begun.set_value();
        may_end.get_future().wait();
      }
      return true;
    });
  });
  begun.get_future().wait();
  const GenerateResult second = engine->generate(request, [](const TokenEvent&) { return false; });
  EXPECT_EQ(second.finish_reason, "cancelled");
  EXPECT_TRUE(second.token_ids.empty());
  GenerateRequest hurried = request;
  hurried.deadline_ms = 30;
  try {
    engine->generate(hurried, {});
    ADD_FAILURE() << "expected a missed deadline";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kCancelled);
    EXPECT_NE(std::string(error.what()).find("deadline"), std::string::npos);
  }
  may_end.set_value();
  EXPECT_EQ(first.get().token_ids.size(), 150u);
}

TEST(ManyRequestsOf, AFullLineRefuses) {
  EngineOptions options = small_options();
  options.max_sequences = 1;
  options.max_queue = 1;
  const auto engine = load("text/qwen3", options);
  const GenerateRequest request = request_for({5, 6, 7}, 20);
  std::promise<void> begun, may_end;
  std::atomic<bool> has_begun = false, stands = false;
  auto first = std::async(std::launch::async, [&] {
    return engine->generate(request, [&](const TokenEvent&) {
      if (!has_begun.exchange(true)) {
        begun.set_value();
        may_end.get_future().wait();
      }
      return true;
    });
  });
  begun.get_future().wait();
  auto second = std::async(std::launch::async, [&] {
    return engine->generate(request, [&](const TokenEvent& event) {
      if (event.token_id < 0) stands = true;  // it waits
      return true;
    });
  });
  while (!stands) std::this_thread::sleep_for(1ms);
  try {
    engine->generate(request, {});
    ADD_FAILURE() << "expected a full line";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kOutOfMemory);
    EXPECT_NE(std::string(error.what()).find("queue"), std::string::npos) << error.what();
  }
  may_end.set_value();
  EXPECT_EQ(first.get().token_ids, second.get().token_ids);
}

// Two thousand requests that are stopped at random: at the end the engine is as it was.
TEST(ManyRequestsOf, ASoakLeavesNothingBehind) {
  const EngineOptions options = small_options();
  const auto engine = load("text/exaone4_hybrid", options);
  const std::vector<GenerateRequest> requests = mixed_requests(16, 11);
  std::vector<GenerateResult> expected;
  for (const GenerateRequest& request : requests) expected.push_back(engine->generate(request, {}));
  std::atomic<int64_t> done = 0, stopped = 0;
  const auto run = [&](unsigned client, int count) {
    std::mt19937 random(client);
    for (int i = 0; i < count; ++i) {
      const size_t which = random() % requests.size();
      int64_t left = random() % 3 == 0 ? static_cast<int64_t>(random() % 20) : 1 << 20;
      const GenerateResult found =
          engine->generate(requests[which], [&](const TokenEvent&) { return --left > 0; });
      if (left > 0) {
        EXPECT_EQ(found.token_ids, expected[which].token_ids);
        ++done;
      } else {
        ++stopped;
      }
    }
  };
  const auto run_all = [&](int count) {
    std::vector<std::future<void>> clients;
    for (unsigned client = 0; client < 8; ++client)
      clients.push_back(std::async(std::launch::async, run, client, count));
    for (auto& client : clients) client.get();
  };
  run_all(25);
  const int64_t before = count_of(counts_of(*engine), "memory_bytes");
  run_all(225);
  EXPECT_EQ(done.load() + stopped.load(), 2000);
  EXPECT_GT(std::min(done.load(), stopped.load()), 300);
  const JsonValue counts = counts_of(*engine);
  EXPECT_EQ(count_of(counts, "kv_pages_free"), count_of(counts, "kv_pages"));
  EXPECT_EQ(count_of(counts, "requests"), 0);
  if (!kSanitized) {
    EXPECT_LT(count_of(counts, "memory_bytes"), before + (int64_t{8} << 20));
  }
  for (size_t i = 0; i < requests.size(); ++i)
    expect_same(engine->generate(requests[i], {}), expected[i]);
}

}  // namespace
}  // namespace onnuri
