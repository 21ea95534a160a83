// Vocabularies from strangers: each broken file gives one clear error, never a crash or a hang.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "fusion/piece_trie.h"
#include "fusion/regex.h"
#include "fusion/sentencepiece_check.h"
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

// A character map whose trie points outside itself, or is cut short, replaces nothing.
TEST(HostileGguf, CharacterMaps) {
  JsonValue m = pieces();
  m.set("tokenizer.ggml.model", "t5");
  EXPECT_EQ(load_tokenizer_from_gguf(m)->encode("ab", false, false).back(), 5);
  m.set("tokenizer.ggml.precompiled_charsmap", numbers({1, 2}));
  expect_refused(m, ErrorCode::kCorruptData, "precompiled_charsmap");
  m.set("tokenizer.ggml.precompiled_charsmap", numbers({255, 255, 255, 255, 0}));
  expect_refused(m, ErrorCode::kCorruptData, "precompiled_charsmap");
  JsonValue::Array wild = numbers({16, 0, 0, 0});
  for (int i = 0; i < 16; ++i) wild.emplace_back(255);
  m.set("tokenizer.ggml.precompiled_charsmap", wild);
  EXPECT_EQ(load_tokenizer_from_gguf(m)->encode("ab", false, false).back(), 5);
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
  expect_refused(with(R"("pre_tokenizer":{"type":"Odd"})"), unsupported, "Odd");
  expect_refused(with(R"("pre_tokenizer":{"type":"FixedLength","length":0})"),
                 ErrorCode::kCorruptData, "length");
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

TEST_F(HostileJson, AddedTokens) {
  const auto corrupt = ErrorCode::kCorruptData;
  expect_refused(with(R"("added_tokens":[{"id":2000000000,"content":"x"}])"), corrupt,
                 "2000000000");
  expect_refused(with(R"("added_tokens":[{"id":99999999999,"content":"x"}])"), corrupt,
                 "99999999999");
  expect_refused(with(R"("added_tokens":[{"id":5,"content":"x"},{"id":5,"content":"y"}])"), corrupt,
                 "id 5");
  expect_refused(with(R"("added_tokens":[{"id":5}])"), corrupt, "content");
  expect_refused(with(R"("added_tokens":[{"id":5,"content":")" + std::string(4000, 'x') + "\"}]"),
                 corrupt, "at most 1024");
  std::string many;
  for (int id = 3; id < 18'000; ++id)
    many += "{\"id\":" + std::to_string(id) + ",\"content\":\"" + std::to_string(id) +
            std::string(1000, 'x') + "\"},";
  many.pop_back();
  expect_refused(with("\"added_tokens\":[" + many + "]"), corrupt, "together");
  // The same token twice is one token, found under its last id.
  const auto tokenizer =
      load(with(R"("added_tokens":[{"id":3,"content":"xy"},{"id":4,"content":"xy"}])"));
  EXPECT_EQ(tokenizer->encode("xy", false, true).size(), 1u);
}

TEST_F(HostileJson, UnigramTables) {
  const auto corrupt = ErrorCode::kCorruptData;
  const auto unigram = [&](const std::string& vocab, const std::string& unk = "0") {
    return with("", R"({"type":"Unigram","unk_id":)" + unk + ",\"vocab\":[" + vocab + "]}");
  };
  expect_refused(unigram(R"(["a",-1])", "7"), corrupt, "unk_id");
  expect_refused(unigram(R"(["a"])"), corrupt, "score");
  expect_refused(unigram(R"(["u",0],[")" + std::string(2000, 'a') + "\",-1]"), corrupt,
                 "at most 1024");
  // Every length of one letter: the walk at a place ends with the longest token.
  std::string pieces = R"(["u",0])";
  for (size_t n = 1; n <= 300; ++n)
    pieces += ",[\"" + std::string(n, 'a') + "\"," + std::to_string(-1.0 - 1e-3 * double(n)) + "]";
  const auto tokenizer = load(unigram(pieces));
  const auto ids = tokenizer->encode(std::string(100'000, 'a'), false, false);
  EXPECT_EQ(ids.size(), (100'000u + 299) / 300);
}

class HostileFile : public testing::Test {
 protected:
  void TearDown() override { std::filesystem::remove(path_); }
  std::unique_ptr<Tokenizer> load(const std::string& extension, const std::string& bytes) {
    path_ = std::filesystem::temp_directory_path() / ("onnuri_hostile" + extension);
    std::ofstream(path_, std::ios::binary) << bytes;
    return load_tokenizer(path_.string());
  }
  void expect_refused(const std::string& extension, const std::string& bytes) {
    try {
      load(extension, bytes);
      ADD_FAILURE() << "loaded: " << bytes.substr(0, 80);
    } catch (const Error& e) {
      EXPECT_TRUE(e.code() == ErrorCode::kCorruptData || e.code() == ErrorCode::kUnsupported)
          << e.what();
    }
  }
  std::filesystem::path path_;
};

TEST_F(HostileFile, RankedTokens) {
  EXPECT_EQ(load(".tiktoken", "YQ== 0\nYg== 1\nYWI= 2\n")->encode("ab", false, false),
            std::vector<int32_t>{2});
  for (const char* text : {"", "YQ==", "YQ== x", "YQ== -1", "YQ== 99999999999", "YQ== 999999999",
                           "Y!== 0", "YQ== 0\nYg== 0", "YQ== 0 1", "\xFF\xFE 0"})
    expect_refused(".tiktoken", text);
}

TEST_F(HostileFile, Tekken) {
  const auto file = [](const std::string& config, const std::string& vocab,
                       const std::string& special = "[]") {
    return "{\"config\":{\"pattern\":\"a+\"," + config + "},\"vocab\":[" + vocab +
           "],\"special_tokens\":" + special + "}";
  };
  const std::string sizes = R"("default_vocab_size":3,"default_num_special_tokens":1)";
  const std::string a = R"({"rank":0,"token_bytes":"YQ=="})";
  EXPECT_EQ(load(".json", file(sizes, a))->encode("aa", false, false).size(), 2u);
  for (const char* bad :
       {R"("default_vocab_size":1,"default_num_special_tokens":1)",
        R"("default_vocab_size":3,"default_num_special_tokens":-1)",
        R"("default_vocab_size":9000000000,"default_num_special_tokens":8000000000)",
        R"("default_vocab_size":3)"})
    expect_refused(".json", file(bad, a));
  expect_refused(".json", file(sizes, R"({"rank":-1,"token_bytes":"YQ=="})"));
  expect_refused(".json", file(sizes, R"({"rank":2000000000,"token_bytes":"YQ=="})"));
  expect_refused(".json", file(sizes, R"({"rank":0})"));
  expect_refused(".json", file(sizes, a, R"([{"rank":1,"token_str":"x"}])"));
  expect_refused(".json", file(sizes, a, R"([{"rank":0}])"));
}

// Cut short or with wrong bytes, a model loads or is refused; what loads encodes or is refused.
TEST_F(HostileFile, SentencePieceModels) {
  std::ifstream in(std::string(ONNURI_TEST_DATA) + "/golden/tokenizer/pieces.model",
                   std::ios::binary);
  const std::string sound((std::istreambuf_iterator<char>(in)), {});
  ASSERT_GT(sound.size(), 1000u);
  expect_refused(".model", "");
  expect_refused(".model", "not a model");
  for (size_t i = 0; i < 60; ++i) {
    std::string bytes = sound;
    if (i % 3 == 0) {
      bytes.resize(sound.size() * i / 60);
    } else {
      bytes[(i * 7919) % bytes.size()] = static_cast<char>(i * 37);
      bytes[(i * 104'729) % bytes.size()] = static_cast<char>(255 - i);
    }
    try {
      const auto tokenizer = load(".model", bytes);
      tokenizer->decode(tokenizer->encode("ab \xEA\xB0\x80 <s>", true, true), false);
    } catch (const Error& e) {
      EXPECT_EQ(std::string(e.what()).find('\n'), std::string::npos) << e.what();
    }
  }
}

// Fields of a protocol buffer message; small ones only.
std::string field(int number, const std::string& bytes) {
  std::string out(1, static_cast<char>(number << 3 | 2));
  for (size_t n = bytes.size(); out.size() < 2 || n > 0; n >>= 7)
    out += static_cast<char>((n & 0x7F) | (n > 0x7F ? 0x80 : 0));
  return out + bytes;
}

TEST(SentencePieceCheck, CharacterMapsStayInside) {
  const std::string path = std::string(ONNURI_TEST_DATA) + "/golden/tokenizer/rare_pieces.model";
  std::ifstream in(path, std::ios::binary);
  const std::string sound((std::istreambuf_iterator<char>(in)), {});
  EXPECT_NO_THROW(check_sentencepiece_model(sound, "test"));
  const auto refused = [](const std::string& model) {
    EXPECT_THROW(check_sentencepiece_model(model, "test"), Error);
  };
  refused("\xFF");
  refused(field(3, "\x12"));
  refused(field(3, field(2, "abc")));
  refused(field(3, field(2, std::string("\x10\0\0\0", 4) + std::string(16, '\xFF'))));
  const auto map = [](const std::string& units, const std::string& texts) {
    const size_t n = units.size();
    std::string size = {static_cast<char>(n & 0xFF), static_cast<char>(n >> 8), 0, 0};
    return field(3, field(2, size + units + texts));
  };
  // A root whose children are at 0 to 255, one of them for "a".
  std::string units(2048, '\0');
  units['a' * 4] = 'a';
  units['a' * 4 + 1] = '\x85';  // a value, at the root's unit: 'a' ^ 'a'
  units['a' * 4 + 2] = 1;
  EXPECT_NO_THROW(check_sentencepiece_model(map(units, std::string("b\0", 2)), "test"));
  refused(map(units, "b"));  // no end
  refused(map(units, ""));
  refused(map(units.substr(0, 512), std::string("b\0", 2)));  // children beyond the array
  units[0] = 5;  // the value: beyond the texts (and the root's base stays 0)
  refused(map(units, std::string("b\0", 2)));
  units[0] = 0;
  units['a' * 4 + 2] = '\xFF';  // links far away
  refused(map(units, std::string("b\0", 2)));
}

TEST(PieceTrie, FindsAllThatBeginAtAPlace) {
  const PieceTrie trie({{"ab", 1}, {"a", 0}, {"abcd", 2}, {"b", 3}, {"\xEA\xB0\x80", 4}});
  const auto at = [&](std::string_view text, size_t pos) {
    std::vector<std::pair<size_t, int32_t>> out;
    trie.walk(text, pos, [&](size_t end, int32_t id) { out.emplace_back(end, id); });
    return out;
  };
  using Found = std::vector<std::pair<size_t, int32_t>>;
  EXPECT_EQ(at("abcd", 0), (Found{{1, 0}, {2, 1}, {4, 2}}));
  EXPECT_EQ(at("abcd", 1), (Found{{2, 3}}));
  EXPECT_EQ(at("abc", 2), Found{});
  EXPECT_EQ(at("x\xEA\xB0\x80", 1), (Found{{4, 4}}));
  EXPECT_EQ(at("", 0), Found{});
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
