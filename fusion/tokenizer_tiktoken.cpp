// Vocabularies of ranked byte strings: "base64 rank" lines as tiktoken has them (*.tiktoken, and
// tokenizer.model of some checkpoints), and tekken.json. Any two neighbours whose joined bytes are
// a token may merge, lowest rank first; a whole word that is a token is taken at once.
#include <algorithm>

#include "core/check.h"
#include "fusion/base64.h"
#include "fusion/tokenizer_files.h"

namespace onnuri {

namespace {

constexpr const char* kThreeDigits =
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}|"
    " ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
constexpr const char* kSingleDigits =
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}|"
    " ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
constexpr const char* kCasedWords =
    "[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]*[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]+"
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"
    "[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]+[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]*"
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|"
    "\\s+(?!\\S)|\\s+";
constexpr size_t kMaxEntries = size_t{1} << 22;

struct Ranked {
  std::string bytes;
  int64_t rank = 0;
};

bool flag(const JsonValue& json, std::string_view key, bool fallback) {
  const JsonValue* v = json.find(key);
  return v == nullptr || v->is_null() ? fallback : v->as_bool(key);
}

// Parts of a pipeline whose ids are rank + `first_id`. Special tokens are added afterwards.
TokenizerParts new_parts(const std::vector<Ranked>& tokens, int64_t first_id,
                         const std::vector<AddedToken>& added, const std::string& pattern,
                         const std::string& where) {
  TokenizerParts parts;
  parts.added_are_literal = true;
  const size_t count = tokens.size() + added.size();
  parts.vocabulary = std::make_unique<Vocabulary>(count, id_limit(count));
  const int64_t limit = id_limit(count);
  std::vector<float> scores;
  std::string written;
  for (const Ranked& token : tokens) {
    written.clear();
    append_written(token.bytes, written);
    if (token.rank < 0 || token.rank >= limit)
      fail(ErrorCode::kCorruptData, "expected a rank in [0, ", limit, "), found ", token.rank,
           " at ", where);
    const auto id = static_cast<size_t>(token.rank + first_id);
    parts.vocabulary->add(written, static_cast<int64_t>(id), where);
    if (id >= scores.size()) scores.resize(id + 1);
    scores[id] = -static_cast<float>(token.rank);
  }
  for (const AddedToken& token : added) {
    parts.vocabulary->add(token.content, token.id, where);
    parts.added.add(token);
  }
  parts.pre_tokenizer.add_regex(pattern, where);
  BpeOptions options;
  options.byte_level = true;
  options.ignore_merges = true;
  parts.bpe = std::make_unique<BpeModel>(*parts.vocabulary, options,
                                         blocked_tokens(parts.added, parts.vocabulary->size()));
  parts.bpe->use_scores(std::move(scores));
  parts.bpe->finish();
  parts.added.finish(parts.normalizer);
  TokenDecoder::Step decode;
  decode.kind = TokenDecoder::Kind::kByteLevel;
  parts.decoder.add(decode);
  return parts;
}

std::vector<Ranked> read_lines(std::string_view text, const std::string& where) {
  std::vector<Ranked> out;
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (line.empty()) continue;
    const size_t space = line.find(' ');
    const std::string_view rank = space == line.npos ? std::string_view() : line.substr(space + 1);
    if (rank.empty() || rank.size() > 9 || rank.find_first_not_of("0123456789") != rank.npos)
      fail(ErrorCode::kCorruptData, "expected lines \"base64 rank\", found another in line ",
           out.size() + 1, " at ", where);
    if (out.size() >= kMaxEntries)
      fail(ErrorCode::kCorruptData, "expected at most ", kMaxEntries, " tokens, found more at ",
           where);
    out.push_back({decode_base64(line.substr(0, space), where), std::stoll(std::string(rank))});
  }
  if (out.empty()) fail(ErrorCode::kCorruptData, "expected ranked tokens, found none at ", where);
  return out;
}

// Special tokens: what the configuration lists, else what this vocabulary is known to have.
std::vector<AddedToken> listed_tokens(const JsonValue& config) {
  std::vector<AddedToken> out;
  constexpr std::string_view kWhere = "tokenizer_config.json: added_tokens_decoder";
  const JsonValue* decoder = config.find("added_tokens_decoder");
  if (decoder == nullptr || decoder->is_null()) return out;
  for (const auto& [id, entry] : decoder->as_object(kWhere)) {
    if (id.empty() || id.size() > 9 || id.find_first_not_of("0123456789") != id.npos)
      fail(ErrorCode::kCorruptData, "expected ids as keys, found \"", id, "\" at ", kWhere);
    AddedToken token;
    token.id = static_cast<int32_t>(std::stol(id));
    token.content = entry.at("content", kWhere).as_string(kWhere);
    token.special = flag(entry, "special", false);
    token.lstrip = flag(entry, "lstrip", false);
    token.rstrip = flag(entry, "rstrip", false);
    token.single_word = flag(entry, "single_word", false);
    out.push_back(std::move(token));
  }
  return out;
}

