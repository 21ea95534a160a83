// tokenizer.json of the `tokenizers` library: its models with their pipeline.
#include <algorithm>

#include "core/check.h"
#include "fusion/tokenizer_files.h"

namespace onnuri {

namespace {

constexpr std::string_view kModel = "tokenizer.json: model";

bool flag(const JsonValue& json, std::string_view key, bool fallback) {
  const JsonValue* v = json.find(key);
  return v == nullptr || v->is_null() ? fallback : v->as_bool(key);
}

// A member that must be absent or empty, since nothing here would honour it.
void refuse(const JsonValue& model, std::string_view key) {
  const JsonValue* v = model.find(key);
  if (v == nullptr || v->is_null() || (v->is_string() && v->as_string(key).empty())) return;
  if (v->is_number() && v->as_double(key) == 0.0) return;
  fail(ErrorCode::kUnsupported, "expected no ", key, " in a BPE model, found one at ", kModel);
}

AddedTokens read_added(const JsonValue& json) {
  AddedTokens added;
  const JsonValue* list = json.find("added_tokens");
  if (list == nullptr || list->is_null()) return added;
  constexpr std::string_view kWhere = "tokenizer.json: added_tokens";
  for (const JsonValue& one : list->as_array(kWhere)) {
    AddedToken token;
    token.content = one.at("content", kWhere).as_string(kWhere);
    const int64_t id = one.at("id", kWhere).as_int(kWhere);
    if (id < 0 || id > INT32_MAX)
      fail(ErrorCode::kCorruptData, "expected a token id, found ", id, " at ", kWhere);
    token.id = static_cast<int32_t>(id);
    token.special = flag(one, "special", false);
    token.single_word = flag(one, "single_word", false);
    token.lstrip = flag(one, "lstrip", false);
    token.rstrip = flag(one, "rstrip", false);
    token.normalized = flag(one, "normalized", !token.special);
    added.add(std::move(token));
  }
  return added;
}

std::unique_ptr<Vocabulary> new_vocabulary(size_t model_tokens, const AddedTokens& added) {
  const size_t tokens = model_tokens + added.all().size();
  return std::make_unique<Vocabulary>(tokens, id_limit(tokens));
}

void add_added(Vocabulary& vocabulary, AddedTokens& added) {
  added.take_ids([&](const std::string& text) { return vocabulary.find(text); });
  added.mark_model_tokens([&](int32_t id) { return vocabulary.contains(id); });
  for (const AddedToken& token : added.all())
    vocabulary.add(token.content, token.id, "tokenizer.json: added_tokens");
}

std::string text_or_empty(const JsonValue& model, std::string_view key) {
  const JsonValue* v = model.find(key);
  return v == nullptr || v->is_null() ? std::string() : v->as_string(kModel);
}

int32_t unknown_id(const JsonValue& model, const Vocabulary& vocabulary) {
  const JsonValue* token = model.find("unk_token");
  if (token == nullptr || token->is_null()) return -1;
  const int32_t id = vocabulary.find(token->as_string(kModel));
  if (id < 0) fail(ErrorCode::kCorruptData, "expected unk_token in the vocabulary at ", kModel);
  return id;
}

void read_merges(const JsonValue& model, BpeModel& bpe) {
  const JsonValue::Array& merges = model.at("merges", kModel).as_array(kModel);
  bpe.reserve_rules(merges.size());
  for (const JsonValue& merge : merges) {
    if (merge.is_array()) {
      const JsonValue::Array& pair = merge.as_array(kModel);
      if (pair.size() != 2)
        fail(ErrorCode::kCorruptData, "expected merges of two tokens, found ", pair.size(), " at ",
             kModel);
      bpe.add_rule(pair[0].as_string(kModel), pair[1].as_string(kModel), kModel);
      continue;
    }
    const std::string_view rule = merge.as_string(kModel);
    const size_t space = rule.find(' ');
    if (space == rule.npos || rule.find(' ', space + 1) != rule.npos)
      fail(ErrorCode::kCorruptData, "expected a merge \"left right\", found \"", rule, "\" at ",
           kModel);
    bpe.add_rule(rule.substr(0, space), rule.substr(space + 1), kModel);
  }
}

void read_bpe(const JsonValue& model, TokenizerParts& parts) {
  refuse(model, "dropout");
  const JsonValue::Object& vocab = model.at("vocab", kModel).as_object(kModel);
  parts.vocabulary = new_vocabulary(vocab.size(), parts.added);
  for (const auto& [token, id] : vocab) parts.vocabulary->add(token, id.as_int(kModel), kModel);
  BpeOptions options;
  options.byte_level = parts.pre_tokenizer.byte_level();
  options.ignore_merges = flag(model, "ignore_merges", false);
  options.byte_fallback = flag(model, "byte_fallback", false);
  options.fuse_unk = flag(model, "fuse_unk", false);
  options.unk_id = unknown_id(model, *parts.vocabulary);
  options.prefix = text_or_empty(model, "continuing_subword_prefix");
  options.suffix = text_or_empty(model, "end_of_word_suffix");
  add_added(*parts.vocabulary, parts.added);
  parts.bpe = std::make_unique<BpeModel>(*parts.vocabulary, options,
                                         blocked_tokens(parts.added, parts.vocabulary->size()));
  read_merges(model, *parts.bpe);
  parts.bpe->finish();
}

void read_unigram(const JsonValue& model, TokenizerParts& parts) {
  if (parts.pre_tokenizer.byte_level())
    fail(ErrorCode::kUnsupported, "expected no ByteLevel with a Unigram model at ", kModel);
  const JsonValue::Array& vocab = model.at("vocab", kModel).as_array(kModel);
  parts.vocabulary = new_vocabulary(vocab.size(), parts.added);
  std::vector<double> scores;
  for (const JsonValue& entry : vocab) {
    const JsonValue::Array& pair = entry.as_array(kModel);
    if (pair.size() != 2)
      fail(ErrorCode::kCorruptData, "expected [token, score], found ", pair.size(), " members at ",
           kModel);
    parts.vocabulary->add(pair[0].as_string(kModel), static_cast<int64_t>(scores.size()), kModel);
    scores.push_back(pair[1].as_double(kModel));
  }
  const JsonValue* unk = model.find("unk_id");
  const int64_t unk_id = unk == nullptr || unk->is_null() ? -1 : unk->as_int(kModel);
  if (unk_id < -1 || unk_id >= static_cast<int64_t>(scores.size()))
    fail(ErrorCode::kCorruptData, "expected unk_id inside the vocabulary, found ", unk_id, " at ",
         kModel);
  add_added(*parts.vocabulary, parts.added);
  parts.unigram = std::make_unique<UnigramModel>(
      *parts.vocabulary, std::move(scores), static_cast<int32_t>(unk_id),
      flag(model, "byte_fallback", false), blocked_tokens(parts.added, parts.vocabulary->size()));
  parts.unigram->refuse_unknown();
}

void read_word_piece(const JsonValue& model, bool whole_words_only, TokenizerParts& parts) {
  if (parts.pre_tokenizer.byte_level())
    fail(ErrorCode::kUnsupported, "expected no ByteLevel with a model of whole words at ", kModel);
  const JsonValue::Object& vocab = model.at("vocab", kModel).as_object(kModel);
  parts.vocabulary = new_vocabulary(vocab.size(), parts.added);
  for (const auto& [token, id] : vocab) parts.vocabulary->add(token, id.as_int(kModel), kModel);
  WordPieceOptions options;
  options.whole_words_only = whole_words_only;
  const std::string unk = text_or_empty(model, "unk_token");
  options.unk_id = unk.empty() ? -1 : parts.vocabulary->find(unk);
  if (!whole_words_only) {
    options.prefix = text_or_empty(model, "continuing_subword_prefix");
    if (const JsonValue* most = model.find("max_input_chars_per_word")) {
      const int64_t characters = most->as_int(kModel);
      if (characters < 0 || characters > 1000)
        fail(ErrorCode::kUnsupported, "expected max_input_chars_per_word in [0, 1000], found ",
             characters, " at ", kModel);
      options.max_characters = static_cast<size_t>(characters);
    }
  }
  add_added(*parts.vocabulary, parts.added);
  parts.word_piece = std::make_unique<WordPieceModel>(
      *parts.vocabulary, std::move(options), blocked_tokens(parts.added, parts.vocabulary->size()));
}

int32_t checked_id(const JsonValue& json, const Vocabulary& vocabulary, std::string_view where) {
  const int64_t id = json.as_int(where);
  if (!vocabulary.contains(id))
    fail(ErrorCode::kCorruptData, "expected a token id of the vocabulary, found ", id, " at ",
         where);
  return static_cast<int32_t>(id);
}

void read_template(const JsonValue& json, TokenizerParts& parts) {
  constexpr std::string_view kWhere = "tokenizer.json: post_processor";
  bool behind = false;
  for (const JsonValue& piece : json.at("single", kWhere).as_array(kWhere)) {
    if (piece.find("Sequence") != nullptr) {
      behind = true;
      continue;
    }
    const std::string& name = piece.at("SpecialToken", kWhere).at("id", kWhere).as_string(kWhere);
    const JsonValue& token = json.at("special_tokens", kWhere).at(name, kWhere);
    for (const JsonValue& id : token.at("ids", kWhere).as_array(kWhere))
      (behind ? parts.suffix : parts.prefix).push_back(checked_id(id, *parts.vocabulary, kWhere));
  }
}

void read_post_processor(const JsonValue& json, TokenizerParts& parts, int depth) {
  constexpr std::string_view kWhere = "tokenizer.json: post_processor";
  if (json.is_null()) return;
  if (depth > 16) fail(ErrorCode::kCorruptData, "expected shallow nesting at ", kWhere);
  const std::string& type = json.at("type", kWhere).as_string(kWhere);
  if (type == "Sequence") {
    for (const JsonValue& one : json.at("processors", kWhere).as_array(kWhere))
      read_post_processor(one, parts, depth + 1);
  } else if (type == "TemplateProcessing") {
    // A later template wraps what the earlier ones made.
    TokenizerParts outer;
    outer.vocabulary = std::move(parts.vocabulary);
    read_template(json, outer);
    parts.vocabulary = std::move(outer.vocabulary);
    parts.prefix.insert(parts.prefix.begin(), outer.prefix.begin(), outer.prefix.end());
    parts.suffix.insert(parts.suffix.end(), outer.suffix.begin(), outer.suffix.end());
  } else if (type == "BertProcessing" || type == "RobertaProcessing") {
    const auto id_of = [&](std::string_view key) {
      const JsonValue::Array& pair = json.at(key, kWhere).as_array(kWhere);
      if (pair.size() != 2) fail(ErrorCode::kCorruptData, "expected [token, id] at ", kWhere);
      return checked_id(pair[1], *parts.vocabulary, kWhere);
    };
    parts.prefix.insert(parts.prefix.begin(), id_of("cls"));
    parts.suffix.push_back(id_of("sep"));
  } else if (type != "ByteLevel") {  // which moves offsets only
    fail(ErrorCode::kUnsupported, "expected a known post-processor, found \"", type, "\" at ",
         kWhere);
  }
}

const JsonValue& member_or_null(const JsonValue& json, std::string_view key,
                                const JsonValue& null) {
  const JsonValue* v = json.find(key);
  return v == nullptr ? null : *v;
}

void read_ends(const JsonValue& config, TokenizerParts& parts) {
  const auto id_of = [&](std::string_view key) {
    const std::string token = token_content(config.find(key));
    return token.empty() ? -1 : parts.vocabulary->find(token);
  };
  if (const int32_t bos = id_of("bos_token"); bos >= 0) parts.bos = bos;
  if (const int32_t eos = id_of("eos_token"); eos >= 0) parts.eos.push_back(eos);
}

}  // namespace

std::string token_content(const JsonValue* json) {
  if (json == nullptr) return {};
  if (json->is_string()) return json->as_string("token");
  const JsonValue* content = json->find("content");
  return content != nullptr && content->is_string() ? content->as_string("content") : std::string();
}

std::unique_ptr<Tokenizer> tokenizer_from_json(const JsonValue& json, const JsonValue& config) {
  const JsonValue null;
  TokenizerParts parts;
  parts.normalizer = Normalizer(member_or_null(json, "normalizer", null));
  parts.pre_tokenizer = PreTokenizer(member_or_null(json, "pre_tokenizer", null));
  parts.decoder = TokenDecoder(member_or_null(json, "decoder", null));
  parts.added = read_added(json);
  const JsonValue& model = json.at("model", "tokenizer.json");
  // Files of older versions name no type; their members tell.
  const JsonValue* named = model.find("type");
  const std::string type = named != nullptr && named->is_string() ? named->as_string(kModel)
                           : model.find("merges") != nullptr      ? "BPE"
                                                                  : "unknown";
  parts.kind = type;
  if (type == "BPE") {
    read_bpe(model, parts);
  } else if (type == "Unigram") {
    read_unigram(model, parts);
  } else if (type == "WordPiece" || type == "WordLevel") {
    read_word_piece(model, type == "WordLevel", parts);
  } else {
    fail(ErrorCode::kUnsupported, "expected a BPE, Unigram, WordPiece or WordLevel model, found \"",
         type, "\" at ", kModel);
  }
  parts.added.finish(parts.normalizer);
  read_post_processor(member_or_null(json, "post_processor", null), parts, 0);
  read_ends(config, parts);
  return std::make_unique<PipelineTokenizer>(std::move(parts));
}

}  // namespace onnuri
