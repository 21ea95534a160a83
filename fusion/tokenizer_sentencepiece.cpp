// tokenizer.model through the sentencepiece library, with the added tokens that a checkpoint keeps
// beside it (tokenizer_config.json: added_tokens_decoder; added_tokens.json).
#include <sentencepiece_processor.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>

#include "core/check.h"
#include "fusion/normalizer.h"
#include "fusion/sentencepiece_check.h"
#include "fusion/tokenizer_files.h"
#include "fusion/unigram.h"
#include "fusion/utf8.h"

namespace onnuri {

namespace {

constexpr std::string_view kMark = "\xE2\x96\x81";
constexpr size_t kMaxText = size_t{256} << 20;

bool flag(const JsonValue& json, std::string_view key, bool fallback) {
  const JsonValue* v = json.find(key);
  return v == nullptr || v->is_null() ? fallback : v->as_bool(key);
}

class SentencePieceTokenizer : public Tokenizer {
 public:
  SentencePieceTokenizer(const std::string& path, const JsonValue& config, const JsonValue& added) {
    const std::string bytes = read_model(path);
    const SentencePieceFacts facts = check_sentencepiece_model(bytes, path);
    const auto status = pieces_.LoadFromSerializedProto(bytes);
    if (!status.ok())
      fail(ErrorCode::kCorruptData, "expected a SentencePiece model at ", path,
           ", found: ", status.message());
    num_pieces_ = pieces_.GetPieceSize();
    read_added(config, added);
    if (facts.kind == SentencePieceKind::kUnigram) load_unigram(facts.user_defined);
    const bool has_bos = pieces_.bos_id() >= 0;
    if (has_bos) bos_ = pieces_.bos_id();
    if (pieces_.eos_id() >= 0) eos_.push_back(pieces_.eos_id());
    if (const auto id = token_to_id(token_content(config.find("bos_token")))) bos_ = id;
    if (const auto id = token_to_id(token_content(config.find("eos_token")))) eos_ = {*id};
    adds_bos_ = flag(config, "add_bos_token", has_bos);
    adds_eos_ = flag(config, "add_eos_token", false);
    if (!flag(config, "legacy", true)) load_unprefixed(bytes, path);
  }

  std::vector<int32_t> encode(std::string_view text, bool add_special,
                              bool parse_special) const override {
    utf8::require_valid(text, "text to encode");
    return encode_bytes(text, add_special, parse_special);
  }

  // The library counts every broken byte on its own, past the character map.
  std::vector<int32_t> encode_bytes(std::string_view text, bool add_special,
                                    bool parse_special) const override {
    if (text.size() > kMaxText)
      fail(ErrorCode::kInvalidArgument, "expected at most ", kMaxText, " bytes of text, found ",
           text.size());
    std::vector<int32_t> out;
    if (add_special && adds_bos_ && bos_) out.push_back(*bos_);
    std::vector<AddedTokens::Segment> segments;
    added_.split(text, false, parse_special, segments);
    for (const AddedTokens::Segment& segment : segments) {
      if (segment.id >= 0) {
        out.push_back(segment.id);
        continue;
      }
      const bool inside = unprefixed_ && segment.text.data() != text.data();
      encode_segment(inside ? *unprefixed_ : pieces_, segment.text, out);
    }
    if (add_special && adds_eos_ && !eos_.empty()) out.push_back(eos_.front());
    return out;
  }

  std::string decode(std::span<const int32_t> ids, bool skip_special) const override {
    std::string out;
    std::vector<int> run;
    const auto flush = [&] {
      if (run.empty()) return;
      std::string text;
      const auto status = pieces_.Decode(run, &text);
      if (!status.ok())
        fail(ErrorCode::kInvalidArgument,
             "expected ids that SentencePiece decodes, found: ", status.message());
      out += text;
      run.clear();
    };
    for (const int32_t id : ids) {
      if (id < 0 || id >= vocab_size() || (skip_special && is_special(id))) continue;
      if (by_id_.count(id) != 0) {
        flush();
        out += id_to_token(id);
      } else if (id < num_pieces_) {
        run.push_back(id);
      }
    }
    flush();
    return utf8::lossy(out);
  }

