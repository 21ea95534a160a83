// See charsmap.h.
#include "fusion/charsmap.h"

#include <utf8proc.h>

#include <cstring>

#include "core/check.h"
#include "fusion/utf8.h"

namespace onnuri {

namespace {

constexpr size_t kShortGrapheme = 6;

uint32_t read_le32(std::string_view bytes, size_t at) {
  uint32_t v = 0;
  for (size_t i = 4; i-- > 0;) v = v << 8 | static_cast<uint8_t>(bytes[at + i]);
  return v;
}

// The units of a double array: offset to the children, label, and whether a value hangs below.
uint32_t offset_of(uint32_t unit) { return (unit >> 10) << ((unit & (1U << 9)) >> 6); }
uint32_t label_of(uint32_t unit) { return unit & (0x80000000U | 0xFFU); }
bool has_value(uint32_t unit) { return (unit >> 8 & 1U) != 0; }

size_t grapheme_end(std::string_view text, size_t pos) {
  char32_t before = utf8::next(text, pos);
  utf8proc_int32_t state = 0;
  while (pos < text.size()) {
    size_t after = pos;
    const char32_t c = utf8::next(text, after);
    if (utf8proc_grapheme_break_stateful(static_cast<utf8proc_int32_t>(before),
                                         static_cast<utf8proc_int32_t>(c), &state))
      break;
    before = c;
    pos = after;
  }
  return pos;
}

}  // namespace

Charsmap::Charsmap(const std::string& blob, Reading reading, std::string_view where)
    : reading_(reading) {
  if (blob.empty()) return;  // a model without rules
  if (blob.size() < 4)
    fail(ErrorCode::kCorruptData, "expected a precompiled_charsmap of at least 4 bytes, found ",
         blob.size(), " at ", where);
  const size_t size = read_le32(blob, 0);
  if (size % 4 != 0 || size > blob.size() - 4)
    fail(ErrorCode::kCorruptData, "expected a trie of at most ", blob.size() - 4,
         " bytes in precompiled_charsmap, found ", size, " at ", where);
  trie_.resize(size / 4);
  for (size_t i = 0; i < trie_.size(); ++i) trie_[i] = read_le32(blob, 4 + i * 4);
  replacements_ = blob.substr(4 + size);
  if (utf8::valid_prefix(replacements_) != replacements_.size())
    fail(ErrorCode::kCorruptData, "expected UTF-8 in precompiled_charsmap, found a broken byte at ",
         where);
}

std::optional<Charsmap::Match> Charsmap::find(std::string_view text, bool longest) const {
  std::optional<Match> found;
  if (trie_.empty()) return found;
  size_t at = offset_of(trie_[0]);
  for (size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<uint8_t>(text[i]);
    at ^= byte;
    if (byte == 0 || at >= trie_.size()) return found;
    const uint32_t unit = trie_[at];
    if (label_of(unit) != byte) return found;
    at ^= offset_of(unit);
    if (!has_value(unit)) continue;
    if (at >= trie_.size()) return found;
    const size_t begin = trie_[at] & 0x7FFFFFFFU;
    if (begin >= replacements_.size() ||
        (static_cast<uint8_t>(replacements_[begin]) & 0xC0) == 0x80)
      return found;
    found = Match{std::string_view(replacements_.c_str() + begin), i + 1};
    if (!longest) return found;
  }
  return found;
}

std::string Charsmap::replace_longest(std::string_view text) const {
  std::string out;
  out.reserve(text.size());
  for (size_t pos = 0; pos < text.size();) {
    const size_t at = pos;
    utf8::next(text, pos);
    const auto match = find(text.substr(at), true);
    // An entry that ends inside a character would leave a broken one.
    if (match && (at + match->size == text.size() ||
                  (static_cast<uint8_t>(text[at + match->size]) & 0xC0) != 0x80)) {
      out += match->text;
      pos = at + match->size;
    } else {
      out += text.substr(at, pos - at);
    }
  }
  return out;
}

std::string Charsmap::apply(std::string_view text) const {
  if (reading_ == Reading::kLongest) return replace_longest(text);
  std::string out;
  out.reserve(text.size());
  for (size_t pos = 0; pos < text.size();) {
    const size_t end = grapheme_end(text, pos);
    const std::string_view grapheme = text.substr(pos, end - pos);
    if (grapheme.size() < kShortGrapheme) {
      if (const auto whole = find(grapheme, false)) {
        out += whole->text;
        pos = end;
        continue;
      }
    }
    while (pos < end) {
      const size_t at = pos;
      utf8::next(text, pos);
      const std::string_view one = text.substr(at, pos - at);
      const auto match = find(one, false);
      out += match ? match->text : one;
    }
  }
  return out;
}

}  // namespace onnuri