std::vector<AddedToken> known_tokens(int64_t first_id) {
  std::vector<std::string> names = {"<|endoftext|>", "<|im_start|>", "<|im_end|>"};
  for (int i = 0; i < 205; ++i) names.push_back("<|extra_" + std::to_string(i) + "|>");
  std::vector<AddedToken> out;
  for (const std::string& name : names) {
    AddedToken token;
    token.content = name;
    token.id = static_cast<int32_t>(first_id++);
    token.special = true;
    out.push_back(std::move(token));
  }
  return out;
}

void read_ends(const JsonValue& config, TokenizerParts& parts) {
  const auto id_of = [&](std::string_view key) {
    const std::string token = token_content(config.find(key));
    return token.empty() ? -1 : parts.vocabulary->find(token);
  };
  if (const int32_t bos = id_of("bos_token"); bos >= 0) parts.bos = bos;
  if (const int32_t eos = id_of("eos_token"); eos >= 0) parts.eos.push_back(eos);
  if (flag(config, "add_bos_token", false) && parts.bos) parts.prefix.push_back(*parts.bos);
}

}  // namespace

std::unique_ptr<Tokenizer> tokenizer_from_ranks(std::string_view text, const std::string& path,
                                                const JsonValue& config) {
  const std::vector<Ranked> tokens = read_lines(text, path);
  const std::string name = path.substr(path.find_last_of('/') + 1);
  const bool qwen = name.starts_with("qwen");
  std::vector<AddedToken> added = listed_tokens(config);
  if (added.empty() && qwen) added = known_tokens(static_cast<int64_t>(tokens.size()));
  const char* pattern = qwen                        ? kSingleDigits
                        : name.starts_with("o200k") ? kCasedWords
                                                    : kThreeDigits;
  TokenizerParts parts = new_parts(tokens, 0, added, pattern, path);
  parts.kind = "tiktoken";
  read_ends(config, parts);
  return std::make_unique<PipelineTokenizer>(std::move(parts));
}

bool looks_like_ranks(std::string_view text) {
  const std::string_view line = text.substr(0, std::min(text.find('\n'), text.size()));
  const size_t space = line.find(' ');
  if (space == line.npos || space == 0 || space > 4096 || line.size() > space + 12) return false;
  return line.substr(0, space).find_first_not_of(
             "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=") == line.npos &&
         line.substr(space + 1).find_first_not_of("0123456789\r") == line.npos;
}

std::unique_ptr<Tokenizer> tokenizer_from_tekken(const JsonValue& json, const std::string& path) {
  const std::string at = path + ": config";
  const JsonValue& config = json.at("config", path);
  const int64_t size = config.at("default_vocab_size", at).as_int(at);
  const int64_t specials = config.at("default_num_special_tokens", at).as_int(at);
  const JsonValue::Array& entries = json.at("vocab", path).as_array(path);
  if (specials < 0 || size <= specials || specials > static_cast<int64_t>(kMaxEntries))
    fail(ErrorCode::kCorruptData, "expected default_vocab_size above default_num_special_tokens, ",
         "found ", size, " and ", specials, " at ", at);
  const auto kept = std::min(entries.size(), static_cast<size_t>(size - specials));
  std::vector<Ranked> tokens;
  for (size_t i = 0; i < kept; ++i) {
    const std::string where = path + ": vocab";
    tokens.push_back({decode_base64(entries[i].at("token_bytes", where).as_string(where), where),
                      entries[i].at("rank", where).as_int(where)});
  }
  std::vector<AddedToken> added;
  std::vector<bool> named(static_cast<size_t>(specials));
  if (const JsonValue* list = json.find("special_tokens"); list != nullptr && !list->is_null()) {
    const std::string where = path + ": special_tokens";
    for (const JsonValue& entry : list->as_array(where)) {
      AddedToken token;
      token.content = entry.at("token_str", where).as_string(where);
      const int64_t rank = entry.at("rank", where).as_int(where);
      if (rank < 0 || rank >= specials)
        fail(ErrorCode::kCorruptData, "expected a rank in [0, ", specials, "), found ", rank,
             " at ", where);
      token.id = static_cast<int32_t>(rank);
      token.special = true;
      named[static_cast<size_t>(rank)] = true;
      added.push_back(std::move(token));
    }
  } else {
    constexpr const char* kFirst[] = {"<unk>", "<s>", "</s>"};
    for (int32_t id = 0; id < std::min<int64_t>(3, specials); ++id) {
      AddedToken token;
      token.content = kFirst[id];
      token.id = id;
      token.special = true;
      named[static_cast<size_t>(id)] = true;
      added.push_back(std::move(token));
    }
  }
  for (size_t id = 0; id < named.size(); ++id) {
    if (named[id]) continue;
    AddedToken token;
    token.content = "<SPECIAL_" + std::to_string(id) + ">";
    token.id = static_cast<int32_t>(id);
    token.special = true;
    added.push_back(std::move(token));
  }
  TokenizerParts parts =
      new_parts(tokens, specials, added, config.at("pattern", at).as_string(at), path);
  parts.kind = "tekken";
  if (const int32_t bos = parts.vocabulary->find("<s>"); bos >= 0) {
    parts.bos = bos;
    parts.prefix.push_back(bos);
  }
  if (const int32_t eos = parts.vocabulary->find("</s>"); eos >= 0) parts.eos.push_back(eos);
  return std::make_unique<PipelineTokenizer>(std::move(parts));
}

}  // namespace onnuri