  std::string token_bytes(int32_t id) const override {
    if (by_id_.count(id) != 0) return id_to_token(id);
    if (id < 0 || id >= num_pieces_) return {};
    if (pieces_.IsByte(id)) return {static_cast<char>(byte_of_token(pieces_.IdToPiece(id)))};
    return replace_all(pieces_.IdToPiece(id), kMark, " ");
  }

  std::string kind() const override { return "SentencePiece"; }

  int64_t vocab_size() const override {
    const int64_t added_end = by_id_.empty() ? 0 : by_id_.rbegin()->first + 1;
    return std::max<int64_t>(num_pieces_, added_end);
  }

  std::optional<int32_t> token_to_id(std::string_view token) const override {
    if (token.empty()) return std::nullopt;
    for (const auto& [id, added] : by_id_) {
      if (added.content == token) return id;
    }
    const int id = pieces_.PieceToId(token);
    if (id < 0 || id >= num_pieces_ || pieces_.IdToPiece(id) != token) return std::nullopt;
    return id;
  }

  std::string id_to_token(int32_t id) const override {
    if (const auto it = by_id_.find(id); it != by_id_.end()) return it->second.content;
    return id >= 0 && id < num_pieces_ ? pieces_.IdToPiece(id) : std::string();
  }

  bool is_special(int32_t id) const override {
    const auto it = by_id_.find(id);
    return it != by_id_.end() && it->second.special;
  }

  std::optional<int32_t> bos_id() const override { return bos_; }
  std::vector<int32_t> eos_ids() const override { return eos_; }

 private:
  void encode_segment(const sentencepiece::SentencePieceProcessor& library, std::string_view text,
                      std::vector<int32_t>& out) const {
    const auto require = [](const sentencepiece::util::Status& status) {
      if (!status.ok())
        fail(ErrorCode::kInvalidArgument,
             "expected text that SentencePiece encodes, found: ", status.message());
    };
    if (!unigram_) {
      std::vector<int> ids;
      require(library.Encode(text, &ids));
      out.insert(out.end(), ids.begin(), ids.end());
      return;
    }
    sentencepiece::ImmutableSentencePieceText found;
    require(library.Encode(text, found.mutable_proto()));
    std::string normalized;
    for (size_t i = 0; i < found.pieces_size(); ++i) {
      const auto piece = found.pieces(static_cast<int>(i));
      if (pieces_.IsByte(static_cast<int>(piece.id())))
        normalized += static_cast<char>(byte_of_token(piece.piece()));
      else
        normalized += piece.piece();
    }
    UnigramScratch scratch;
    unigram_->encode(normalized, scratch, out);
  }

  // Versions of the library differ in how they round sums of scores, and so in which of two equally
  // good paths they take. It normalizes the text; the path is found here, as its newest does.
  void load_unigram(const std::vector<bool>& user_defined) {
    unigram_vocabulary_ =
        std::make_unique<Vocabulary>(static_cast<size_t>(num_pieces_), num_pieces_);
    std::vector<double> scores;
    std::vector<bool> blocked;
    bool has_bytes = false;
    for (int id = 0; id < num_pieces_; ++id) {
      const std::string& text = pieces_.IdToPiece(id);
      if (text.size() > PieceTrie::kMaxPiece) return;
      const bool whole = !pieces_.IsControl(id) && !pieces_.IsUnknown(id) && !pieces_.IsByte(id);
      // A symbol of the user wins over any path through its letters.
      const auto at = static_cast<size_t>(id);
      const bool own = at < user_defined.size() && user_defined[at];
      has_bytes = has_bytes || pieces_.IsByte(id);
      const double own_score = 0.1 * (static_cast<double>(text.size()) - 1);
      scores.push_back(own ? static_cast<double>(static_cast<float>(own_score))
                           : static_cast<double>(pieces_.GetScore(id)));
      blocked.push_back(!whole || pieces_.IsUnused(id));
      unigram_vocabulary_->add(text, id, "pieces of a SentencePiece model");
    }
    unigram_ =
        std::make_unique<UnigramModel>(*unigram_vocabulary_, std::move(scores), pieces_.unk_id(),
                                       has_bytes, blocked, ScoreSums::kFloat);
  }

