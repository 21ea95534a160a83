// Prompts that begin alike: what is taken over has the bits of what is computed again.
#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <random>
#include <sstream>

#include "core/json.h"
#include "engine/prompt_memory.h"
#include "onnuri/engine.h"
#include "onnuri/error.h"
#include "tests/encoders/signal.h"
#include "tests/support/noise_image.h"

namespace onnuri {
namespace {

std::unique_ptr<Engine> load(const std::string& folder, bool keeps,
                             const std::string& compute = "float32",
                             const std::string& kv_dtype = "") {
  EngineOptions options;
  options.compute_dtype = compute;
  options.kv_dtype = kv_dtype;
  options.num_threads = 2;
  options.context_size = 512;
  options.prefill_chunk = 24;
  options.prefix_caching = keeps;
  return Engine::load(std::string(ONNURI_TEST_DATA) + "/golden/" + folder, options);
}

GenerateRequest request_for(std::vector<int32_t> ids, int64_t answer = 6) {
  GenerateRequest request;
  request.input_ids = std::move(ids);
  request.max_new_tokens = answer;
  request.ignore_eos = true;
  request.top_logprobs = 5;
  return request;
}

/// Equal tokens, and log-probabilities equal to the last bit.
void expect_same(const GenerateResult& found, const GenerateResult& fresh) {
  EXPECT_EQ(found.token_ids, fresh.token_ids);
  ASSERT_EQ(found.logprobs.size(), fresh.logprobs.size());
  for (size_t i = 0; i < found.logprobs.size(); ++i) {
    const StepLogProbs &a = found.logprobs[i], &b = fresh.logprobs[i];
    EXPECT_EQ(std::memcmp(&a.chosen.logprob, &b.chosen.logprob, sizeof a.chosen.logprob), 0) << i;
    ASSERT_EQ(a.top.size(), b.top.size());
    for (size_t k = 0; k < a.top.size(); ++k) {
      EXPECT_EQ(a.top[k].token_id, b.top[k].token_id);
      EXPECT_EQ(a.top[k].logprob, b.top[k].logprob);
    }
  }
}

struct Model {
  const char* folder;
  bool takes_answers;  // the next turn takes over the answer too
};

std::ostream& operator<<(std::ostream& out, const Model& model) { return out << model.folder; }

class PromptMemoryOf : public ::testing::TestWithParam<Model> {
 protected:
  static std::vector<int32_t> random_ids(int64_t count, std::mt19937& random) {
    std::uniform_int_distribution<int32_t> id(3, 60);
    std::vector<int32_t> out;
    for (int64_t i = 0; i < count; ++i) out.push_back(id(random));
    return out;
  }
};

TEST_P(PromptMemoryOf, TheNextTurnComputesWhatIsNew) {
  for (const char* compute : {"float32", "auto"}) {
    SCOPED_TRACE(compute);
    const auto kept = load(GetParam().folder, true, compute);
    const auto fresh = load(GetParam().folder, false, compute);
    std::mt19937 random(7);
    std::vector<int32_t> ids = random_ids(50, random);
    for (int turn = 0; turn < 4; ++turn) {
      SCOPED_TRACE(turn);
      const GenerateResult a = kept->generate(request_for(ids), {});
      const GenerateResult b = fresh->generate(request_for(ids), {});
      expect_same(a, b);
      EXPECT_EQ(b.usage.reused_tokens, 0);
      if (turn == 0) {
        EXPECT_EQ(a.usage.reused_tokens, 0);
      } else if (GetParam().takes_answers) {
        // All of the turn before but the last token of its answer.
        EXPECT_EQ(a.usage.reused_tokens, static_cast<int64_t>(ids.size()) - 10);
      }
      ids.insert(ids.end(), a.token_ids.begin(), a.token_ids.end());
      const std::vector<int32_t> question = random_ids(9, random);
      ids.insert(ids.end(), question.begin(), question.end());
    }
  }
}

// Random prompts that share beginnings of random lengths with the one before.
TEST_P(PromptMemoryOf, AnyBeginningGivesTheSameBits) {
  const auto kept = load(GetParam().folder, true);
  const auto fresh = load(GetParam().folder, false);
  std::mt19937 random(11);
  std::vector<int32_t> before = random_ids(60, random);
  int64_t reused = 0;
  for (int round = 0; round < 25; ++round) {
    SCOPED_TRACE(round);
    const size_t shared = random() % (before.size() + 1);
    std::vector<int32_t> ids(before.begin(), before.begin() + static_cast<std::ptrdiff_t>(shared));
    const std::vector<int32_t> rest =
        random_ids(static_cast<int64_t>(random() % 70) + (shared == 0), random);
    ids.insert(ids.end(), rest.begin(), rest.end());
    GenerateRequest request = request_for(ids, static_cast<int64_t>(random() % 5) + 1);
    request.num_choices = random() % 4 == 0 ? 2 : 1;
    request.sampling.temperature = random() % 2 == 0 ? 0.0f : 1.0f;
    request.sampling.seed = round;
    request.lookup_tokens = random() % 3 == 0 ? 4 : 0;
    const GenerateResult found = kept->generate(request, {});
    expect_same(found, fresh->generate(request, {}));
    reused += found.usage.reused_tokens;
    EXPECT_LT(found.usage.reused_tokens, static_cast<int64_t>(ids.size()));
    before = ids;
    before.insert(before.end(), found.token_ids.begin(), found.token_ids.end());
    if (round % 6 == 5) kept->logits(random_ids(20, random), {}, {});  // takes the cache away
  }
  // Latent attention takes over blocks of 512, of which there are none here.
  EXPECT_EQ(reused > 0, GetParam().takes_answers);
}

INSTANTIATE_TEST_SUITE_P(
    Families, PromptMemoryOf,
    ::testing::Values(Model{"text/qwen3", true}, Model{"text/qwen3_moe", true},
                      Model{"text/qwen3_next", true}, Model{"text/qwen3_5", true},
                      Model{"text/gemma3", true}, Model{"text/exaone4_hybrid", true},
                      Model{"text/gpt_oss", true}, Model{"text/exaone_moe", true},
                      Model{"text/deepseek_v3", false}, Model{"text/axk2", false}));

TEST(PromptMemory, KeepsEveryTypeOfKeys) {
  std::vector<int32_t> ids(40);
  for (size_t i = 0; i < ids.size(); ++i) ids[i] = static_cast<int32_t>(3 + i * 7 % 50);
  for (const char* type : {"f32", "f16", "bf16", "int8", "fp8", "int4"}) {
    SCOPED_TRACE(type);
    const auto kept = load("text/exaone4_hybrid", true, "float32", type);
    const auto fresh = load("text/exaone4_hybrid", false, "float32", type);
    kept->generate(request_for({ids.begin(), ids.begin() + 30}, 1), {});
    const GenerateResult found = kept->generate(request_for(ids), {});
    EXPECT_EQ(found.usage.reused_tokens, 30);
    expect_same(found, fresh->generate(request_for(ids), {}));
  }
}

TEST(PromptMemory, LatentsAreTakenOverInBlocks) {
  EngineOptions options;
  options.compute_dtype = "float32";
  options.context_size = 2048;
  // The stored checkpoint ends at 512 positions.
  const std::filesystem::path folder =
      std::filesystem::path(::testing::TempDir()) / "onnuri_latent_blocks";
  std::filesystem::remove_all(folder);
  std::filesystem::copy(std::string(ONNURI_TEST_DATA) + "/golden/text/deepseek_v3", folder);
  std::stringstream config;
  config << std::ifstream(folder / "config.json").rdbuf();
  std::string text = config.str();
  const std::string key = "\"max_position_embeddings\": ";
  const size_t at = text.find(key) + key.size();
  text.replace(at, text.find_first_not_of("0123456789", at) - at, "2048");
  std::ofstream(folder / "config.json") << text;
  const auto kept = Engine::load(folder, options);
  options.prefix_caching = false;
  const auto fresh = Engine::load(folder, options);
  std::filesystem::remove_all(folder);
  std::vector<int32_t> ids(1300);
  for (size_t i = 0; i < ids.size(); ++i) ids[i] = static_cast<int32_t>(3 + i * 13 % 50);
  kept->generate(request_for({ids.begin(), ids.begin() + 1100}), {});
  const GenerateResult longer = kept->generate(request_for(ids), {});
  EXPECT_EQ(longer.usage.reused_tokens, 1024);
  EXPECT_EQ(longer.usage.reused_latent, 1024);
  EXPECT_EQ(longer.usage.reused_full, 0);
  EXPECT_NE(longer.usage.reuse_note.find("blocks"), std::string::npos) << longer.usage.reuse_note;
  expect_same(longer, fresh->generate(request_for(ids), {}));
  // Shorter than what was kept: the end of a prompt reads otherwise than its middle.
  const std::vector<int32_t> shorter(ids.begin(), ids.begin() + 1025);
  const GenerateResult part = kept->generate(request_for(shorter), {});
  EXPECT_EQ(part.usage.reused_tokens, 1024);
  expect_same(part, fresh->generate(request_for(shorter), {}));
  const std::vector<int32_t> edge(ids.begin(), ids.begin() + 1024);
  const GenerateResult less = kept->generate(request_for(edge), {});
  EXPECT_EQ(less.usage.reused_tokens, 512);
  expect_same(less, fresh->generate(request_for(edge), {}));
}

TEST(PromptMemory, TenantsShareNothing) {
  const auto engine = load("text/qwen3", true);
  GenerateRequest request = request_for({5, 6, 7, 8, 9, 10});
  request.tenant = "a";
  engine->generate(request, {});
  request.tenant = "b";
  const Usage other = engine->generate(request, {}).usage;
  EXPECT_EQ(other.reused_tokens, 0);
  EXPECT_NE(other.reuse_note.find("tenant"), std::string::npos) << other.reuse_note;
  EXPECT_EQ(engine->generate(request, {}).usage.reused_tokens, 5);
}

TEST(PromptMemory, SaysWhyNotMore) {
  const auto engine = load("text/qwen3", true);
  EXPECT_EQ(engine->generate(request_for({5, 6, 7, 8}), {}).usage.reuse_note, "nothing was kept");
  EXPECT_EQ(engine->generate(request_for({5, 6, 9, 8}), {}).usage.reuse_note,
            "the text differs from token 2 on");
  EXPECT_EQ(engine->generate(request_for({5, 6, 9, 8}), {}).usage.reuse_note, "");
  const auto off = load("text/qwen3", false);
  EXPECT_EQ(off->generate(request_for({5, 6}), {}).usage.reuse_note, "prefix caching is off");
}

TEST(PromptMemory, StoppedRequestsLeaveWhatTheyRead) {
  const auto kept = load("text/exaone4_hybrid", true);
  const auto fresh = load("text/exaone4_hybrid", false);
  std::vector<int32_t> ids(100);
  for (size_t i = 0; i < ids.size(); ++i) ids[i] = static_cast<int32_t>(3 + i * 11 % 50);
  int64_t events = 0;
  kept->generate(request_for(ids), [&](const TokenEvent&) { return ++events < 2; });
  const GenerateResult found = kept->generate(request_for(ids), {});
  EXPECT_EQ(found.usage.reused_tokens, 48);  // two chunks
  expect_same(found, fresh->generate(request_for(ids), {}));
  // A request that fails takes nothing with it that the next one would miss.
  GenerateRequest wrong = request_for(ids);
  wrong.input_ids[3] = 1 << 30;
  EXPECT_THROW(kept->generate(wrong, {}), Error);
  EXPECT_THROW(kept->generate(request_for(ids),
                              [](const TokenEvent&) -> bool { throw std::runtime_error("no"); }),
               std::runtime_error);
  expect_same(kept->generate(request_for(ids), {}), fresh->generate(request_for(ids), {}));
}

// Many texts that begin alike in many places, in a cache that cannot hold them all: whatever is
// found again changes no bit.
TEST_P(PromptMemoryOf, ManyTextsAreFoundAgain) {
  const auto kept = load(GetParam().folder, true), fresh = load(GetParam().folder, false);
  std::mt19937 random(31);
  std::vector<std::vector<int32_t>> texts;
  int64_t reused = 0;
  for (int i = 0; i < 40; ++i) {
    std::vector<int32_t> ids;
    if (!texts.empty() && random() % 4 != 0) {
      const auto& other = texts[random() % texts.size()];
      ids.assign(other.begin(),
                 other.begin() + static_cast<std::ptrdiff_t>(random() % other.size()));
    }
    const std::vector<int32_t> more = random_ids(1 + static_cast<int64_t>(random() % 70), random);
    ids.insert(ids.end(), more.begin(), more.end());
    if (ids.size() > 200) ids.resize(200);
    const GenerateRequest request = request_for(ids, 1 + static_cast<int64_t>(random() % 8));
    const GenerateResult found = kept->generate(request, {});
    expect_same(found, fresh->generate(request, {}));
    reused += found.usage.reused_tokens;
    const JsonValue counts = parse_json(kept->metrics_json(), "metrics");  // checks its books too
    EXPECT_EQ(counts.at("requests", "metrics").as_int("requests"), 0);
    texts.push_back(ids);
  }
  if (GetParam().takes_answers) {
    EXPECT_GT(reused, 100);
  }
}

// With room for all, and no window layers, every beginning that was ever read is found again.
TEST(PromptMemory, AnyBeginningIsFound) {
  EngineOptions options;
  options.compute_dtype = "float32";
  options.context_size = 512;
  options.prefill_chunk = 24;
  options.kv_cache_tokens = 1 << 15;
  const std::string path = std::string(ONNURI_TEST_DATA) + "/golden/text/qwen3";
  const auto kept = Engine::load(path, options);
  std::mt19937 random(12);
  std::vector<std::vector<int32_t>> known;
  for (int i = 0; i < 60; ++i) {
    std::vector<int32_t> ids;
    if (!known.empty() && random() % 5 != 0) {
      const auto& other = known[random() % known.size()];
      ids.assign(other.begin(),
                 other.begin() + static_cast<std::ptrdiff_t>(random() % other.size()));
    }
    for (uint32_t more = 1 + static_cast<uint32_t>(random() % 60); more > 0; --more)
      ids.push_back(3 + static_cast<int32_t>(random() % 50));
    if (ids.size() > 400) ids.resize(400);
    size_t longest = 0;
    for (const auto& other : known) {
      const auto [at, unused] = std::mismatch(ids.begin(), ids.end(), other.begin(), other.end());
      longest = std::max(longest, static_cast<size_t>(at - ids.begin()));
    }
    const GenerateResult found =
        kept->generate(request_for(ids, 1 + static_cast<int64_t>(random() % 8)), {});
    EXPECT_EQ(found.usage.reused_tokens, static_cast<int64_t>(std::min(longest, ids.size() - 1)))
        << i;
    EXPECT_EQ(found.usage.reused_full, found.usage.reused_tokens);
    EXPECT_EQ(found.usage.reused_window, 0);
    known.push_back(ids);  // and what was answered, but for the last token, which was never read
    known.back().insert(known.back().end(), found.token_ids.begin(), found.token_ids.end() - 1);
  }
}

// More texts than anybody would compare one by one.
TEST(PromptMemory, HundredsOfTextsAreFound) {
  EngineOptions options;
  options.compute_dtype = "float32";
  options.context_size = 512;
  options.kv_cache_tokens = 1 << 16;
  const auto kept = Engine::load(std::string(ONNURI_TEST_DATA) + "/golden/text/qwen3", options);
  const auto text = [](int32_t number) {
    std::vector<int32_t> ids = {1, 2, 3, 4, 5};  // how all of them begin
    for (int32_t i = 0; i < 60; ++i) ids.push_back(3 + (number * 31 + i * (number % 7 + 1)) % 250);
    return ids;
  };
  for (int32_t i = 0; i < 400; ++i) kept->generate(request_for(text(i), 1), {});
  for (int32_t i = 0; i < 400; ++i)
    EXPECT_EQ(kept->generate(request_for(text(i), 1), {}).usage.reused_tokens, 64) << i;
}

// What nobody else holds goes first; and whoever comes back is told.
TEST(PromptMemory, SaysWhatHasGivenWay) {
  EngineOptions options;
  options.compute_dtype = "float32";
  options.context_size = 512;
  const auto kept = Engine::load(std::string(ONNURI_TEST_DATA) + "/golden/text/qwen3", options);
  const auto text = [](int32_t number) { return std::vector<int32_t>(200, 3 + number); };
  for (int32_t i = 0; i < 4; ++i) kept->generate(request_for(text(i), 1), {});
  const Usage usage = kept->generate(request_for(text(0), 1), {}).usage;
  EXPECT_EQ(usage.reused_tokens, 0);
  EXPECT_NE(usage.reuse_note.find("given way"), std::string::npos) << usage.reuse_note;
  EXPECT_NE(usage.reuse_note.find("192"), std::string::npos) << usage.reuse_note;
}

// A, then B, then A again: what A left is still there. A beginning that two texts share is known,
// at the latest, when a third one comes.
TEST_P(PromptMemoryOf, OthersInBetweenDoNoHarm) {
  if (!GetParam().takes_answers) GTEST_SKIP() << "takes over whole blocks, or nothing";
  const auto kept = load(GetParam().folder, true);
  std::mt19937 random(8);
  const std::vector<int32_t> a = random_ids(60, random), b = random_ids(60, random);
  kept->generate(request_for(a), {});
  kept->generate(request_for(b), {});
  EXPECT_EQ(kept->generate(request_for(a), {}).usage.reused_tokens, 59);
  EXPECT_EQ(kept->generate(request_for(b), {}).usage.reused_tokens, 59);
  const std::vector<int32_t> system = random_ids(50, random);
  for (int i = 0; i < 4; ++i) {
    std::vector<int32_t> ids = system;
    ids.push_back(3 + i);
    for (const int32_t id : random_ids(30, random)) ids.push_back(id);
    const int64_t reused = kept->generate(request_for(ids, 40), {}).usage.reused_tokens;
    if (i >= 2) {
      EXPECT_GE(reused, 50) << i;
    }
  }
}

TEST(PromptMemory, SnapshotsKeepToTheirBudget) {
  EngineOptions options;
  options.compute_dtype = "float32";
  options.context_size = 512;
  options.prefill_chunk = 24;
  options.prefix_snapshot_bytes = 200000;
  const std::string path = std::string(ONNURI_TEST_DATA) + "/golden/text/exaone4_hybrid";
  const auto engine = Engine::load(path, options);
  for (int32_t i = 0; i < 20; ++i) {
    std::vector<int32_t> ids(50, 3 + i);
    engine->generate(request_for(ids), {});
    const JsonValue counts = parse_json(engine->metrics_json(), "metrics");
    EXPECT_LE(counts.at("prefix_snapshot_bytes", "metrics").as_int("bytes"), 200000);
    EXPECT_GT(counts.at("prefix_entries", "metrics").as_int("entries"), 0);
  }
  options.prefix_snapshot_bytes = 0;
  const auto none = Engine::load(path, options);
  none->generate(request_for({5, 6, 7}), {});
  EXPECT_EQ(none->generate(request_for({5, 6, 7}), {}).usage.reused_tokens, 0);
}

class PromptMemoryOfMedia : public ::testing::TestWithParam<const char*> {};

// The same ids with another picture in front: nothing behind it is taken over.
TEST_P(PromptMemoryOfMedia, PicturesAreKnownByTheirContent) {
  const std::string folder = std::string("grid/") + GetParam();
  const auto kept = load(folder, true), fresh = load(folder, false);
  const bool large = std::string(GetParam()) == "qwen2_vl";
  const auto tokens = static_cast<size_t>(large ? 3 * 5 : 4 * 6);
  std::vector<int32_t> ids = {1, 9, 152};
  ids.insert(ids.end(), tokens, 150);
  ids.insert(ids.end(), {153, 40, 41, 42});
  GenerateRequest request = request_for(ids);
  request.images = {noise_image(61, 100, 1001)};
  expect_same(kept->generate(request, {}), fresh->generate(request, {}));
  const auto same = kept->generate(request, {});
  EXPECT_EQ(same.usage.reused_tokens, static_cast<int64_t>(ids.size()) - 1);
  request.images = {noise_image(61, 100, 1002)};
  const GenerateResult other = kept->generate(request, {});
  EXPECT_EQ(other.usage.reused_tokens, 3);
  EXPECT_NE(other.usage.reuse_note.find("media"), std::string::npos) << other.usage.reuse_note;
  expect_same(other, fresh->generate(request, {}));
  // The next turn, with one more picture.
  request.images.push_back(noise_image(61, 100, 1003));
  request.input_ids.insert(request.input_ids.end(), ids.begin() + 2, ids.end());
  const GenerateResult next = kept->generate(request, {});
  EXPECT_EQ(next.usage.reused_tokens, static_cast<int64_t>(ids.size()));
  expect_same(next, fresh->generate(request, {}));
}

INSTANTIATE_TEST_SUITE_P(Families, PromptMemoryOfMedia,
                         ::testing::Values("qwen2_vl", "qwen3_vl", "qwen3_omni"));

// Tokens of a picture that see each other are taken over together or not at all.
TEST(PromptMemory, RunsThatSeeAheadAreNotCut) {
  const auto kept = load("vision/gemma3_vision", true), fresh = load("vision/gemma3_vision", false);
  const FloatMatrix rows = fresh->encode_image(noise_image(50, 60, 5));
  std::vector<int32_t> ids = {1, 17, 152};
  ids.insert(ids.end(), static_cast<size_t>(rows.rows), 150);
  ids.insert(ids.end(), {153, 30, 31});
  GenerateRequest request = request_for(ids, 2);
  request.images = {noise_image(50, 60, 5)};
  expect_same(kept->generate(request, {}), fresh->generate(request, {}));
  request.input_ids.back() = 32;
  const GenerateResult found = kept->generate(request, {});
  EXPECT_EQ(found.usage.reused_tokens, static_cast<int64_t>(ids.size()) - 1);
  expect_same(found, fresh->generate(request, {}));
}

TEST(PromptMemory, SoundsAreKnownByTheirContent) {
  const auto kept = load("hearing/qwen2_5_omni", true), fresh = load("hearing/qwen2_5_omni", false);
  const Waveform one{16000, golden_signal(16000)};
  const int64_t tokens = fresh->encode_audio(one).rows;
  GenerateRequest request = request_for({5, 61}, 3);
  request.input_ids.insert(request.input_ids.end(), static_cast<size_t>(tokens), 60);
  request.input_ids.insert(request.input_ids.end(), {62, 7});
  request.audios = {one};
  kept->generate(request, {});
  EXPECT_EQ(kept->generate(request, {}).usage.reused_tokens, tokens + 3);
  request.audios[0].samples[800] += 0.1f;
  const GenerateResult other = kept->generate(request, {});
  EXPECT_EQ(other.usage.reused_tokens, 2);
  expect_same(other, fresh->generate(request, {}));
}

}  // namespace
}  // namespace onnuri
