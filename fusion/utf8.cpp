// See utf8.h.
#include "fusion/utf8.h"

#include <utf8proc.h>

#include <cstring>

#include "core/check.h"

namespace onnuri::utf8 {

namespace {

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";

utf8proc_category_t category(char32_t c) {
  return utf8proc_category(static_cast<utf8proc_int32_t>(c));
}

}  // namespace

Scan scan(std::string_view text, size_t pos) {
  const auto byte = [&](size_t i) {
    return pos + i < text.size() ? static_cast<int>(static_cast<uint8_t>(text[pos + i])) : -1;
  };
  const int b0 = byte(0);
  if (b0 < 0x80) return {1, true, false};
  size_t more = 0;
  int low = 0x80;
  int high = 0xBF;
  if (b0 >= 0xC2 && b0 <= 0xDF) {
    more = 1;
  } else if (b0 >= 0xE0 && b0 <= 0xEF) {
    more = 2;
    if (b0 == 0xE0) low = 0xA0;   // shorter forms exist
    if (b0 == 0xED) high = 0x9F;  // surrogates
  } else if (b0 >= 0xF0 && b0 <= 0xF4) {
    more = 3;
    if (b0 == 0xF0) low = 0x90;
    if (b0 == 0xF4) high = 0x8F;
  } else {
    return {1, false, false};
  }
  for (size_t i = 1; i <= more; ++i) {
    const int b = byte(i);
    if (b < 0) return {i, false, true};
    if (b < low || b > high) return {i, false, false};
    low = 0x80;
    high = 0xBF;
  }
  return {more + 1, true, false};
}

size_t valid_prefix(std::string_view text) {
  size_t pos = 0;
  while (pos < text.size()) {
    uint64_t eight = 0;
    if (pos + 8 <= text.size()) {
      std::memcpy(&eight, text.data() + pos, 8);
      if ((eight & 0x8080808080808080ULL) == 0) {
        pos += 8;
        continue;
      }
    }
    if (static_cast<uint8_t>(text[pos]) < 0x80) {
      ++pos;
      continue;
    }
    const Scan s = scan(text, pos);
    if (!s.valid) return pos;
    pos += s.length;
  }
  return pos;
}

void require_valid(std::string_view text, std::string_view where) {
  const size_t good = valid_prefix(text);
  if (good != text.size())
    fail(ErrorCode::kInvalidArgument, "expected UTF-8 text in ", where, ", found a broken byte 0x",
         std::hex, static_cast<int>(static_cast<uint8_t>(text[good])), std::dec, " at offset ",
         good);
}

std::string lossy(std::string_view text) {
  size_t pos = valid_prefix(text);
  std::string out(text.substr(0, pos));
  while (pos < text.size()) {
    const Scan s = scan(text, pos);
    out += s.valid ? text.substr(pos, s.length) : kReplacement;
    pos += s.length;
  }
  return out;
}

void append(std::string& out, char32_t code_point) {
  utf8proc_uint8_t buffer[4];
  const auto n = utf8proc_encode_char(static_cast<utf8proc_int32_t>(code_point), buffer);
  out.append(reinterpret_cast<const char*>(buffer), static_cast<size_t>(n));
}

size_t count(std::string_view text) {
  size_t n = 0;
  for (const char c : text) n += (static_cast<uint8_t>(c) & 0xC0) != 0x80;
  return n;
}

bool is_space(char32_t c) {
  if (c < 0x80) return c == ' ' || (c >= 9 && c <= 13);
  return c == 0x85 || c == 0xA0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200A) || c == 0x2028 ||
         c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
}

bool is_numeric(char32_t c) {
  if (c < 0x80) return c >= '0' && c <= '9';
  const auto k = category(c);
  return k == UTF8PROC_CATEGORY_ND || k == UTF8PROC_CATEGORY_NL || k == UTF8PROC_CATEGORY_NO;
}

bool is_punctuation(char32_t c) {
  if (c < 0x80)
    return (c >= 33 && c <= 47) || (c >= 58 && c <= 64) || (c >= 91 && c <= 96) ||
           (c >= 123 && c <= 126);
  const auto k = category(c);
  return k >= UTF8PROC_CATEGORY_PC && k <= UTF8PROC_CATEGORY_PO;
}

bool is_letter(char32_t c) {
  const auto k = category(c);
  return k >= UTF8PROC_CATEGORY_LU && k <= UTF8PROC_CATEGORY_LO;
}

bool is_word(char32_t c) {
  if (c < 0x80)
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
  const auto k = category(c);
  // Joiners, and the circled and squared letters that are alphabetic symbols.
  return (k >= UTF8PROC_CATEGORY_LU && k <= UTF8PROC_CATEGORY_ND) || k == UTF8PROC_CATEGORY_NL ||
         k == UTF8PROC_CATEGORY_PC || c == 0x200C || c == 0x200D || (c >= 0x24B6 && c <= 0x24E9) ||
         (c >= 0x1F130 && c <= 0x1F149) || (c >= 0x1F150 && c <= 0x1F169) ||
         (c >= 0x1F170 && c <= 0x1F189);
}

bool is_upper(char32_t c) { return category(c) == UTF8PROC_CATEGORY_LU; }
bool is_lower(char32_t c) { return category(c) == UTF8PROC_CATEGORY_LL; }

std::string lower(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (size_t pos = 0; pos < text.size();) {
    const char32_t c = next(text, pos);
    if (c == 0x130) {
      out += "i\xCC\x87";  // the one letter whose small form has two code points
    } else {
      append(out, static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(c))));
    }
  }
  return out;
}

std::string upper(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (size_t pos = 0; pos < text.size();) {
    const char32_t c = next(text, pos);
    if (c == 0xDF) {
      out += "SS";
    } else {
      append(out, static_cast<char32_t>(utf8proc_toupper(static_cast<utf8proc_int32_t>(c))));
    }
  }
  return out;
}

}  // namespace onnuri::utf8
