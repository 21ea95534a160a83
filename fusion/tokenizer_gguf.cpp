// Tokenizers from GGUF metadata (tokenizer.ggml.*): byte-level BPE ("gpt2"), SentencePiece BPE by
// scores ("llama"), BPE over characters with written spaces ("gemma4"), WordPiece ("bert") and
// SentencePiece Unigram ("t5").
//
// GGUF names its pre-tokenizer instead of storing it. The table below gives the patterns of the
// checkpoints' own tokenizer.json; llama.cpp's src/llama-vocab.cpp is the list of names.
#include <algorithm>
#include <array>

#include "core/check.h"
#include "fusion/pipeline_tokenizer.h"

namespace onnuri {

namespace {

constexpr std::string_view kMark = "\xE2\x96\x81";

enum TokenType { kNormal = 1, kUnknown, kControl, kUserDefined, kUnused, kByte };

#define ONNURI_CONTRACTIONS "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
#define ONNURI_CASED_WORDS(digits)                                 \
  "[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]*"    \
  "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]+" ONNURI_CONTRACTIONS             \
  "?|"                                                             \
  "[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]+"    \
  "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]*" ONNURI_CONTRACTIONS "?|" digits \
  "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define ONNURI_WORDS(digits)                                   \
  ONNURI_CONTRACTIONS "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|" digits \
                      "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"

constexpr const char* kGpt2 =
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";
constexpr const char* kDigitTriples = "\\p{N}{1,3}";
constexpr const char* kKanaAndHan = "[\\x{4E00}-\\x{9FA5}\\x{3040}-\\x{309F}\\x{30A0}-\\x{30FF}]+";
constexpr const char* kLargeScripts =
    "[\\x{4E00}-\\x{9FA5}\\x{0800}-\\x{4E00}\\x{AC00}-\\x{D7FF}]+";
constexpr const char* kAsciiPunctuationWords =
    "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|"
    "[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\\r\\n]*|\\s*[\\r\\n]+|"
    "\\s+(?!\\S)|\\s+";
constexpr const char* kMarkedWords = ONNURI_CONTRACTIONS
    "|[^\\r\\n\\p{L}\\p{N}]?[\\p{L}\\p{M}]+|\\p{N}"
    "| ?[^\\s\\p{L}\\p{M}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
constexpr const char* kSingleBreaks =
    "'(?i:[sdmt]|ll|ve|re)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|"
    "\\s*[\\r\\n]|\\s+(?!\\S)|\\s+";
// Letters joined across single spaces: tokens may span words.
constexpr const char* kJoinedWords = ONNURI_CONTRACTIONS
    "|[^\\r\\n\\p{L}\\p{N}]?(?:\\p{L}\\p{M}*(?: \\p{L}\\p{M}*)*)+|\\p{N}"
    "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]?|\\s*[\\r\\n]|\\s+(?!\\S)|\\s+";

struct PreType {
  std::string_view name;
  std::array<const char*, 5> patterns;  // applied one after another; null ends the list
  bool ignore_merges = false;
  bool add_bos = false;
};

constexpr PreType kPreTypes[] = {
    {"default", {"[\\p{P}\\$\\+<=>\\^~\\|]+", kGpt2, "\\p{N}+", "[0-9][0-9][0-9]"}},
    {"gpt-2", {kGpt2}},
    {"phi-2", {kGpt2}},
    {"roberta-bpe", {kGpt2}},
    {"jina-es", {kGpt2}},
    {"jina-de", {kGpt2}},
    {"jina-v1-en", {kGpt2}},
    {"jina-v2-es", {kGpt2}},
    {"jina-v2-de", {kGpt2}},
    {"jina-v2-code", {kGpt2}},
    {"mpt", {kGpt2}},
    {"olmo", {kGpt2}},
    {"jais", {kGpt2}},
    {"exaone4", {kGpt2}},
    {"a.x-4.0", {kGpt2}},
    {"mellum", {kGpt2}},
    {"gigachat", {kGpt2}},
    {"modern-bert", {kGpt2}},
    {"trillion", {kGpt2}},
    {"granite-docling", {kGpt2}},
    {"smollm", {"\\p{N}", kGpt2}},
    {"starcoder", {"\\p{N}", kGpt2}},
    {"refact", {"\\p{N}", kGpt2}},
    {"command-r", {"\\p{N}", kGpt2}},
    {"codeshell", {"\\p{N}", kGpt2}},
    {"exaone", {"\\p{N}", kGpt2}},
    {"minerva-7b", {"\\p{N}", kGpt2}},
    {"mellum2", {"\\p{N}", kGpt2}},
    {"falcon", {"[\\p{P}\\$\\+<=>\\^~\\|`]+", kGpt2, "[0-9][0-9][0-9]"}},
    {"llama-bpe", {ONNURI_WORDS("\\p{N}{1,3}")}, true, true},
    {"llama3", {ONNURI_WORDS("\\p{N}{1,3}")}, true, true},
    {"llama-v3", {ONNURI_WORDS("\\p{N}{1,3}")}, true, true},
    {"falcon3", {ONNURI_WORDS("\\p{N}{1,3}")}, true, true},
    {"falcon-h1", {ONNURI_WORDS("\\p{N}{1,3}")}, true, true},
    {"pixtral", {ONNURI_WORDS("\\p{N}{1,3}")}, true, true},
    {"midm-2.0", {ONNURI_WORDS("\\p{N}{1,3}")}, true, true},
    {"lfm2", {ONNURI_WORDS("\\p{N}{1,3}")}, true, true},
    {"jina-v5-nano", {ONNURI_WORDS("\\p{N}{1,3}")}, true, true},
    {"dbrx", {ONNURI_WORDS("\\p{N}{1,3}")}},
    {"smaug-bpe", {ONNURI_WORDS("\\p{N}{1,3}")}},
    {"chatglm-bpe", {ONNURI_WORDS("\\p{N}{1,3}")}},
    {"glm4", {ONNURI_WORDS("\\p{N}{1,3}")}, true},
    {"glm5", {ONNURI_WORDS("\\p{N}{1,3}")}, true},
    {"qwen2", {ONNURI_WORDS("\\p{N}")}},
    {"deepseek-r1-qwen", {ONNURI_WORDS("\\p{N}")}},
    {"f2llmv2", {ONNURI_WORDS("\\p{N}")}},
    {"kormo", {ONNURI_WORDS("\\p{N}")}},
    {"megrez", {ONNURI_WORDS("\\p{N}")}},
    {"stablelm2", {ONNURI_WORDS("\\p{N}")}},
    {"hunyuan", {ONNURI_WORDS("\\p{N}")}},
    {"solar-open", {ONNURI_WORDS("\\p{N}")}},
    {"grok-2", {ONNURI_WORDS("\\p{N}")}},
    {"qwen35", {kMarkedWords}},
    {"exaone-moe", {kJoinedWords}},
    {"gpt-4o", {ONNURI_CASED_WORDS("\\p{N}{1,3}")}},
    {"llama4", {ONNURI_CASED_WORDS("\\p{N}{1,3}")}},
    {"talkie", {ONNURI_CASED_WORDS("\\p{N}{1,3}")}},
    {"kanana2", {ONNURI_CASED_WORDS("\\p{N}{1,3}")}},
    {"minimax-m2", {ONNURI_CASED_WORDS("\\p{N}{1,3}")}},
    {"tekken",
     {"[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]*[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]+|"
      "[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]+[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]*|"
      "\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"},
     true,
     true},
    {"deepseek-llm",
     {"[\\r\\n]", "\\s?[\\p{Lu}\\p{Ll}\\p{Lt}]+",
      "\\s?[!-/:-~\\x{FF01}-\\x{FF0F}\\x{FF1A}-\\x{FF5E}\\x{2018}-\\x{201F}"
      "\\x{3000}-\\x{3002}]+",
      kLargeScripts, "\\p{N}+"}},
    {"deepseek-coder", {"[\\r\\n]", "\\s?\\p{L}+", "\\s?\\p{P}+", kLargeScripts, "\\p{N}"}},
    {"deepseek-v3", {kDigitTriples, kKanaAndHan, kAsciiPunctuationWords}},
    {"hunyuan-dense", {kDigitTriples, kKanaAndHan, kAsciiPunctuationWords}},
    {"joyai-llm", {kDigitTriples, kKanaAndHan, kAsciiPunctuationWords}},
    {"hy_v4", {kDigitTriples, kKanaAndHan, kAsciiPunctuationWords}},
    {"bailingmoe", {kSingleBreaks}},
    {"bailingmoe2", {kSingleBreaks}},
    {"llada-moe", {kSingleBreaks}},
    {"seed-coder",
     {ONNURI_CONTRACTIONS "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1}| ?[^\\s\\p{L}\\p{N}\\r\\n]+|"
                          "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"}},
};

#undef ONNURI_CONTRACTIONS
#undef ONNURI_CASED_WORDS
#undef ONNURI_WORDS

// Tokens that end a turn in the families that have them; files often name only one of theirs.
constexpr std::string_view kEndNames[] = {"<|eot_id|>",
                                          "<|eom_id|>",
                                          "<|im_end|>",
                                          "<end_of_turn>",
                                          "<|endofturn|>",
                                          "[|endofturn|]",
                                          "<|endoftext|>",
                                          "<|end_of_text|>",
                                          "<|return|>",
                                          "<|call|>",
                                          "<|flush|>",
                                          "<|calls|>",
                                          "<|stop|>",
                                          "<EOT>",
                                          "[EOT]",
                                          "<end_of_utterance>",
                                          "<turn|>",
                                          "<\xEF\xBD\x9C"
                                          "end\xE2\x96\x81of\xE2\x96\x81sentence"
                                          "\xEF\xBD\x9C>"};

std::string key(std::string_view name) { return "tokenizer.ggml." + std::string(name); }

const JsonValue* find(const JsonValue& metadata, std::string_view name) {
  const JsonValue* v = metadata.find(key(name));
  return v == nullptr || v->is_null() ? nullptr : v;
}

bool flag(const JsonValue& metadata, std::string_view name, bool fallback) {
  const JsonValue* v = find(metadata, name);
  return v == nullptr ? fallback : v->as_bool(key(name));
}

const PreType& pre_type(const JsonValue& metadata) {
  const JsonValue* given = find(metadata, "pre");
  const std::string name = given == nullptr ? "default" : given->as_string(key("pre"));
  for (const PreType& type : kPreTypes) {
    if (type.name == name) return type;
  }
  fail(ErrorCode::kUnsupported, "expected a known pre-tokenizer, found \"", name, "\" at ",
       key("pre"));
}

std::vector<int> read_types(const JsonValue& metadata, size_t count) {
  std::vector<int> types(count, kNormal);
  const JsonValue* list = find(metadata, "token_type");
  if (list == nullptr) return types;
  const JsonValue::Array& values = list->as_array(key("token_type"));
  if (values.size() != count)
    fail(ErrorCode::kCorruptData, "expected ", count, " token types, found ", values.size(), " at ",
         key("token_type"));
  for (size_t i = 0; i < count; ++i) {
    const int64_t type = values[i].as_int(key("token_type"));
    if (type < 0 || type > kByte)
      fail(ErrorCode::kCorruptData, "expected a token type in [0, 6], found ", type, " for token ",
           i, " at ", key("token_type"));
    types[i] = static_cast<int>(type);
  }
  return types;
}

std::vector<float> read_scores(const JsonValue& metadata, size_t count) {
  const JsonValue::Array& values =
      metadata.at(key("scores"), "GGUF metadata").as_array(key("scores"));
  if (values.size() != count)
    fail(ErrorCode::kCorruptData, "expected ", count, " scores, found ", values.size(), " at ",
         key("scores"));
  std::vector<float> scores(count);
  for (size_t i = 0; i < count; ++i)
    scores[i] = static_cast<float>(values[i].as_double(key("scores")));
  return scores;
}

bool ends_a_turn(std::string_view token) {
  return std::find(std::begin(kEndNames), std::end(kEndNames), token) != std::end(kEndNames);
}

// Fills vocabulary and added tokens; returns the types, corrected.
std::vector<int> read_tokens(const JsonValue& metadata, TokenizerParts& parts) {
  const JsonValue::Array& tokens =
      metadata.at(key("tokens"), "GGUF metadata").as_array(key("tokens"));
  std::vector<int> types = read_types(metadata, tokens.size());
  parts.vocabulary = std::make_unique<Vocabulary>(tokens.size(), id_limit(tokens.size()));
  for (size_t i = 0; i < tokens.size(); ++i) {
    const std::string& token = tokens[i].as_string(key("tokens"));
    parts.vocabulary->add(token, static_cast<int64_t>(i), key("tokens"));
    if (types[i] == kByte && byte_of_token(token) < 0)
      fail(ErrorCode::kCorruptData, "expected a byte token <0x00> to <0xFF>, found \"", token,
           "\" for token ", i, " at ", key("tokens"));
    if (types[i] == kUserDefined && ends_a_turn(token)) types[i] = kControl;
    const bool special = types[i] == kControl || types[i] == kUnknown;
    if (!special && types[i] != kUserDefined) continue;
    AddedToken added;
    added.content = token;
    added.id = static_cast<int32_t>(i);
    added.special = special;
    parts.added.add(std::move(added));
  }
  return types;
}

std::optional<int32_t> read_id(const JsonValue& metadata, std::string_view name, int64_t size) {
  const JsonValue* v = find(metadata, name);
  if (v == nullptr) return std::nullopt;
  const int64_t id = v->as_int(key(name));
  if (id == int64_t{0xFFFFFFFF} || id == -1) return std::nullopt;  // how files say "none"
  if (id < 0 || id >= size)
    fail(ErrorCode::kCorruptData, "expected a token id in [0, ", size, "), found ", id, " at ",
         key(name));
  return static_cast<int32_t>(id);
}

void read_ends(const JsonValue& metadata, const std::vector<int>& types, bool add_bos, bool add_eos,
               TokenizerParts& parts) {
  const int64_t size = parts.vocabulary->size();
  parts.bos = read_id(metadata, "bos_token_id", size);
  const auto add_end = [&](std::optional<int32_t> id) {
    if (id && std::find(parts.eos.begin(), parts.eos.end(), *id) == parts.eos.end())
      parts.eos.push_back(*id);
  };
  const std::optional<int32_t> eos = read_id(metadata, "eos_token_id", size);
  for (const char* name : {"eos_token_id", "eot_token_id", "eom_token_id"})
    add_end(read_id(metadata, name, size));
  for (const std::string_view name : kEndNames) {
    const int32_t id = parts.vocabulary->find(name);
    if (id >= 0 && types[static_cast<size_t>(id)] == kControl) add_end(id);
  }
  if (flag(metadata, "add_bos_token", add_bos) && parts.bos) parts.prefix.push_back(*parts.bos);
  if (flag(metadata, "add_eos_token", add_eos) && eos) parts.suffix.push_back(*eos);
}

void read_merges(const JsonValue& metadata, BpeModel& bpe) {
  const std::string where = key("merges");
  const JsonValue::Array& merges = metadata.at(where, "GGUF metadata").as_array(where);
  bpe.reserve_rules(merges.size());
  for (const JsonValue& merge : merges) {
    const std::string_view rule = merge.as_string(where);
    const size_t space = rule.find(' ', 1);
    if (space == rule.npos)
      fail(ErrorCode::kCorruptData, "expected a merge \"left right\", found \"", rule, "\" at ",
           where);
    bpe.add_rule(rule.substr(0, space), rule.substr(space + 1), where);
  }
}

void write_spaces(const JsonValue& metadata, bool prefix, TokenizerParts& parts) {
  Normalizer::Step step;
  if (flag(metadata, "add_space_prefix", prefix)) {
    step.kind = Normalizer::Kind::kPrepend;
    step.content = " ";
    parts.normalizer.add(step);
    parts.drops_first_space = true;
  }
  step.kind = Normalizer::Kind::kReplace;
  step.pattern = " ";
  step.content = kMark;
  parts.normalizer.add(step);
  TokenDecoder::Step decode;
  decode.kind = TokenDecoder::Kind::kReplace;
  decode.pattern = kMark;
  decode.content = " ";
  parts.decoder.add(decode);
  decode.kind = TokenDecoder::Kind::kByteFallback;
  parts.decoder.add(decode);
}

std::unique_ptr<BpeModel> new_bpe(const TokenizerParts& parts, const BpeOptions& options) {
  return std::make_unique<BpeModel>(*parts.vocabulary, options,
                                    blocked_tokens(parts.added, parts.vocabulary->size()));
}

void read_byte_level(const JsonValue& metadata, TokenizerParts& parts) {
  const PreType& pre = pre_type(metadata);
  const std::vector<int> types = read_tokens(metadata, parts);
  for (const char* pattern : pre.patterns) {
    if (pattern != nullptr) parts.pre_tokenizer.add_regex(pattern, key("pre"));
  }
  BpeOptions options;
  options.byte_level = true;
  options.ignore_merges = pre.ignore_merges;
  parts.bpe = new_bpe(parts, options);
  read_merges(metadata, *parts.bpe);
  parts.bpe->finish();
  TokenDecoder::Step decode;
  decode.kind = TokenDecoder::Kind::kByteLevel;
  parts.decoder.add(decode);
  read_ends(metadata, types, pre.add_bos, false, parts);
}

void read_written_spaces(const JsonValue& metadata, bool by_score, TokenizerParts& parts) {
  const std::vector<int> types = read_tokens(metadata, parts);
  BpeOptions options;
  options.byte_fallback = true;
  options.unk_id = read_id(metadata, "unknown_token_id", parts.vocabulary->size()).value_or(-1);
  parts.bpe = new_bpe(parts, options);
  if (by_score) {
    parts.bpe->use_scores(read_scores(metadata, types.size()));
  } else {
    parts.pre_tokenizer.add_regex("[^\\n]+|\\n+", key("pre"));
    read_merges(metadata, *parts.bpe);
  }
  parts.bpe->finish();
  write_spaces(metadata, by_score, parts);
  read_ends(metadata, types, true, false, parts);
}

JsonValue component(const char* type) {
  JsonValue out;
  out.set("type", type);
  return out;
}

// Words begin with the written space and go on without any mark.
void read_words(const JsonValue& metadata, TokenizerParts& parts) {
  const std::vector<int> types = read_tokens(metadata, parts);
  const int64_t size = parts.vocabulary->size();
  JsonValue bert = component("BertNormalizer");
  const bool lower = flag(metadata, "normalizer.lowercase", true);
  bert.set("lowercase", lower);
  bert.set("strip_accents", flag(metadata, "normalizer.strip_accents", lower));
  parts.normalizer = Normalizer(bert);
  parts.pre_tokenizer = PreTokenizer(component("BertPreTokenizer"));
  WordPieceOptions options;
  options.first_prefix = kMark;
  options.prefix.clear();
  options.unk_id = read_id(metadata, "unknown_token_id", size).value_or(-1);
  parts.word_piece = std::make_unique<WordPieceModel>(*parts.vocabulary, std::move(options),
                                                      blocked_tokens(parts.added, size));
  TokenDecoder::Step decode;
  decode.kind = TokenDecoder::Kind::kReplace;
  decode.pattern = kMark;
  decode.content = " ";
  parts.decoder.add(decode);
  parts.drops_first_space = true;
  parts.bos = read_id(metadata, "cls_token_id", size);
  if (!parts.bos) parts.bos = read_id(metadata, "bos_token_id", size);
  const std::optional<int32_t> end = read_id(metadata, "seperator_token_id", size);
  if (parts.bos && flag(metadata, "add_bos_token", true)) parts.prefix.push_back(*parts.bos);
  if (end && flag(metadata, "add_sep_token", true)) parts.suffix.push_back(*end);
  if (end) parts.eos.push_back(*end);
}

// What SentencePiece does to a text, step by step.
void normalize_pieces(const JsonValue& metadata, TokenizerParts& parts) {
  if (flag(metadata, "treat_whitespace_as_suffix", false))
    fail(ErrorCode::kUnsupported, "expected spaces before words, found them behind at ",
         key("treat_whitespace_as_suffix"));
  Normalizer::Step step;
  if (const JsonValue* map = find(metadata, "precompiled_charsmap")) {
    const std::string where = key("precompiled_charsmap");
    std::string blob;
    for (const JsonValue& byte : map->as_array(where))
      blob += static_cast<char>(static_cast<uint8_t>(byte.as_int(where)));
    step.kind = Normalizer::Kind::kCharsmap;
    step.charsmap = std::make_shared<const Charsmap>(blob, Charsmap::Reading::kLongest, where);
    parts.normalizer.add(std::move(step));
  }
  if (flag(metadata, "remove_extra_whitespaces", true)) {
    for (const auto& [pattern, to] : {std::pair(" {2,}", " "), std::pair("\\A | \\z", "")}) {
      step = {};
      step.kind = Normalizer::Kind::kReplace;
      step.regex = std::make_shared<const Regex>(pattern, key("remove_extra_whitespaces"));
      step.content = to;
      parts.normalizer.add(std::move(step));
    }
  }
}

void read_unigram(const JsonValue& metadata, TokenizerParts& parts) {
  const std::vector<int> types = read_tokens(metadata, parts);
  const std::vector<float> scores = read_scores(metadata, types.size());
  normalize_pieces(metadata, parts);
  write_spaces(metadata, true, parts);
  std::vector<bool> blocked = blocked_tokens(parts.added, parts.vocabulary->size());
  bool bytes = false;
  for (size_t i = 0; i < types.size(); ++i) {
    bytes = bytes || types[i] == kByte;
    if (types[i] == kByte || types[i] == kUnused) blocked[i] = true;
  }
  const auto unk = read_id(metadata, "unknown_token_id", parts.vocabulary->size());
  parts.unigram = std::make_unique<UnigramModel>(*parts.vocabulary,
                                                 std::vector<double>(scores.begin(), scores.end()),
                                                 unk.value_or(-1), bytes, blocked);
  read_ends(metadata, types, false, true, parts);
}

}  // namespace

std::unique_ptr<Tokenizer> load_tokenizer_from_gguf(const JsonValue& metadata) {
  const std::string& model = metadata.at(key("model"), "GGUF metadata").as_string(key("model"));
  TokenizerParts parts;
  parts.added_are_literal = true;
  parts.kind = model;
  const JsonValue* pre = find(metadata, "pre");
  if (pre != nullptr && pre->is_string()) parts.kind += ", " + pre->as_string(key("pre"));
  if (model == "gpt2") {
    read_byte_level(metadata, parts);
  } else if (model == "llama" || model == "gemma4") {
    read_written_spaces(metadata, model == "llama", parts);
  } else if (model == "bert") {
    read_words(metadata, parts);
  } else if (model == "t5") {
    read_unigram(metadata, parts);
  } else {
    fail(ErrorCode::kUnsupported,
         "expected tokenizer model gpt2, llama, gemma4, bert or t5, found \"", model, "\" at ",
         key("model"));
  }
  parts.added.finish(parts.normalizer);
  return std::make_unique<PipelineTokenizer>(std::move(parts));
}

}  // namespace onnuri
