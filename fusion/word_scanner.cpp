// See word_scanner.h.
#include "fusion/word_scanner.h"

#include <array>
#include <vector>

#include "fusion/utf8.h"

namespace onnuri {

namespace {

using Contractions = WordPattern::Contractions;
using Letters = WordPattern::Letters;
using Tail = WordPattern::Tail;

constexpr std::string_view kAnyCase = "(?i:'s|'t|'re|'ve|'m|'ll|'d)";

// The alternatives of a pattern: cut at bars outside of all brackets.
std::vector<std::string_view> alternatives(std::string_view regex) {
  std::vector<std::string_view> out;
  size_t from = 0;
  int depth = 0;
  bool in_class = false;
  for (size_t i = 0; i < regex.size(); ++i) {
    const char c = regex[i];
    if (c == '\\') {
      ++i;
    } else if (in_class) {
      in_class = c != ']';
    } else if (c == '[') {
      in_class = true;
    } else if (c == '(') {
      ++depth;
    } else if (c == ')') {
      --depth;
    } else if (c == '|' && depth == 0) {
      out.push_back(regex.substr(from, i - from));
      from = i + 1;
    }
  }
  out.push_back(regex.substr(from));
  return out;
}

// Reads the parts from front to back; each step says whether it knew what it saw.
struct Reader {
  std::vector<std::string_view> parts;
  size_t pos = 0;
  bool is(std::string_view text) {
    if (pos >= parts.size() || parts[pos] != text) return false;
    ++pos;
    return true;
  }
};

void read_contractions(Reader& in, WordPattern& out) {
  constexpr std::array<std::string_view, 7> kExact = {"'s", "'t", "'re", "'ve", "'m", "'ll", "'d"};
  if (in.is(kAnyCase) || in.is("'(?i:[sdmt]|ll|ve|re)")) {
    out.contractions = Contractions::kAnyCase;
  } else if (in.parts.size() > kExact.size() && in.parts[0] == kExact[0]) {
    for (const std::string_view word : kExact) {
      if (!in.is(word)) return;
    }
    out.contractions = Contractions::kExact;
  }
}

bool read_cased(Reader& in, WordPattern& out) {
  constexpr std::string_view kLower =
      "[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]*"
      "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]+";
  constexpr std::string_view kUpper =
      "[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]+"
      "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]*";
  out.letters = Letters::kCased;
  if (in.is(kLower)) return in.is(kUpper);
  const std::string ending = std::string(kAnyCase) + '?';
  out.cased_contractions = true;
  return in.is(std::string(kLower) + ending) && in.is(std::string(kUpper) + ending);
}

bool read_letters(Reader& in, WordPattern& out) {
  if (in.is(" ?\\p{L}+")) {
    out.letters = Letters::kSpaced;
  } else if (in.is("[^\\r\\n\\p{L}\\p{N}]?\\p{L}+")) {
    out.letters = Letters::kPrefixed;
  } else if (in.is("[^\\r\\n\\p{L}\\p{N}]?[\\p{L}\\p{M}]+")) {
    out.letters = Letters::kMarked;
  } else if (in.is("[^\\r\\n\\p{L}\\p{N}]?(?:\\p{L}\\p{M}*(?: \\p{L}\\p{M}*)*)+")) {
    out.letters = Letters::kJoined;
  } else {
    return read_cased(in, out);
  }
  return true;
}

bool read_digits(Reader& in, WordPattern& out) {
  if (in.is(" ?\\p{N}+")) {
    out.spaced_digits = true;
  } else if (in.is("\\p{N}") || in.is("\\p{N}{1}")) {
    out.max_digits = 1;
  } else if (in.is("\\p{N}{1,3}")) {
    out.max_digits = 3;
  } else if (!in.is("\\p{N}+")) {
    return false;
  }
  return true;
}

bool read_signs(Reader& in, WordPattern& out) {
  if (in.is(" ?[^\\s\\p{L}\\p{N}]+")) {
    out.tail = Tail::kNone;
  } else if (in.is(" ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*")) {
    out.tail = Tail::kNewlines;
  } else if (in.is(" ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*")) {
    out.tail = Tail::kNewlinesAndSlashes;
  } else if (in.is(" ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]?")) {
    out.tail = Tail::kOneOfThem;
  } else if (in.is(" ?[^\\s\\p{L}\\p{M}\\p{N}]+[\\r\\n]*")) {
    out.tail = Tail::kNewlines;
    out.marks_are_signs = false;
  } else {
    return false;
  }
  return true;
}

// The end of a contraction at `pos`, or `pos`. The long s is a small s to patterns without case.
size_t contraction(std::string_view text, size_t pos, bool any_case) {
  if (pos + 1 >= text.size() || text[pos] != '\'') return pos;
  const auto letter = [&](size_t i) {
    const char c = i < text.size() ? text[i] : '\0';
    return any_case && c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  };
  const char a = letter(pos + 1);
  if (a == 's' || a == 't' || a == 'm' || a == 'd') return pos + 2;
  const char b = letter(pos + 2);
  if ((a == 'r' && b == 'e') || (a == 'v' && b == 'e') || (a == 'l' && b == 'l')) return pos + 3;
  if (any_case && text.substr(pos + 1, 2) == "\xC5\xBF") return pos + 3;
  return pos;
}

}  // namespace

std::optional<WordPattern> WordPattern::recognise(std::string_view regex) {
  Reader in{alternatives(regex), 0};
  WordPattern out;
  read_contractions(in, out);
  if (!read_letters(in, out) || !read_digits(in, out) || !read_signs(in, out)) return std::nullopt;
  // Marks in no run at all would leave gaps.
  if (!out.marks_are_signs && out.letters != Letters::kMarked) return std::nullopt;
  if (in.is("\\s*[\\r\\n]+") || in.is("\\s*[\\r\\n]")) out.ends_at_newline = true;
  if (!in.is("\\s+(?!\\S)") || !in.is("\\s+") || in.pos != in.parts.size()) return std::nullopt;
  return out;
}

inline WordScanner::Char WordScanner::at(std::string_view text, size_t pos) const {
  if (pos >= text.size()) return {0, pos};
  const auto byte = static_cast<uint8_t>(text[pos]);
  if (byte < 0x80) return {classes_.of_ascii(byte), pos + 1};
  size_t end = pos;
  const char32_t c = utf8::next(text, end);
  return {classes_.of(c), end};
}

inline size_t WordScanner::run(std::string_view text, size_t pos, unsigned wanted) const {
  while (pos < text.size()) {
    const Char c = at(text, pos);
    if ((c.flags & wanted) == 0) break;
    pos = c.end;
  }
  return pos;
}

inline size_t WordScanner::run_without(std::string_view text, size_t pos, unsigned unwanted) const {
  while (pos < text.size()) {
    const Char c = at(text, pos);
    if ((c.flags & unwanted) != 0) break;
    pos = c.end;
  }
  return pos;
}

size_t WordScanner::joined(std::string_view text, size_t pos) const {
  while (true) {
    Char c = at(text, pos);
    if (pos < text.size() && text[pos] == ' ') c = at(text, c.end);
    if ((c.flags & CharClasses::kLetter) == 0) return pos;
    pos = run(text, c.end, CharClasses::kMark);
  }
}

// [upper]*[lower]+ : the run of uppers gives back characters until a lower one follows.
size_t WordScanner::cased_lower(std::string_view text, size_t pos) const {
  size_t end = pos;
  size_t both_end = 0;  // behind the last character that may be either
  while (end < text.size()) {
    const Char c = at(text, end);
    if ((c.flags & CharClasses::kUpperSide) == 0) break;
    end = c.end;
    if ((c.flags & CharClasses::kLowerSide) != 0) both_end = end;
  }
  const size_t lower_end = run(text, end, CharClasses::kLowerSide);
  if (lower_end > end) return lower_end;
  return both_end > pos ? both_end : pos;
}

// [upper]+[lower]*
size_t WordScanner::cased_upper(std::string_view text, size_t pos) const {
  const size_t end = run(text, pos, CharClasses::kUpperSide);
  return end > pos ? run(text, end, CharClasses::kLowerSide) : pos;
}

size_t WordScanner::cased(std::string_view text, size_t pos, Char first) const {
  constexpr unsigned kNoPrefix =
      CharClasses::kLetter | CharClasses::kNumber | CharClasses::kNewline;
  const bool prefixed = (first.flags & kNoPrefix) == 0;
  const bool plain = (first.flags & (CharClasses::kUpperSide | CharClasses::kLowerSide)) != 0;
  size_t end = pos;
  const auto attempt = [&](auto form) {
    if (prefixed) {
      const size_t e = (this->*form)(text, first.end);
      if (e > first.end) end = e;
    }
    if (end == pos && plain) end = (this->*form)(text, pos);
    return end > pos;
  };
  if (!attempt(&WordScanner::cased_lower) && !attempt(&WordScanner::cased_upper)) return pos;
  return pattern_.cased_contractions ? contraction(text, end, true) : end;
}

// Alternatives that begin with letters, perhaps behind one other character.
inline size_t WordScanner::letters(std::string_view text, size_t pos, Char first) const {
  constexpr unsigned kNoPrefix =
      CharClasses::kLetter | CharClasses::kNumber | CharClasses::kNewline;
  const bool prefixed = (first.flags & kNoPrefix) == 0;
  switch (pattern_.letters) {
    case Letters::kSpaced: {
      if ((first.flags & CharClasses::kLetter) != 0)
        return run(text, first.end, CharClasses::kLetter);
      if (text[pos] != ' ') return pos;
      const size_t end = run(text, first.end, CharClasses::kLetter);
      return end > first.end ? end : pos;
    }
    case Letters::kPrefixed: {
      if ((first.flags & CharClasses::kLetter) != 0)
        return run(text, first.end, CharClasses::kLetter);
      if (!prefixed) return pos;
      const size_t end = run(text, first.end, CharClasses::kLetter);
      return end > first.end ? end : pos;
    }
    case Letters::kMarked: {
      constexpr unsigned kWord = CharClasses::kLetter | CharClasses::kMark;
      if ((first.flags & kWord) != 0) return run(text, first.end, kWord);
      if (!prefixed) return pos;
      const size_t end = run(text, first.end, kWord);
      return end > first.end ? end : pos;
    }
    case Letters::kJoined: {
      if ((first.flags & CharClasses::kLetter) != 0)
        return joined(text, run(text, first.end, CharClasses::kMark));
      if (!prefixed) return pos;
      const Char letter = at(text, first.end);
      if ((letter.flags & CharClasses::kLetter) == 0) return pos;
      return joined(text, run(text, letter.end, CharClasses::kMark));
    }
    case Letters::kCased: return cased(text, pos, first);
  }
  return pos;
}

inline size_t WordScanner::digits(std::string_view text, size_t pos, Char first) const {
  if (pattern_.spaced_digits && text[pos] == ' ') {
    const size_t end = run(text, first.end, CharClasses::kNumber);
    return end > first.end ? end : pos;
  }
  if ((first.flags & CharClasses::kNumber) == 0) return pos;
  size_t end = first.end;
  for (size_t n = 1; pattern_.max_digits == 0 || n < pattern_.max_digits; ++n) {
    const Char c = at(text, end);
    if ((c.flags & CharClasses::kNumber) == 0) break;
    end = c.end;
  }
  return end;
}

size_t WordScanner::tail(std::string_view text, size_t pos) const {
  if (pattern_.tail == Tail::kNone) return pos;
  const bool slashes = pattern_.tail != Tail::kNewlines;
  while (pos < text.size() &&
         (text[pos] == '\r' || text[pos] == '\n' || (slashes && text[pos] == '/'))) {
    ++pos;
    if (pattern_.tail == Tail::kOneOfThem) break;
  }
  return pos;
}

inline size_t WordScanner::signs(std::string_view text, size_t pos, Char first) const {
  const unsigned unwanted = CharClasses::kSpace | CharClasses::kLetter | CharClasses::kNumber |
                            (pattern_.marks_are_signs ? 0U : unsigned{CharClasses::kMark});
  size_t begin = pos;
  if (text[pos] == ' ') {
    begin = first.end;
  } else if ((first.flags & unwanted) != 0) {
    return pos;
  }
  const size_t end = run_without(text, begin, unwanted);
  return end > begin ? tail(text, end) : pos;
}

// White space: up to its last line break; else all of it but the character before the next word.
size_t WordScanner::space(std::string_view text, size_t pos) const {
  size_t end = pos;
  size_t last = pos;     // start of the last character
  size_t newline = pos;  // behind the last line break
  while (end < text.size()) {
    const Char c = at(text, end);
    if ((c.flags & CharClasses::kSpace) == 0) break;
    last = end;
    end = c.end;
    if ((c.flags & CharClasses::kNewline) != 0) newline = end;
  }
  if (pattern_.ends_at_newline && newline > pos) return newline;
  if (end == text.size() || last == pos) return end;
  return last;
}

size_t WordScanner::next(std::string_view text, size_t pos) const {
  if (text[pos] == '\'' && pattern_.contractions != Contractions::kNone) {
    const size_t end = contraction(text, pos, pattern_.contractions == Contractions::kAnyCase);
    if (end > pos) return end;
  }
  const Char first = at(text, pos);
  size_t end = letters(text, pos, first);
  if (end > pos) return end;
  end = digits(text, pos, first);
  if (end > pos) return end;
  end = signs(text, pos, first);
  if (end > pos) return end;
  end = space(text, pos);
  return end > pos ? end : first.end;
}

}  // namespace onnuri
