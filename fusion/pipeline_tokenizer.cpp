// See pipeline_tokenizer.h.
#include "fusion/pipeline_tokenizer.h"

#include "core/check.h"
#include "fusion/utf8.h"

namespace onnuri {

namespace {

constexpr size_t kMaxText = size_t{256} << 20;
constexpr uint8_t kAdded = 1;
constexpr uint8_t kSpecial = 2;

}  // namespace

std::vector<bool> blocked_tokens(const AddedTokens& added, int64_t vocab_size) {
  std::vector<bool> blocked(static_cast<size_t>(vocab_size));
  for (const AddedToken& token : added.all()) {
    if (token.special || !token.in_model) blocked[static_cast<size_t>(token.id)] = true;
  }
  return blocked;
}

struct PipelineTokenizer::Scratch {
  PreTokenizer::Scratch matchers;
  BpeScratch bpe;
  UnigramScratch unigram;
  std::string written;
  Pieces pieces;
};

PipelineTokenizer::PipelineTokenizer(TokenizerParts parts) : parts_(std::move(parts)) {
  ONNURI_CHECK(parts_.vocabulary != nullptr);
  ONNURI_CHECK(
      (parts_.bpe != nullptr) + (parts_.unigram != nullptr) + (parts_.word_piece != nullptr) == 1);
  kind_.resize(static_cast<size_t>(parts_.vocabulary->size()));
  for (const AddedToken& token : parts_.added.all()) {
    kind_[static_cast<size_t>(token.id)] = token.special ? kSpecial : kAdded;
    if (token.normalized && token.written != token.content) written_[token.id] = token.written;
  }
}

// As the reference decodes them: an added token that is looked for in normalized text comes back
// in its normalized form.
std::string_view PipelineTokenizer::text_of(int32_t id) const {
  const auto found = written_.find(id);
  return found != written_.end() ? std::string_view(found->second) : parts_.vocabulary->text(id);
}

std::vector<int32_t> PipelineTokenizer::encode(std::string_view text, bool add_special,
                                               bool parse_special) const {
  if (text.size() > kMaxText)
    fail(ErrorCode::kInvalidArgument, "expected at most ", kMaxText, " bytes of text, found ",
         text.size());
  utf8::require_valid(text, "text to encode");
  Scratch scratch;
  scratch.bpe.reserve_cache(text.size());
  std::vector<int32_t> out;
  out.reserve(text.size() / 3 + 8);
  if (add_special) out = parts_.prefix;
  std::vector<AddedTokens::Segment> segments;
  parts_.added.split(text, false, parse_special, segments);
  for (const AddedTokens::Segment& segment : segments) {
    if (segment.id >= 0) {
      out.push_back(segment.id);
    } else {
      encode_segment(segment.text, segment.text.data() == text.data(), parse_special, scratch, out);
    }
  }
  if (add_special) out.insert(out.end(), parts_.suffix.begin(), parts_.suffix.end());
  return out;
}

void PipelineTokenizer::encode_segment(std::string_view text, bool at_start, bool parse_special,
                                       Scratch& scratch, std::vector<int32_t>& out) const {
  std::string normalized;
  if (!parts_.normalizer.leaves(text)) {
    bool lost_start = false;
    normalized = parts_.normalizer.apply(text, &lost_start);
    text = normalized;
    at_start = at_start && !lost_start;
  }
  if (!parts_.added.any_normalized()) {
    encode_text(text, at_start, scratch, out);
    return;
  }
  std::vector<AddedTokens::Segment> segments;
  parts_.added.split(text, true, parse_special, segments);
  for (const AddedTokens::Segment& segment : segments) {
    if (segment.id >= 0) {
      out.push_back(segment.id);
    } else {
      encode_text(segment.text, at_start && segment.text.data() == text.data(), scratch, out);
    }
  }
}

void PipelineTokenizer::encode_text(std::string_view text, bool at_start, Scratch& scratch,
                                    std::vector<int32_t>& out) const {
  if (text.empty()) return;
  const auto encode_word = [&](std::string_view word) {
    if (parts_.bpe) {
      parts_.bpe->encode(word, scratch.bpe, out);
    } else if (parts_.unigram) {
      parts_.unigram->encode(word, scratch.unigram, out);
    } else {
      parts_.word_piece->encode(word, scratch.written, out);
    }
  };
  if (parts_.pre_tokenizer.streams()) {
    parts_.pre_tokenizer.stream(
        text, [&](size_t begin, size_t end) { encode_word(text.substr(begin, end - begin)); });
    return;
  }
  Pieces& pieces = scratch.pieces;
  pieces.text.assign(text);
  pieces.spans.assign(1, {0, text.size()});
  pieces.at_start = at_start;
  parts_.pre_tokenizer.apply(pieces, scratch.matchers);
  const std::string_view whole = pieces.text;
  for (const Pieces::Span& span : pieces.spans)
    encode_word(whole.substr(span.begin, span.end - span.begin));
}

std::string PipelineTokenizer::decode(std::span<const int32_t> ids, bool skip_special) const {
  const bool plain = parts_.added_are_literal || parts_.decoder.concatenates();
  std::string bytes;
  std::vector<std::string> tokens;
  bool drops = parts_.drops_first_space;
  for (const int32_t id : ids) {
    if (!parts_.vocabulary->contains(id) || (skip_special && is_special(id))) continue;
    if (plain) {
      bytes += token_bytes(id);
      if (drops && kind_[static_cast<size_t>(id)] == 0 && bytes.starts_with(' ')) bytes.erase(0, 1);
      drops = false;
    } else {
      tokens.emplace_back(text_of(id));
    }
  }
  return plain ? utf8::lossy(bytes) : parts_.decoder.text(std::move(tokens));
}

std::string PipelineTokenizer::token_bytes(int32_t id) const {
  if (!parts_.vocabulary->contains(id)) return {};
  const std::string_view text = text_of(id);
  if (parts_.added_are_literal && kind_[static_cast<size_t>(id)] != 0) return std::string(text);
  return parts_.decoder.bytes(text);
}

std::optional<int32_t> PipelineTokenizer::token_to_id(std::string_view token) const {
  const int32_t id = parts_.vocabulary->find(token);
  return id < 0 ? std::nullopt : std::optional<int32_t>(id);
}

std::string PipelineTokenizer::id_to_token(int32_t id) const {
  return parts_.vocabulary->contains(id) ? std::string(parts_.vocabulary->text(id)) : std::string();
}

bool PipelineTokenizer::is_special(int32_t id) const {
  return id >= 0 && static_cast<size_t>(id) < kind_.size() &&
         kind_[static_cast<size_t>(id)] == kSpecial;
}

}  // namespace onnuri
