// The Unicode classes that pre-tokenizer patterns ask for, one byte of flags per character.
//
// Two stages: a page number for each 256 characters, and the distinct pages. Pages that hold
// nothing but unassigned or private characters share one of zeros.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace onnuri {

class CharClasses {
 public:
  enum Flag : uint8_t {
    kLetter = 1,         // L
    kUpperSide = 2,      // Lu Lt Lm Lo M: what may stand in the first half of a cased word
    kLowerSide = 4,      // Ll Lm Lo M: and in the second
    kMark = 8,           // M
    kNumber = 16,        // N
    kSpace = 32,         // White_Space
    kNewline = 64,       // \r and \n, which are kSpace too
    kPunctuation = 128,  // P, and the ASCII symbols
  };

  CharClasses();

  uint8_t of(char32_t c) const {
    return c < 0x110000 ? pages_[size_t{index_[c >> 8]} << 8 | (c & 0xFF)] : uint8_t{0};
  }
  /// For bytes below 0x80.
  uint8_t of_ascii(uint8_t c) const { return pages_[c]; }

 private:
  std::array<uint8_t, 0x1100> index_{};
  std::vector<uint8_t> pages_;
};

}  // namespace onnuri
