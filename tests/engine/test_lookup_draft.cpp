// Guesses from repeats, and that answers do not depend on them.
#include <gtest/gtest.h>

#include "engine/lookup_draft.h"
#include "onnuri/engine.h"
#include "onnuri/error.h"

namespace onnuri {
namespace {

std::vector<int32_t> guesses(LookupDraft& draft, int64_t room) {
  const auto found = draft.propose(room);
  return {found.begin(), found.end()};
}

TEST(LookupDraft, GoesOnAsBefore) {
  LookupDraft draft(4);
  draft.append(std::vector<int32_t>{1, 2, 3, 4, 5, 6, 9, 2, 3});
  EXPECT_EQ(guesses(draft, 4), (std::vector<int32_t>{4, 5, 6, 9}));
  EXPECT_EQ(guesses(draft, 2), (std::vector<int32_t>{4, 5}));
  EXPECT_TRUE(guesses(draft, 0).empty());
}

TEST(LookupDraft, PrefersTheLongerThenTheLaterPlace) {
  LookupDraft draft(1);
  draft.append(std::vector<int32_t>{1, 2, 3, 4, 50, 3, 4, 60, 1, 2, 3, 4});
  EXPECT_EQ(guesses(draft, 1), (std::vector<int32_t>{50}));
  LookupDraft later(1);
  later.append(std::vector<int32_t>{3, 4, 50, 3, 4, 60, 3, 4});
  EXPECT_EQ(guesses(later, 1), (std::vector<int32_t>{60}));
}

TEST(LookupDraft, RepeatsWithinItsGuesses) {
  LookupDraft draft(6);
  draft.append(std::vector<int32_t>{7, 8, 7, 8});
  EXPECT_EQ(guesses(draft, 5), (std::vector<int32_t>{7, 8, 7, 8, 7}));
}

TEST(LookupDraft, KnowsNothingOfNewTexts) {
  LookupDraft draft(4);
  EXPECT_TRUE(guesses(draft, 4).empty());
  draft.append(std::vector<int32_t>{1, 2, 3, 4, 5});
  EXPECT_TRUE(guesses(draft, 4).empty());
}

TEST(LookupDraft, GuessesLessAfterFailures) {
  LookupDraft draft(8);
  draft.append(std::vector<int32_t>{1, 2, 3, 4, 5, 6, 7, 8, 9, 1, 2});
  const std::vector<size_t> expected = {8, 4, 2, 1};
  for (const size_t count : expected) {
    EXPECT_EQ(guesses(draft, 8).size(), count);
    draft.report(static_cast<int64_t>(count), 0);
  }
  for (int i = 0; i < 4; ++i) EXPECT_TRUE(guesses(draft, 8).empty());
  EXPECT_EQ(guesses(draft, 8).size(), 1U);
  draft.report(1, 1);
  EXPECT_EQ(guesses(draft, 8).size(), 2U);
}

// A format that can only repeat itself: nearly every guess is right.
TEST(LookupDraft, RightGuessesSaveSteps) {
  EngineOptions options;
  options.num_threads = 1;
  const auto engine = Engine::load(std::string(ONNURI_TEST_DATA) + "/golden/text/qwen2", options);
  GenerateRequest request;
  request.prompt = "ab";
  request.format.regex = "(xyzw){20}";
  request.max_new_tokens = 100;
  request.sampling.temperature = 1;
  const GenerateResult plain = engine->generate(request, nullptr);
  request.lookup_tokens = 8;
  std::string streamed;
  const GenerateResult guessed = engine->generate(request, [&](const TokenEvent& event) {
    streamed += event.text;
    return true;
  });
  EXPECT_EQ(guessed.token_ids, plain.token_ids);
  EXPECT_EQ(guessed.text, plain.text);
  EXPECT_EQ(streamed, plain.text);
  EXPECT_EQ(plain.usage.accepted_tokens, 0);
  EXPECT_GT(guessed.usage.accepted_tokens, guessed.usage.completion_tokens / 2);
  request.lookup_tokens = 65;
  EXPECT_THROW(engine->generate(request, nullptr), Error);
}

}  // namespace
}  // namespace onnuri
