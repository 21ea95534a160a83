// Every kind of tokenizer against the reference libraries' ids and texts
// (tests/golden/make_tokenizer_goldens.py, make_rare_tokenizer_goldens.py).
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "fusion/bpe.h"
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
  if (name.find("gguf_") != name.npos) return load_tokenizer_from_gguf(read(name + ".json"));
  return load_tokenizer(kFolder + (name.find('.') != name.npos ? name : name + ".json"));
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
  const JsonValue cases = read(GetParam().starts_with("rare_") ? "rare_cases.json" : "cases.json");
  const auto& texts = cases.at("texts", "cases").as_array("texts");
  const auto& rows = cases.at("expected", "cases").at(GetParam(), "expected").as_array("rows");
  const auto tokenizer = load(GetParam());
  ASSERT_EQ(rows.size(), texts.size());
  for (size_t i = 0; i < rows.size(); ++i) {
    const std::string& text = texts[i].as_string("text");
    SCOPED_TRACE("text " + std::to_string(i) + ": " + text);
    const JsonValue* plain = rows[i].find("plain");
    if (plain != nullptr && !plain->is_null()) {
      EXPECT_EQ(tokenizer->encode(text, false, false), ids_of(rows[i], "plain"));
    }
    if (plain != nullptr && plain->is_null() && rows[i].find("special") == nullptr) continue;
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

INSTANTIATE_TEST_SUITE_P(
    All, TokenizerGolden,
    testing::Values("gpt2", "prefix_space", "single_digits", "three_digits", "cased_words",
                    "joined_words", "digits_first", "many_splits", "written_spaces",
                    "prepended_space", "metaspace", "behaviors", "bert", "words", "unigram",
                    "gguf_gpt2", "gguf_digits_first", "gguf_cased_words", "gguf_joined_words",
                    "gguf_pieces", "pieces.model", "rare_word_piece", "rare_word_level",
                    "rare_word_ends", "rare_added", "rare_charsmap", "rare_gguf_words",
                    "rare_pieces.model", "rare_gguf_pieces", "rare_ranks.tiktoken", "rare_tekken"),
    [](const auto& p) {
      std::string name = p.param;
      std::replace(name.begin(), name.end(), '.', '_');
      return name;
    });

// What is dropped, refused, or found although it is empty: small tokenizers, each for one rule
// (tests/golden/make_corner_tokenizer_goldens.py).
TEST(Tokenizer, CornersAgreeWithTheReference) {
  const auto folder = std::filesystem::temp_directory_path() / "onnuri_tokenizer_corners";
  std::filesystem::create_directories(folder);
  const JsonValue all = read("corners.json");
  EXPECT_GT(all.as_array("corners").size(), 60u);
  for (const JsonValue& one : all.as_array("corners")) {
    SCOPED_TRACE(one.at("name", "corner").as_string("name"));
    std::ofstream(folder / "tokenizer.json") << one.at("tokenizer", "corner").dump();
    const auto tokenizer = load_tokenizer(folder.string());
    for (const JsonValue& row : one.at("cases", "corner").as_array("cases")) {
      const auto& pair = row.as_array("case");
      const std::string& text = pair[0].as_string("text");
      SCOPED_TRACE(text);
      if (pair[1].is_null()) {
        EXPECT_THROW(tokenizer->encode(text, false, true), Error);
        continue;
      }
      std::vector<int32_t> ids;
      for (const JsonValue& id : pair[1].as_array("ids"))
        ids.push_back(static_cast<int32_t>(id.as_int("id")));
      EXPECT_EQ(tokenizer->encode(text, false, true), ids);
    }
  }
  std::filesystem::remove_all(folder);
}

TEST(Tokenizer, SaysWhatItIs) {
  const std::pair<const char*, const char*> kinds[] = {{"gpt2", "BPE"},
                                                       {"unigram", "Unigram"},
                                                       {"rare_word_piece", "WordPiece"},
                                                       {"rare_word_level", "WordLevel"},
                                                       {"pieces.model", "SentencePiece"},
                                                       {"rare_ranks.tiktoken", "tiktoken"},
                                                       {"rare_tekken", "tekken"},
                                                       {"gguf_gpt2", "gpt2, gpt-2"},
                                                       {"rare_gguf_words", "bert"}};
  for (const auto& [name, kind] : kinds) EXPECT_EQ(load(name)->kind(), kind) << name;
}

// "legacy": false writes no space before text behind a special token; true does.
TEST(Tokenizer, LlamasTwoWaysWithSpecialTokens) {
  namespace fs = std::filesystem;
  const JsonValue cases = read("rare_cases.json");
  const JsonValue& llama = cases.at("llama", "cases");
  const auto& texts = llama.at("texts", "llama").as_array("texts");
  for (const std::string legacy : {"true", "false"}) {
    const fs::path folder = fs::temp_directory_path() / ("onnuri_llama_" + legacy);
    fs::create_directories(folder);
    fs::copy_file(kFolder + "pieces.model", folder / "tokenizer.model",
                  fs::copy_options::overwrite_existing);
    std::ofstream(folder / "tokenizer_config.json") << "{\"legacy\": " << legacy << "}";
    const auto tokenizer = load_tokenizer(folder.string());
    const auto& rows = llama.at(legacy, "llama").as_array("rows");
    ASSERT_EQ(rows.size(), texts.size());
    for (size_t i = 0; i < rows.size(); ++i) {
      JsonValue row;
      row.set("ids", rows[i]);
      EXPECT_EQ(tokenizer->encode(texts[i].as_string("text"), false, true), ids_of(row, "ids"))
          << legacy << ": " << texts[i].as_string("text");
    }
    fs::remove_all(folder);
  }
}

// Which of two equally good paths wins depends on how sums of scores are rounded; the library past
// its version 0.2 says which.
TEST(Tokenizer, PiecesOfLongAndBrokenText) {
  const JsonValue cases = read("rare_cases.json");
  const JsonValue& rows = cases.at("long_pieces", "cases");
  const auto tokenizer = load("rare_pieces.model");
  EXPECT_EQ(tokenizer->encode(rows.at("text", "text").as_string("text"), false, false),
            ids_of(rows, "ids"));
  for (const JsonValue& row : rows.at("broken", "broken").as_array("broken")) {
    const std::string& hex = row.as_array("row")[0].as_string("hex");
    std::string bytes;
    for (size_t i = 0; i < hex.size(); i += 2)
      bytes += static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16));
    JsonValue wanted;
    wanted.set("ids", row.as_array("row")[1]);
    EXPECT_EQ(tokenizer->encode_bytes(bytes, false, false), ids_of(wanted, "ids")) << hex;
  }
}

