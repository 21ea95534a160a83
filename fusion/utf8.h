// UTF-8: decoding, checking, repairing, and the character classes that text splitting needs.
//
// Classes come from utf8proc (Unicode categories). Repair follows the Unicode rule of maximal
// subparts: one U+FFFD for each longest broken start of a character.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace onnuri::utf8 {

/// What stands at one position: how many bytes belong together, and whether they are a character.
/// `truncated` means that the text ended inside a character that was right so far.
struct Scan {
  size_t length = 0;
  bool valid = false;
  bool truncated = false;
};
Scan scan(std::string_view text, size_t pos);

/// The bytes before the first broken character (text.size() when all is well).
size_t valid_prefix(std::string_view text);
/// Throws kInvalidArgument naming the offset of the first broken byte.
void require_valid(std::string_view text, std::string_view where);
/// Broken parts replaced by U+FFFD.
std::string lossy(std::string_view text);

/// Decodes the character at `pos` of valid text and moves `pos` behind it.
inline char32_t next(std::string_view text, size_t& pos) {
  const auto byte = [&](size_t i) { return static_cast<char32_t>(static_cast<uint8_t>(text[i])); };
  const char32_t b0 = byte(pos);
  if (b0 < 0x80) return pos += 1, b0;
  if (b0 < 0xE0 && pos + 1 < text.size()) {
    pos += 2;
    return (b0 & 0x1F) << 6 | (byte(pos - 1) & 0x3F);
  }
  if (b0 < 0xF0 && pos + 2 < text.size()) {
    pos += 3;
    return (b0 & 0x0F) << 12 | (byte(pos - 2) & 0x3F) << 6 | (byte(pos - 1) & 0x3F);
  }
  if (pos + 3 < text.size()) {
    pos += 4;
    return (b0 & 0x07) << 18 | (byte(pos - 3) & 0x3F) << 12 | (byte(pos - 2) & 0x3F) << 6 |
           (byte(pos - 1) & 0x3F);
  }
  pos = text.size();
  return 0xFFFD;
}

/// The start of the character that ends before `pos` (pos > 0) of valid text.
inline size_t previous(std::string_view text, size_t pos) {
  --pos;
  while (pos > 0 && (static_cast<uint8_t>(text[pos]) & 0xC0) == 0x80) --pos;
  return pos;
}

void append(std::string& out, char32_t code_point);
/// The number of characters of valid text.
size_t count(std::string_view text);

bool is_space(char32_t c);        // White_Space
bool is_numeric(char32_t c);      // Nd, Nl, No
bool is_punctuation(char32_t c);  // P*, and the ASCII symbols
bool is_letter(char32_t c);       // L*
bool is_word(char32_t c);         // letters, marks, decimal digits, connectors
bool is_upper(char32_t c);
bool is_lower(char32_t c);

std::string lower(std::string_view text);
std::string upper(std::string_view text);

}  // namespace onnuri::utf8
