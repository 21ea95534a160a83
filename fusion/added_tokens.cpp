// See added_tokens.h.
#include "fusion/added_tokens.h"

#include <algorithm>

#include "core/check.h"
#include "fusion/utf8.h"

namespace onnuri {

namespace {

constexpr size_t kMaxToken = 1024;              // bounds the search at each place of a text
constexpr size_t kMaxBytes = size_t{16} << 20;  // of all added tokens, and so of their trees

}  // namespace

void TokenTrie::add(std::string_view text, size_t value) {
  if (text.empty()) return;
  starts_[static_cast<uint8_t>(text[0])] = true;
  uint32_t node = 0;
  for (const char c : text) {
    const uint64_t key = uint64_t{node} << 8 | static_cast<uint8_t>(c);
    const auto [it, fresh] = edges_.try_emplace(key, nodes_);
    if (fresh) ++nodes_;
    node = it->second;
  }
  ends_[node] = value;
}

TokenTrie::Match TokenTrie::longest(std::string_view text, size_t pos) const {
  Match found;
  uint32_t node = 0;
  for (size_t i = pos; i < text.size(); ++i) {
    const auto edge = edges_.find(uint64_t{node} << 8 | static_cast<uint8_t>(text[i]));
    if (edge == edges_.end()) break;
    node = edge->second;
    const auto end = ends_.find(node);
    if (end != ends_.end()) found = {end->second, i + 1 - pos};
  }
  return found;
}

void AddedTokens::finish(const Normalizer& normalizer) {
  size_t bytes = 0;
  for (size_t i = 0; i < tokens_.size(); ++i) {
    AddedToken& token = tokens_[i];
    bytes += token.content.size();
    if (bytes > kMaxBytes)
      fail(ErrorCode::kCorruptData, "expected added tokens of at most ", kMaxBytes,
           " bytes together, found more");
    if (token.content.size() > kMaxToken)
      fail(ErrorCode::kCorruptData, "expected added tokens of at most ", kMaxToken,
           " bytes, found ", token.content.size(), " for id ", token.id);
    if (token.normalized) {
      token.written = normalizer.apply(token.content);
      normalized_.add(token.written, i);
    } else {
      raw_.add(token.content, i);
    }
  }
}

namespace {

bool word_before(std::string_view text, size_t pos) {
  if (pos == 0) return false;
  size_t at = utf8::previous(text, pos);
  return utf8::is_word(utf8::next(text, at));
}

bool word_behind(std::string_view text, size_t pos) {
  return pos < text.size() && utf8::is_word(utf8::next(text, pos));
}

size_t strip_before(std::string_view text, size_t pos, size_t floor) {
  while (pos > floor) {
    const size_t at = utf8::previous(text, pos);
    size_t after = at;
    if (!utf8::is_space(utf8::next(text, after))) break;
    pos = at;
  }
  return pos;
}

size_t strip_behind(std::string_view text, size_t pos) {
  while (pos < text.size()) {
    size_t after = pos;
    if (!utf8::is_space(utf8::next(text, after))) break;
    pos = after;
  }
  return pos;
}

}  // namespace

void AddedTokens::split(std::string_view text, bool normalized, bool parse_special,
                        std::vector<Segment>& out) const {
  const TokenTrie& trie = normalized ? normalized_ : raw_;
  size_t from = 0;  // text not handed out yet
  size_t pos = 0;
  const auto flush = [&](size_t end) {
    if (end > from) out.push_back({text.substr(from, end - from), -1});
  };
  while (!trie.empty() && pos < text.size()) {
    if (!trie.may_start(text[pos])) {
      ++pos;
      continue;
    }
    const TokenTrie::Match found = trie.longest(text, pos);
    if (found.size == 0) {
      ++pos;
      continue;
    }
    const AddedToken& token = tokens_[found.value];
    size_t begin = pos;
    size_t end = pos + found.size;
    pos = end;
    if (token.special && !parse_special) continue;
    if (token.single_word && (word_before(text, begin) || word_behind(text, end))) continue;
    if (token.lstrip) begin = strip_before(text, begin, from);
    if (token.rstrip) end = strip_behind(text, end);
    flush(begin);
    out.push_back({{}, token.id});
    from = end;  // the search goes on behind the match itself, even inside stripped space
  }
  flush(text.size());
}

}  // namespace onnuri
