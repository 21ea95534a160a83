// The pre-tokenizer patterns of published vocabularies, matched by hand.
//
// Nearly all of them are one form with a few choices: contractions, letters with what may stand
// before them, digits, other signs with what may follow, white space. A pattern is taken apart at
// its top-level bars; where every part is one that is known here, the scanner cuts words exactly
// as the regular expression would, several times faster. Any other pattern stays with the regex.
#pragma once

#include <array>
#include <cstddef>
#include <optional>
#include <string_view>

#include "fusion/char_classes.h"

namespace onnuri {

struct WordPattern {
  enum class Contractions { kNone, kExact, kAnyCase };  // 's 't 're 've 'm 'll 'd
  enum class Letters {
    kSpaced,    // " ?L+"
    kPrefixed,  // one sign, then L+
    kMarked,    // one sign, then letters and marks
    kJoined,    // one sign, then letters with marks, also across single spaces
    kCased      // one sign, then upper before lower
  };
  enum class Tail { kNone, kNewlines, kNewlinesAndSlashes, kOneOfThem };  // behind other signs

  Contractions contractions = Contractions::kNone;
  Letters letters = Letters::kSpaced;
  bool cased_contractions = false;  // at the end of a cased word
  size_t max_digits = 0;            // 0: any number
  bool spaced_digits = false;       // " ?N+"
  bool marks_are_signs = true;      // else they are in no run of signs
  Tail tail = Tail::kNone;
  bool ends_at_newline = false;  // white space up to its last line break is a word

  /// The pattern's form, or nothing when a part of it is not known.
  static std::optional<WordPattern> recognise(std::string_view regex);
};

class WordScanner {
 public:
  explicit WordScanner(const WordPattern& pattern) : pattern_(pattern) {}

  /// The end of the word that starts at `pos` < text.size() of valid UTF-8. Words leave no gaps.
  size_t next(std::string_view text, size_t pos) const;
  const CharClasses& classes() const { return classes_; }

 private:
  struct Char {
    uint8_t flags = 0;
    size_t end = 0;
  };
  Char at(std::string_view text, size_t pos) const;
  size_t run(std::string_view text, size_t pos, unsigned wanted) const;
  size_t run_without(std::string_view text, size_t pos, unsigned unwanted) const;
  size_t letters(std::string_view text, size_t pos, Char first) const;
  size_t cased(std::string_view text, size_t pos, Char first) const;
  size_t cased_lower(std::string_view text, size_t pos) const;
  size_t cased_upper(std::string_view text, size_t pos) const;
  size_t joined(std::string_view text, size_t pos) const;
  size_t digits(std::string_view text, size_t pos, Char first) const;
  size_t signs(std::string_view text, size_t pos, Char first) const;
  size_t tail(std::string_view text, size_t pos) const;
  size_t space(std::string_view text, size_t pos) const;

  WordPattern pattern_;
  CharClasses classes_;
};

}  // namespace onnuri
