// A smaller model that guesses: answers are those of the larger one alone, to the last bit.
#include <gtest/gtest.h>

#include <future>
#include <random>

#include "core/json.h"
#include "onnuri/engine.h"
#include "onnuri/error.h"

namespace onnuri {
namespace {

std::string golden(const std::string& folder) {
  return std::string(ONNURI_TEST_DATA) + "/golden/text/" + folder;
}

std::unique_ptr<Engine> load(const std::string& folder, const std::string& draft,
                             int64_t draft_tokens = 4) {
  EngineOptions options;
  options.compute_dtype = "float32";
  options.num_threads = 2;
  options.context_size = 256;
  options.prefill_chunk = 24;
  if (!draft.empty()) options.draft_model = golden(draft);
  options.draft_tokens = draft_tokens;
  return Engine::load(golden(folder), options);
}

GenerateRequest request_for(unsigned seed, int64_t prompt, int64_t answer) {
  std::mt19937 random(seed);
  GenerateRequest request;
  for (int64_t i = 0; i < prompt; ++i)
    request.input_ids.push_back(3 + static_cast<int32_t>(random() % 50));
  request.max_new_tokens = answer;
  request.ignore_eos = true;
  request.top_logprobs = 0;
  return request;
}

void expect_same(const GenerateResult& found, const GenerateResult& alone) {
  EXPECT_EQ(found.token_ids, alone.token_ids);
  ASSERT_EQ(found.logprobs.size(), alone.logprobs.size());
  for (size_t i = 0; i < found.logprobs.size(); ++i)
    EXPECT_EQ(found.logprobs[i].chosen.logprob, alone.logprobs[i].chosen.logprob) << i;
}

struct Pair {
  const char* model;
  const char* draft;
  bool agrees;  // it is the same model
};

class ModelDraftOf : public ::testing::TestWithParam<Pair> {};

TEST_P(ModelDraftOf, AnswersAreThoseOfTheModelAlone) {
  const auto alone = load(GetParam().model, "");
  for (const int64_t tokens : {1, 4, 20}) {
    SCOPED_TRACE(tokens);
    const auto helped = load(GetParam().model, GetParam().draft, tokens);
    for (unsigned seed = 0; seed < 4; ++seed) {
      GenerateRequest request = request_for(seed, 10 + 40 * seed, 50);
      if (seed == 2) request.sampling.temperature = 0.8f;
      if (seed == 3) request.num_choices = 2;
      const GenerateResult found = helped->generate(request, {});
      const GenerateResult expected = alone->generate(request, {});
      expect_same(found, expected);
      ASSERT_EQ(found.more_choices.size(), expected.more_choices.size());
      for (size_t i = 0; i < found.more_choices.size(); ++i)
        EXPECT_EQ(found.more_choices[i].token_ids, expected.more_choices[i].token_ids);
      EXPECT_GT(found.usage.draft_tokens, 0);
      EXPECT_LE(found.usage.accepted_tokens, found.usage.draft_tokens);
      if (GetParam().agrees && seed < 2) {
        EXPECT_GT(found.usage.accepted_tokens * 10, found.usage.draft_tokens * 9);
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Pairs, ModelDraftOf,
                         ::testing::Values(Pair{"qwen3", "qwen3", true},
                                           Pair{"gemma3", "gemma3", true},
                                           Pair{"exaone4_hybrid", "exaone4_hybrid", true},
                                           Pair{"exaone_moe", "exaone4_hybrid", false}));

TEST(ModelDraft, ServesManyRequestsAtOnce) {
  const auto alone = load("exaone4_hybrid", "");
  const auto helped = load("exaone4_hybrid", "exaone4_hybrid");
  std::vector<std::future<GenerateResult>> found;
  for (unsigned i = 0; i < 8; ++i)
    found.push_back(std::async(std::launch::async, [&helped, i] {
      int64_t left = i % 4 == 3 ? 5 : 1000;  // some are stopped on their way
      return helped->generate(request_for(i, 60, 30),
                              [&](const TokenEvent&) { return --left > 0; });
    }));
  for (unsigned i = 0; i < 8; ++i) {
    const GenerateResult result = found[i].get();
    if (i % 4 != 3) expect_same(result, alone->generate(request_for(i, 60, 30), {}));
  }
  expect_same(helped->generate(request_for(1, 60, 30), {}),
              alone->generate(request_for(1, 60, 30), {}));
}

TEST(ModelDraft, OtherVocabulariesAreRefused) {
  const auto expect_refused = [](const std::string& model, const std::string& draft, int64_t tokens,
                                 ErrorCode code) {
    try {
      load(model, draft, tokens);
      ADD_FAILURE() << "expected a refusal of " << draft;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), code) << error.what();
    }
  };
  expect_refused("qwen3", "deepseek_v3_none", 4, ErrorCode::kNotFound);
  expect_refused("qwen3", "qwen3", 0, ErrorCode::kInvalidArgument);
}

}  // namespace
}  // namespace onnuri
