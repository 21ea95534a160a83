// Vocabularies from strangers: each broken file gives one clear error, never a crash or a hang.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "fusion/regex.h"
#include "fusion/tokenizer.h"
#include "onnuri/error.h"

namespace onnuri {
namespace {

JsonValue::Array texts(std::initializer_list<const char*> list) {
  return JsonValue::Array(list.begin(), list.end());
}
JsonValue::Array numbers(std::initializer_list<int> list) {
  return JsonValue::Array(list.begin(), list.end());
}

JsonValue pieces() {
  JsonValue m;
  m.set("tokenizer.ggml.model", "llama");
  m.set("tokenizer.ggml.tokens", texts({"<unk>", "<s>", "<0x41>", "a", "b", "ab"}));
  m.set("tokenizer.ggml.scores", numbers({0, 0, 0, -1, -2, -3}));
  m.set("tokenizer.ggml.token_type", numbers({2, 3, 6, 1, 1, 1}));
  return m;
}

JsonValue byte_level() {
  JsonValue m;
  m.set("tokenizer.ggml.model", "gpt2");
  m.set("tokenizer.ggml.pre", "gpt-2");
  m.set("tokenizer.ggml.tokens", texts({"a", "b", "ab", "<s>"}));
  m.set("tokenizer.ggml.token_type", numbers({1, 1, 1, 3}));
  m.set("tokenizer.ggml.merges", texts({"a b"}));
  return m;
}

void expect_refused(const JsonValue& metadata, ErrorCode code, const std::string& word) {
  try {
    load_tokenizer_from_gguf(metadata);
    ADD_FAILURE() << "loaded; expected an error about " << word;
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), code) << e.what();
    EXPECT_NE(std::string(e.what()).find(word), std::string::npos) << e.what();
    EXPECT_EQ(std::string(e.what()).find('\n'), std::string::npos) << e.what();
  }
}

TEST(HostileGguf, TheSoundOnesLoad) {
  EXPECT_EQ(load_tokenizer_from_gguf(byte_level())->encode("ab", false, false),
            std::vector<int32_t>{2});
  EXPECT_EQ(load_tokenizer_from_gguf(pieces())->encode("abA", false, false).back(), 2);
}

TEST(HostileGguf, ByteTokens) {
  for (const char* token : {"<0x-1>", "<0xG0>", "<0x>", "<0x100>", "", "x"}) {
    JsonValue m = pieces();
    m.set("tokenizer.ggml.tokens", texts({"<unk>", "<s>", token, "a", "b", "ab"}));
    expect_refused(m, ErrorCode::kCorruptData, "byte token");
  }
}

TEST(HostileGguf, WrongLengthsTypesAndIds) {
  JsonValue m = pieces();
  m.set("tokenizer.ggml.scores", numbers({0}));
  expect_refused(m, ErrorCode::kCorruptData, "scores");
  m = pieces();
  m.set("tokenizer.ggml.token_type", numbers({1, 1, 1, 1, 1, 99}));
  expect_refused(m, ErrorCode::kCorruptData, "token type");
  m = pieces();
  m.set("tokenizer.ggml.token_type", numbers({1}));
  expect_refused(m, ErrorCode::kCorruptData, "token types");
  for (const int64_t id : {int64_t{6}, int64_t{-2}, int64_t{1} << 40}) {
    m = pieces();
    m.set("tokenizer.ggml.bos_token_id", id);
    expect_refused(m, ErrorCode::kCorruptData, "bos_token_id");
  }
  m = pieces();
  m.set("tokenizer.ggml.tokens", "not a list");
  expect_refused(m, ErrorCode::kCorruptData, "tokens");
  expect_refused(JsonValue(JsonValue::Object{}), ErrorCode::kCorruptData, "model");
}

TEST(HostileGguf, Merges) {
  for (const char* merge : {"a c", "b a", "ab", "", " "}) {
    JsonValue m = byte_level();
    m.set("tokenizer.ggml.merges", texts({merge}));
    expect_refused(m, ErrorCode::kCorruptData, "merge");
  }
}

TEST(HostileGguf, UnknownKindsAreNamed) {
  JsonValue m = byte_level();
  m.set("tokenizer.ggml.pre", "never-heard-of");
  expect_refused(m, ErrorCode::kUnsupported, "never-heard-of");
  m = byte_level();
  m.set("tokenizer.ggml.model", "rwkv");
  expect_refused(m, ErrorCode::kUnsupported, "rwkv");
}

TEST(HostileGguf, DuplicateEmptyAndHugeTokens) {
  JsonValue m = byte_level();
  m.set("tokenizer.ggml.tokens", texts({"a", "b", "ab", "ab"}));
  EXPECT_EQ(load_tokenizer_from_gguf(m)->vocab_size(), 4);
  m.set("tokenizer.ggml.tokens", texts({"a", "b", "ab", ""}));
  EXPECT_EQ(load_tokenizer_from_gguf(m)->encode("", true, true).size(), 0u);
  JsonValue::Array tokens = texts({"a", "b", "ab"});
  tokens.emplace_back(std::string(1 << 20, 'x'));
  m.set("tokenizer.ggml.tokens", tokens);
  expect_refused(m, ErrorCode::kCorruptData, "tokens of at most");
}