  static std::string read_model(const std::string& path) {
    std::error_code error;
    const uintmax_t size = std::filesystem::file_size(path, error);
    if (error || size > kMaxText)
      fail(error ? ErrorCode::kNotFound : ErrorCode::kCorruptData,
           "expected a SentencePiece model of at most ", kMaxText, " bytes at ", path);
    std::ifstream in(path, std::ios::binary);
    std::string bytes(static_cast<size_t>(size), '\0');
    if (!in.read(bytes.data(), static_cast<std::streamsize>(size)))
      fail(ErrorCode::kNotFound, "expected a readable file at ", path);
    return bytes;
  }

  // Checkpoints with "legacy": false write no space before text that follows a special token. A
  // message that is appended to another replaces its fields: here normalizer_spec (3) with
  // add_dummy_prefix (3) false.
  void load_unprefixed(const std::string& bytes, const std::string& path) {
    unprefixed_ = std::make_unique<sentencepiece::SentencePieceProcessor>();
    const auto status =
        unprefixed_->LoadFromSerializedProto(bytes + std::string("\x1A\x02\x18\x00", 4));
    if (!status.ok())
      fail(ErrorCode::kCorruptData, "expected a SentencePiece model at ", path,
           ", found: ", status.message());
  }

  void add(int64_t id, AddedToken token) {
    const int64_t limit = static_cast<int64_t>(num_pieces_) * 4 + 65536;
    if (id < 0 || id >= limit)
      fail(ErrorCode::kCorruptData, "expected an added token id in [0, ", limit, "), found ", id,
           " for \"", token.content, "\"");
    token.id = static_cast<int32_t>(id);
    by_id_[token.id] = std::move(token);
  }

  // The library's own control pieces are special; files beside the model may say more.
  void read_added(const JsonValue& config, const JsonValue& added) {
    for (int id = 0; id < num_pieces_; ++id) {
      if (!pieces_.IsControl(id) && !pieces_.IsUnknown(id)) continue;
      AddedToken token;
      token.content = pieces_.IdToPiece(id);
      token.special = true;
      add(id, std::move(token));
    }
    if (added.is_object()) {
      for (const auto& [content, id] : added.as_object("added_tokens.json")) {
        AddedToken token;
        token.content = content;
        add(id.as_int("added_tokens.json"), std::move(token));
      }
    }
    constexpr std::string_view kWhere = "tokenizer_config.json: added_tokens_decoder";
    const JsonValue* decoder = config.find("added_tokens_decoder");
    if (decoder != nullptr && decoder->is_object()) {
      for (const auto& [id, entry] : decoder->as_object(kWhere)) {
        AddedToken token;
        token.content = entry.at("content", kWhere).as_string(kWhere);
        token.special = flag(entry, "special", false);
        token.lstrip = flag(entry, "lstrip", false);
        token.rstrip = flag(entry, "rstrip", false);
        token.single_word = flag(entry, "single_word", false);
        if (id.empty() || id.size() > 9 || id.find_first_not_of("0123456789") != id.npos)
          fail(ErrorCode::kCorruptData, "expected ids as keys, found \"", id, "\" at ", kWhere);
        add(std::stoll(id), std::move(token));
      }
    }
    for (const auto& [id, token] : by_id_) added_.add(token);
    added_.finish(Normalizer());
  }

  sentencepiece::SentencePieceProcessor pieces_;
  std::unique_ptr<Vocabulary> unigram_vocabulary_;
  std::unique_ptr<UnigramModel> unigram_;  // of models of this kind alone
  std::unique_ptr<sentencepiece::SentencePieceProcessor> unprefixed_;  // no space in front
  int num_pieces_ = 0;
  std::map<int32_t, AddedToken> by_id_;
  AddedTokens added_;
  std::optional<int32_t> bos_;
  std::vector<int32_t> eos_;
  bool adds_bos_ = false;
  bool adds_eos_ = false;
};

}  // namespace

std::unique_ptr<Tokenizer> tokenizer_from_sentencepiece(const std::string& path,
                                                        const JsonValue& config,
                                                        const JsonValue& added) {
  return std::make_unique<SentencePieceTokenizer>(path, config, added);
}

}  // namespace onnuri
