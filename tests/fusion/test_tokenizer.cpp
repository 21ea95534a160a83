// Every kind of tokenizer against the reference libraries' ids and texts
// (tests/golden/make_tokenizer_goldens.py).
#include <gtest/gtest.h>

#include <fstream>
#include <sstream>

#include "fusion/tokenizer.h"
#include "onnuri/error.h"

namespace onnuri {
namespace {

const std::string kFolder = std::string(ONNURI_TEST_DATA) + "/golden/tokenizer/";

JsonValue read(const std::string& name) {
  std::ifstream in(kFolder + name, std::ios::binary);
  std::stringstream text;
  text << in.rdbuf();
  return parse_json(text.str(), name);
}

std::unique_ptr<Tokenizer> load(const std::string& name) {
  if (name.starts_with("gguf_")) return load_tokenizer_from_gguf(read(name + ".json"));
  return load_tokenizer(kFolder + (name.ends_with(".model") ? name : name + ".json"));
}

std::vector<int32_t> ids_of(const JsonValue& row, std::string_view key) {
  std::vector<int32_t> out;
  for (const JsonValue& id : row.at(key, "row").as_array(key))
    out.push_back(static_cast<int32_t>(id.as_int(key)));
  return out;
}

std::string streamed(const Tokenizer& tokenizer, std::span<const int32_t> ids, bool skip_special) {
  Detokenizer detokenizer(tokenizer, skip_special);
  std::string out;
  for (const int32_t id : ids) out += detokenizer.push(id);
  return out + detokenizer.finish();
}

class TokenizerGolden : public testing::TestWithParam<std::string> {};

TEST_P(TokenizerGolden, AgreesWithTheReference) {
  const JsonValue cases = read("cases.json");
  const auto& texts = cases.at("texts", "cases").as_array("texts");
  const auto& rows = cases.at("expected", "cases").at(GetParam(), "expected").as_array("rows");
  const auto tokenizer = load(GetParam());
  ASSERT_EQ(rows.size(), texts.size());
  for (size_t i = 0; i < rows.size(); ++i) {
    const std::string& text = texts[i].as_string("text");
    SCOPED_TRACE("text " + std::to_string(i) + ": " + text);
    if (!rows[i].find("plain")->is_null()) {
      EXPECT_EQ(tokenizer->encode(text, false, false), ids_of(rows[i], "plain"));
    }
    // Rows of libraries that know no special tokens in a text have "plain" only.
    const bool has_special = rows[i].find("special") != nullptr;
    const auto ids = tokenizer->encode(text, false, has_special);
    EXPECT_EQ(ids, ids_of(rows[i], has_special ? "special" : "plain"));
    if (rows[i].find("added") != nullptr) {
      EXPECT_EQ(tokenizer->encode(text, true, has_special), ids_of(rows[i], "added"));
    }
    if (rows[i].find("decode") != nullptr) {
      EXPECT_EQ(tokenizer->decode(ids, false), rows[i].at("decode", "row").as_string("decode"));
    }
    if (rows[i].find("skip") != nullptr) {
      EXPECT_EQ(tokenizer->decode(ids, true), rows[i].at("skip", "row").as_string("skip"));
    }
  }
}

INSTANTIATE_TEST_SUITE_P(All, TokenizerGolden,
                         testing::Values("gpt2", "prefix_space", "single_digits", "three_digits",
                                         "cased_words", "joined_words", "digits_first",
                                         "many_splits", "written_spaces", "prepended_space",
                                         "metaspace", "behaviors", "bert", "words", "unigram",
                                         "gguf_gpt2", "gguf_digits_first", "gguf_cased_words",
                                         "gguf_joined_words", "gguf_pieces", "pieces.model"),
                         [](const auto& p) {
                           return p.param == "pieces.model" ? "pieces_model" : p.param;
                         });

TEST(Detokenizer, StreamsTheSameTextInWholeCharacters) {
  const JsonValue cases = read("cases.json");
  for (const char* name : {"gpt2", "single_digits", "written_spaces", "prepended_space",
                           "gguf_pieces", "pieces.model"}) {
    const auto tokenizer = load(name);
    for (const JsonValue& text : cases.at("texts", "cases").as_array("texts")) {
      // SentencePiece begins a new text behind every special token, which a stream does not.
      const bool special = std::string_view(name) != "pieces.model";
      const auto ids = tokenizer->encode(text.as_string("text"), false, special);
      for (const bool skip : {false, true})
        EXPECT_EQ(streamed(*tokenizer, ids, skip), tokenizer->decode(ids, skip))
            << name << ": " << text.as_string("text");
    }
  }
}

TEST(Detokenizer, HoldsBackAnUnfinishedCharacter) {
  const auto tokenizer = load("gpt2");
  const auto ids =
      tokenizer->encode("\xF0\x9F\x8C\x8F", false, false);  // no merge reaches it whole
  ASSERT_GT(ids.size(), 1u);
  Detokenizer detokenizer(*tokenizer);
  for (size_t i = 0; i + 1 < ids.size(); ++i) EXPECT_EQ(detokenizer.push(ids[i]), "");
  EXPECT_EQ(detokenizer.push(ids.back()), "\xF0\x9F\x8C\x8F");
  EXPECT_EQ(detokenizer.push(ids.front()), "");
  EXPECT_EQ(detokenizer.finish(), "\xEF\xBF\xBD");
}

TEST(Tokenizer, ASpecialTokenCannotBeForged) {
  for (const char* name : {"gpt2", "three_digits", "written_spaces", "prepended_space", "metaspace",
                           "unigram", "gguf_gpt2", "gguf_pieces", "pieces.model"}) {
    const auto tokenizer = load(name);
    for (const char* text : {"<|im_start|>system\n<|im_end|>", "<s></s><unk>", "<|sep|>"}) {
      for (const int32_t id : tokenizer->encode(text, false, false))
        EXPECT_FALSE(tokenizer->is_special(id) && tokenizer->id_to_token(id) != "<unk>")
            << name << ": " << text;
    }
  }
}

TEST(Tokenizer, FindsTokensByName) {
  const auto tokenizer = load("gpt2");
  const auto id = tokenizer->token_to_id("<|im_start|>");
  ASSERT_TRUE(id);
  EXPECT_TRUE(tokenizer->is_special(*id));
  EXPECT_EQ(tokenizer->id_to_token(*id), "<|im_start|>");
  EXPECT_FALSE(tokenizer->token_to_id("no such token"));
  EXPECT_EQ(tokenizer->id_to_token(-1), "");
  EXPECT_EQ(tokenizer->id_to_token(1 << 30), "");
  EXPECT_EQ(tokenizer->decode(std::vector<int32_t>{-5, 1 << 30}, false), "");
}

TEST(Tokenizer, MergesALongWordInNearLinearTime) {
  const auto tokenizer = load("gpt2");
  std::string word;
  while (word.size() < 400'000) word += "theothercats";
  const auto ids = tokenizer->encode(word, false, false);  // quadratic merging would take minutes
  EXPECT_EQ(tokenizer->decode(ids, false), word);
}

TEST(Tokenizer, RefusesTextThatIsNotUtf8) {
  for (const char* name : {"gpt2", "gguf_pieces", "pieces.model"}) {
    const auto tokenizer = load(name);
    for (const char* text : {"\xFF", "a\xC3", "\xED\xA0\x80", "\xC0\x80", "\xF5\x80\x80\x80"}) {
      try {
        tokenizer->encode(text, false, false);
        ADD_FAILURE() << name;
      } catch (const Error& e) {
        EXPECT_EQ(e.code(), ErrorCode::kInvalidArgument);
      }
    }
  }
}

}  // namespace
}  // namespace onnuri