class HostileJson : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = std::filesystem::temp_directory_path() /
              ("onnuri_tokenizer_" + std::to_string(reinterpret_cast<uintptr_t>(this)) +
               testing::UnitTest::GetInstance()->current_test_info()->name());
    std::filesystem::create_directories(folder_);
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  std::unique_ptr<Tokenizer> load(const std::string& json) {
    std::ofstream(folder_ / "tokenizer.json") << json;
    return load_tokenizer(folder_.string());
  }
  void expect_refused(const std::string& json, ErrorCode code, const std::string& word) {
    try {
      load(json);
      ADD_FAILURE() << "loaded; expected an error about " << word;
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), code) << e.what();
      EXPECT_NE(std::string(e.what()).find(word), std::string::npos) << e.what();
    }
  }
  static std::string with(const std::string& members, const std::string& model = kModel) {
    return "{" + members + (members.empty() ? "" : ",") + "\"model\":" + model + "}";
  }

  static constexpr const char* kModel =
      R"({"type":"BPE","vocab":{"a":0,"b":1,"ab":2},"merges":[["a","b"]]})";
  std::filesystem::path folder_;
};

TEST_F(HostileJson, TheSoundOneLoads) {
  EXPECT_EQ(load(with(""))->encode("ab", false, false), std::vector<int32_t>{2});
}

TEST_F(HostileJson, UnknownComponentsAreNamed) {
  const auto unsupported = ErrorCode::kUnsupported;
  expect_refused(with(R"("normalizer":{"type":"Nmt"})"), unsupported, "Nmt");
  expect_refused(with(R"("pre_tokenizer":{"type":"UnicodeScripts"})"), unsupported,
                 "UnicodeScripts");
  expect_refused(with(R"("decoder":{"type":"CTC"})"), unsupported, "CTC");
  expect_refused(with(R"("post_processor":{"type":"Odd"})"), unsupported, "Odd");
  expect_refused(with("", R"({"type":"CharLevel","vocab":{}})"), unsupported, "CharLevel");
  expect_refused(with("", R"({"type":"BPE","vocab":{"a":0},"merges":[],"dropout":0.1})"),
                 unsupported, "dropout");
}

TEST_F(HostileJson, BrokenVocabularies) {
  const auto corrupt = ErrorCode::kCorruptData;
  expect_refused(with("", R"({"type":"BPE","vocab":{"a":-1},"merges":[]})"), corrupt, "id");
  expect_refused(with("", R"({"type":"BPE","vocab":{"a":4000000000},"merges":[]})"), corrupt, "id");
  expect_refused(with("", R"({"type":"BPE","vocab":{"a":0,"b":0},"merges":[]})"), corrupt, "id 0");
  expect_refused(with("", R"({"type":"BPE","vocab":{"a":0},"merges":["a"]})"), corrupt, "merge");
  expect_refused(with("", R"({"type":"BPE","vocab":{"a":0},"merges":[["a","z"]]})"), corrupt, "z");
  expect_refused(with("", R"({"type":"BPE","vocab":[],"merges":[]})"), corrupt, "model");
  expect_refused(with(R"("added_tokens":[{"id":-7,"content":"x"}])"), corrupt, "-7");
  expect_refused("{}", corrupt, "model");
  expect_refused("{", corrupt, "tokenizer.json");
}

TEST_F(HostileJson, NothingThere) {
  try {
    load_tokenizer((folder_ / "absent").string());
    ADD_FAILURE();
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::kNotFound);
  }
}

TEST_F(HostileJson, PatternsThatExplodeEnd) {
  const std::string pre =
      R"("pre_tokenizer":{"type":"Split","behavior":"Isolated","invert":false,"pattern":{"Regex":)";
  expect_refused(with(pre + R"("(unclosed"}})"), ErrorCode::kUnsupported, "expression");
  const auto tokenizer = load(with(pre + R"("(a+)+$"}})"));
  EXPECT_THROW(tokenizer->encode(std::string(5000, 'a') + "b", false, false), Error);
}

TEST(Regex, FindsMatchesFarApart) {
  const Regex regex("z+", "test");
  Regex::Matcher matcher(regex);
  const std::string text = std::string(10'000, 'a') + "zz\xEA\xB0\x80" + "z";
  size_t begin = 0;
  size_t end = 0;
  ASSERT_TRUE(matcher.find(text, 0, begin, end));
  EXPECT_EQ(begin, 10'000u);
  EXPECT_EQ(end, 10'002u);
  ASSERT_TRUE(matcher.find(text, end, begin, end));
  EXPECT_EQ(begin, 10'005u);
  EXPECT_FALSE(matcher.find(text, end, begin, end));
}

}  // namespace
}  // namespace onnuri
