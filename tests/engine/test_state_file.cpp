// Conversations that outlive their engine: the bits are those of one that never stopped.
#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <random>

#include "onnuri/engine.h"
#include "onnuri/error.h"
#include "tests/encoders/signal.h"
#include "tests/support/noise_image.h"

namespace onnuri {
namespace {

EngineOptions small_options() {
  EngineOptions options;
  options.compute_dtype = "float32";
  options.num_threads = 2;
  options.context_size = 256;
  options.prefill_chunk = 24;
  return options;
}

std::unique_ptr<Engine> load(const std::string& folder, const EngineOptions& options) {
  return Engine::load(std::string(ONNURI_TEST_DATA) + "/golden/" + folder, options);
}

GenerateRequest request_for(std::vector<int32_t> ids, int64_t answer = 6) {
  GenerateRequest request;
  request.input_ids = std::move(ids);
  request.max_new_tokens = answer;
  request.ignore_eos = true;
  request.top_logprobs = 0;
  return request;
}

std::vector<int32_t> random_ids(int64_t count, unsigned seed) {
  std::mt19937 random(seed);
  std::vector<int32_t> out;
  for (int64_t i = 0; i < count; ++i) out.push_back(3 + static_cast<int32_t>(random() % 50));
  return out;
}

void expect_same(const GenerateResult& found, const GenerateResult& fresh) {
  EXPECT_EQ(found.token_ids, fresh.token_ids);
  ASSERT_EQ(found.logprobs.size(), fresh.logprobs.size());
  for (size_t i = 0; i < found.logprobs.size(); ++i)
    EXPECT_EQ(found.logprobs[i].chosen.logprob, fresh.logprobs[i].chosen.logprob) << i;
}

/// A file of this test's own.
std::string file_of(const std::string& name) {
  const auto* test = ::testing::UnitTest::GetInstance()->current_test_info();
  std::string path = std::string(test->name()) + "_" + name;
  for (char& c : path)
    if (c == '/') c = '_';
  path = (std::filesystem::path(::testing::TempDir()) / ("onnuri_" + path)).string();
  std::filesystem::remove(path);
  return path;
}

ErrorCode code_of(const std::function<void()>& call) {
  try {
    call();
  } catch (const Error& error) {
    return error.code();
  }
  return ErrorCode::kInternal;
}

struct Case {
  const char* folder;
  const char* kv_dtype;
};

class StateOf : public ::testing::TestWithParam<Case> {};

TEST_P(StateOf, GoesOnWhereItWas) {
  EngineOptions options = small_options();
  options.kv_dtype = GetParam().kv_dtype;
  const std::string path = file_of("state");
  std::vector<int32_t> ids = random_ids(70, 3);
  GenerateResult expected;
  {
    const auto engine = load(GetParam().folder, options);
    const GenerateResult first = engine->generate(request_for(ids), {});
    ids.insert(ids.end(), first.token_ids.begin(), first.token_ids.end());
    const std::vector<int32_t> more = random_ids(9, 4);
    ids.insert(ids.end(), more.begin(), more.end());
    engine->save(path, "");
    expected = engine->generate(request_for(ids), {});
  }
  const auto engine = load(GetParam().folder, options);
  engine->restore(path);
  const GenerateResult found = engine->generate(request_for(ids), {});
  EXPECT_EQ(found.usage.reused_tokens, expected.usage.reused_tokens);
  EXPECT_GT(found.usage.reused_tokens, 70);
  expect_same(found, expected);
  options.prefix_caching = false;
  expect_same(found, load(GetParam().folder, options)->generate(request_for(ids), {}));
  std::filesystem::remove(path);
}

INSTANTIATE_TEST_SUITE_P(
    Kinds, StateOf,
    ::testing::Values(Case{"text/qwen3", ""}, Case{"text/gemma3", ""}, Case{"text/gpt_oss", ""},
                      Case{"text/exaone4_hybrid", "f16"}, Case{"text/exaone4_hybrid", "bf16"},
                      Case{"text/exaone4_hybrid", "int8"}, Case{"text/exaone4_hybrid", "fp8"},
                      Case{"text/exaone4_hybrid", "int4"}, Case{"text/exaone_moe", ""},
                      Case{"text/qwen3_next", ""}, Case{"text/qwen3_5", "int8"}));

TEST(State, BringsMediaAlong) {
  const std::string path = file_of("state");
  std::vector<int32_t> ids = {1, 9, 152};
  ids.insert(ids.end(), 4 * 6, 150);
  ids.insert(ids.end(), {153, 40, 41, 42});
  GenerateRequest request = request_for(ids);
  request.images = {noise_image(61, 100, 1001)};
  const auto engine = load("grid/qwen3_vl", small_options());
  const GenerateResult expected = engine->generate(request, {});
  engine->save(path, "");
  const auto other = load("grid/qwen3_vl", small_options());
  other->restore(path);
  const GenerateResult found = other->generate(request, {});
  EXPECT_EQ(found.usage.reused_tokens, static_cast<int64_t>(ids.size()) - 1);
  expect_same(found, expected);
  request.images = {noise_image(61, 100, 1002)};  // the same ids, another picture
  EXPECT_EQ(other->generate(request, {}).usage.reused_tokens, 3);
  std::filesystem::remove(path);
}

TEST(State, BelongsToItsTenant) {
  const std::string path = file_of("state");
  const auto engine = load("text/qwen3", small_options());
  GenerateRequest request = request_for(random_ids(30, 1));
  request.tenant = "a";
  engine->generate(request, {});
  EXPECT_EQ(code_of([&] { engine->save(path, "b"); }), ErrorCode::kNotFound);
  EXPECT_FALSE(std::filesystem::exists(path));
  engine->save(path, "a");
  const auto other = load("text/qwen3", small_options());
  other->restore(path);
  request.tenant = "b";
  EXPECT_EQ(other->generate(request, {}).usage.reused_tokens, 0);
  request.tenant = "a";
  EXPECT_EQ(other->generate(request, {}).usage.reused_tokens, 29);
  std::filesystem::remove(path);
}

TEST(State, OtherModelsAndKeysAreRefused) {
  const std::string path = file_of("state");
  const auto engine = load("text/qwen3", small_options());
  engine->generate(request_for(random_ids(30, 1)), {});
  engine->save(path, "");
  EXPECT_EQ(code_of([&] { load("text/gemma3", small_options())->restore(path); }),
            ErrorCode::kUnsupported);
  EngineOptions options = small_options();
  options.kv_dtype = "int8";
  EXPECT_EQ(code_of([&] { load("text/qwen3", options)->restore(path); }), ErrorCode::kUnsupported);
  options = small_options();
  options.context_size = 20;
  EXPECT_EQ(code_of([&] { load("text/qwen3", options)->restore(path); }), ErrorCode::kCorruptData);
  options = small_options();
  options.prefix_caching = false;
  EXPECT_EQ(code_of([&] { load("text/qwen3", options)->save(path, ""); }), ErrorCode::kUnsupported);
  EXPECT_EQ(code_of([&] { engine->restore(path + ".none"); }), ErrorCode::kNotFound);
  EXPECT_EQ(code_of([&] { engine->save("/nonexistent/state", ""); }), ErrorCode::kNotFound);
  std::filesystem::remove(path);
}

// Whatever happened to the file: an error, and an engine that goes on as if nothing had been.
TEST(State, DamageIsFound) {
  const std::string path = file_of("state"), bad = file_of("bad");
  const auto engine = load("text/exaone4_hybrid", small_options());
  const GenerateRequest request = request_for(random_ids(40, 1));
  const GenerateResult expected = engine->generate(request, {});
  engine->save(path, "");
  std::string bytes;
  {
    std::ifstream in(path, std::ios::binary);
    bytes.assign(std::istreambuf_iterator<char>(in), {});
  }
  const auto other = load("text/exaone4_hybrid", small_options());
  const auto expect_refused = [&](const std::string& text, size_t where) {
    std::ofstream(bad, std::ios::binary) << text;
    const ErrorCode code = code_of([&] { other->restore(bad); });
    EXPECT_TRUE(code == ErrorCode::kCorruptData || code == ErrorCode::kUnsupported)
        << "at " << where;
  };
  std::mt19937 random(5);
  for (int i = 0; i < 60; ++i) {
    std::string text = bytes;
    const size_t at = i < 20 ? static_cast<size_t>(i) * 7 : random() % text.size();
    text[at] = static_cast<char>(text[at] ^ (1 << (random() % 8)));
    expect_refused(text, at);
  }
  for (const size_t size : {size_t{0}, size_t{5}, size_t{16}, size_t{100}, bytes.size() - 1})
    expect_refused(bytes.substr(0, size), size);
  expect_refused(bytes + "x", bytes.size());
  const GenerateResult fresh = other->generate(request, {});
  EXPECT_EQ(fresh.usage.reused_tokens, 0);
  expect_same(fresh, expected);
  std::filesystem::remove(path);
  std::filesystem::remove(bad);
}

}  // namespace
}  // namespace onnuri
