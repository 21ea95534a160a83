// See char_classes.h. Categories by utf8proc.
#include "fusion/char_classes.h"

#include <utf8proc.h>

#include <algorithm>

#include "core/check.h"
#include "fusion/utf8.h"

namespace onnuri {

namespace {

uint8_t flags_of(char32_t c) {
  unsigned flags = 0;
  switch (utf8proc_category(static_cast<utf8proc_int32_t>(c))) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LT: flags = CharClasses::kLetter | CharClasses::kUpperSide; break;
    case UTF8PROC_CATEGORY_LL: flags = CharClasses::kLetter | CharClasses::kLowerSide; break;
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
      flags = CharClasses::kLetter | CharClasses::kUpperSide | CharClasses::kLowerSide;
      break;
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
      flags = CharClasses::kMark | CharClasses::kUpperSide | CharClasses::kLowerSide;
      break;
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_NO: flags = CharClasses::kNumber; break;
    default: break;
  }
  if (utf8::is_space(c)) flags |= CharClasses::kSpace;
  if (c == '\r' || c == '\n') flags |= CharClasses::kNewline;
  if (utf8::is_punctuation(c)) flags |= CharClasses::kPunctuation;
  return static_cast<uint8_t>(flags);
}

}  // namespace

CharClasses::CharClasses() {
  std::array<uint8_t, 256> page{};
  for (char32_t first = 0; first < 0x110000; first += 256) {
    // Planes 4 to 13 are unassigned; 15 and 16 are private.
    if ((first >= 0x40000 && first < 0xE0000) || first >= 0xF0000) {
      page.fill(0);
    } else {
      for (char32_t i = 0; i < 256; ++i) page[i] = flags_of(first + i);
    }
    const size_t known = pages_.size() / 256;
    size_t at = 0;
    while (at < known &&
           !std::equal(page.begin(), page.end(), pages_.begin() + static_cast<ptrdiff_t>(at * 256)))
      ++at;
    if (at == known) pages_.insert(pages_.end(), page.begin(), page.end());
    ONNURI_CHECK(at < 256);
    index_[first >> 8] = static_cast<uint8_t>(at);
  }
}

}  // namespace onnuri