// Replacements one after the other could make a short text endless.
TEST(Tokenizer, RulesThatMakeTextEndlessAreRefused) {
  namespace fs = std::filesystem;
  const std::string step = R"({"type": "Replace", "pattern": {"String": "a"}, "content": ")" +
                           std::string(1000, 'a') + R"("})";
  const std::string steps =
      R"({"type": "Sequence", "PART": [)" + step + "," + step + "," + step + "]}";
  const auto with = [&](std::string part) {
    std::string out = steps;
    return out.replace(out.find("PART"), 4, part);
  };
  const fs::path path = fs::temp_directory_path() / "onnuri_endless.json";
  const auto tokenizer = [&](const std::string& normalizer, const std::string& decoder) {
    std::ofstream(path) << R"({"added_tokens": [], "normalizer": )" << normalizer
                        << R"(, "pre_tokenizer": null, "decoder": )" << decoder
                        << R"(, "model": {"type": "BPE", "vocab": {"a": 0}, "merges": []}})";
    return load_tokenizer(path.string());
  };
  const auto expect_refused = [](const auto& use) {
    try {
      use();
      ADD_FAILURE() << "expected an error";
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), ErrorCode::kCorruptData);
      EXPECT_NE(std::string(e.what()).find("tokenizer.json"), std::string::npos) << e.what();
    }
  };
  const std::vector<int32_t> id = {0};
  expect_refused([&] { tokenizer(with("normalizers"), "null")->encode("a", false, false); });
  const auto decodes = tokenizer("null", with("decoders"));
  expect_refused([&] { decodes->decode(id, false); });
  expect_refused([&] { decodes->token_bytes(0); });
  fs::remove(path);
}

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

// Every pair of letters and of longer tokens may merge: the pairs that are looked at and the
// entries that leave the heap grow as the word does.
TEST(Tokenizer, MergeStepsGrowWithTheWord) {
  Vocabulary vocabulary(64, 4096);
  std::string token = "a";
  for (int id = 0; id < 12; ++id, token += token) vocabulary.add(token, id, "test");
  for (const bool by_score : {false, true}) {
    BpeModel model(vocabulary, {}, {});
    std::vector<float> scores;
    token = "a";
    for (int id = 0; id < 12; ++id, token += token) {
      scores.push_back(static_cast<float>(-id));
      if (!by_score && id < 11) model.add_rule(token, token, "test");
    }
    if (by_score) model.use_scores(scores);
    model.finish();
    uint64_t steps[2] = {};
    for (const size_t i : {size_t{0}, size_t{1}}) {
      BpeScratch scratch;
      std::vector<int32_t> ids;
      model.encode(std::string(i == 0 ? 100'000 : 400'000, 'a'), scratch, ids);
      EXPECT_LE(ids.size(), size_t{400'000} / 2048 + 12);
      steps[i] = scratch.steps;
    }
    EXPECT_GT(steps[0], 100'000u);
    EXPECT_LE(steps[1], 9 * 400'000u);
    EXPECT_LE(steps[1], steps[0] * 5);
  }
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

// One U+FFFD for each longest broken start of a character; SentencePiece counts every byte.
TEST(Tokenizer, RepairsBrokenBytes) {
  const std::string r = "\xEF\xBF\xBD";
  const auto bytes = load("gpt2");
  const auto repaired = [](const Tokenizer& tokenizer, std::string_view text) {
    return tokenizer.decode(tokenizer.encode_bytes(text, false, true), false);
  };
  EXPECT_EQ(repaired(*bytes, "a\xF0\x9F\x98z"), "a" + r + "z");
  EXPECT_EQ(repaired(*bytes, "\xED\xA0\x80"), r + r + r);
  EXPECT_EQ(repaired(*bytes, "\xC3"), r);
  EXPECT_EQ(repaired(*bytes, "\xF5\x80\x80\x80 end"), r + r + r + r + " end");
  const auto pieces = load("pieces.model");
  EXPECT_EQ(pieces->encode_bytes("a\xF0\x9F\x98z", false, true),
            pieces->encode("a" + r + r + r + "z", false, true));
}

}  // namespace
}  // namespace onnuri
