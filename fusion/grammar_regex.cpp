// Regular expressions to grammar expressions, by recursive descent over code points.
#include <algorithm>
#include <optional>

#include "core/check.h"
#include "fusion/grammar.h"
#include "fusion/utf8.h"

namespace onnuri {
namespace {

constexpr size_t kMaxPattern = size_t{1} << 16;
constexpr int kMaxDepth = 200;

CharSet digits() { return CharSet('0', '9'); }

CharSet word_chars() {
  CharSet set = digits();
  set.add('A', 'Z');
  set.add('a', 'z');
  set.add('_', '_');
  return set;
}

CharSet spaces() {
  CharSet set('\t', '\r');
  set.add(' ', ' ');
  return set;
}

class RegexReader {
 public:
  RegexReader(Grammar& grammar, const std::string& pattern, Spelling spelling)
      : grammar_(grammar), spelling_(spelling) {
    if (pattern.size() > kMaxPattern)
      fail(ErrorCode::kUnsupported, "expected a pattern of at most ", kMaxPattern, " bytes, found ",
           pattern.size());
    utf8::require_valid(pattern, "a regular expression");
    for (size_t pos = 0; pos < pattern.size();) text_.push_back(utf8::next(pattern, pos));
  }

  Expr read(bool search) {
    std::vector<Expr> branches;
    do branches.push_back(read_branch(search));
    while (take('|'));
    if (pos_ < text_.size()) wrong("an end");
    return grammar_.choice(std::move(branches));
  }

 private:
  [[noreturn]] void wrong(const char* expected) const {
    fail(ErrorCode::kInvalidArgument, "expected ", expected, " at character ", pos_,
         " of the regular expression, found ", pos_ < text_.size() ? "something else" : "its end");
  }
  [[noreturn]] void unsupported(const char* what) const {
    fail(ErrorCode::kUnsupported, "expected a regular expression without ", what,
         ", found one at character ", pos_);
  }

  bool more() const { return pos_ < text_.size(); }
  char32_t peek(size_t ahead = 0) const {
    return pos_ + ahead < text_.size() ? text_[pos_ + ahead] : U'\0';
  }
  bool take(char32_t c) {
    if (!more() || text_[pos_] != c) return false;
    ++pos_;
    return true;
  }
  bool at_branch_end() const { return !more() || peek() == '|'; }

  // One alternative of the whole pattern, where anchors may stand.
  Expr read_branch(bool search) {
    const bool anchored = take('^');
    std::vector<Expr> parts;
    if (search && !anchored) parts.push_back(anything());
    bool ends = false;
    while (!at_branch_end()) {
      if (peek() == '$' && (pos_ + 1 == text_.size() || peek(1) == '|')) {
        ++pos_;
        ends = true;
        break;
      }
      if (peek() == ')') wrong("no closing parenthesis");
      parts.push_back(read_piece());
    }
    if (search && !ends) parts.push_back(anything());
    return grammar_.sequence(std::move(parts));
  }

  Expr anything() { return grammar_.repeat(spell(grammar_, CharSet::all(), spelling_), 0, -1); }

  Expr read_alternatives() {
    std::vector<Expr> branches;
    do {
      std::vector<Expr> parts;
      while (more() && peek() != '|' && peek() != ')') parts.push_back(read_piece());
      branches.push_back(grammar_.sequence(std::move(parts)));
    } while (take('|'));
    return grammar_.choice(std::move(branches));
  }

  Expr read_piece() {
    Expr atom = read_atom();
    for (;;) {
      int64_t low = 0;
      int64_t high = -1;
      if (take('*')) {
      } else if (take('+')) {
        low = 1;
      } else if (take('?')) {
        high = 1;
      } else if (peek() == '{' && is_count()) {
        ++pos_;
        low = read_number();
        high = low;
        if (take(',')) high = peek() == '}' ? -1 : read_number();
        if (!take('}')) wrong("a closing brace");
      } else {
        return atom;
      }
      if (take('+')) unsupported("possessive quantifiers");
      take('?');  // lazy: the same texts
      atom = grammar_.repeat(atom, low, high);
      if (peek() == '*' || peek() == '+' || peek() == '?') wrong("no second quantifier");
    }
  }

  bool is_count() const {
    size_t i = 1;
    while (peek(i) >= '0' && peek(i) <= '9') ++i;
    if (i == 1) return false;
    if (peek(i) == ',') ++i;
    while (peek(i) >= '0' && peek(i) <= '9') ++i;
    return peek(i) == '}';
  }

  int64_t read_number() {
    int64_t value = 0;
    while (peek() >= '0' && peek() <= '9') {
      value = std::min<int64_t>(value * 10 + static_cast<int64_t>(text_[pos_++] - '0'),
                                Grammar::kMaxRepeat + 1);
    }
    return value;
  }

  Expr read_atom() {
    const char32_t c = peek();
    switch (c) {
      case '(': return read_group();
      case '[': return spell(grammar_, read_class(), spelling_);
      case '.': {
        ++pos_;
        CharSet lines('\n', '\n');
        lines.add('\r', '\r');
        return spell(grammar_, lines.complement(), spelling_);
      }
      case '\\': return spell(grammar_, read_escape(false), spelling_);
      case '^':
      case '$': unsupported("anchors other than at the ends");
      case '*':
      case '+':
      case '?': wrong("something to repeat");
      default: ++pos_; return spell(grammar_, CharSet(c, c), spelling_);
    }
  }

  Expr read_group() {
    ++pos_;
    if (++depth_ > kMaxDepth)
      fail(ErrorCode::kUnsupported, "expected at most ", kMaxDepth, " nested groups, found more");
    if (take('?')) {
      if (take('P')) {
        if (peek() != '<') unsupported("back-references");
      }
      if (take('<')) {
        if (peek() == '=' || peek() == '!') unsupported("look-around");
        while (more() && peek() != '>') ++pos_;
        if (!take('>')) wrong("the end of a group's name");
      } else if (peek() == '=' || peek() == '!') {
        unsupported("look-around");
      } else if (!take(':')) {
        unsupported("inline flags");
      }
    }
    const Expr inner = read_alternatives();
    if (!take(')')) wrong("a closing parenthesis");
    --depth_;
    return inner;
  }

  CharSet read_class() {
    ++pos_;
    const bool negated = take('^');
    CharSet set;
    bool first = true;
    while (first || peek() != ']') {
      if (!more()) wrong("a closing bracket");
      first = false;
      CharSet item = class_item();
      if (peek() == '-' && peek(1) != ']' && pos_ + 1 < text_.size()) {
        ++pos_;
        const CharSet end = class_item();
        if (!single(item) || !single(end) || item.ranges()[0].first > end.ranges()[0].first)
          wrong("a range in order");
        item = CharSet(item.ranges()[0].first, end.ranges()[0].first);
      }
      set.add(item);
    }
    ++pos_;
    // Through the complement once or twice, so that surrogates never come along.
    return negated ? set.complement() : set.complement().complement();
  }

  static bool single(const CharSet& set) {
    return set.ranges().size() == 1 && set.ranges()[0].first == set.ranges()[0].second;
  }

  CharSet class_item() {
    if (peek() == '\\') return read_escape(true);
    const char32_t c = text_[pos_++];
    return CharSet(c, c);
  }

  char32_t read_hex(int digits) {
    char32_t value = 0;
    for (int i = 0; i < digits; ++i) {
      const char32_t c = peek();
      if (c >= '0' && c <= '9')
        value = value * 16 + (c - '0');
      else if (c >= 'a' && c <= 'f')
        value = value * 16 + (c - 'a' + 10);
      else if (c >= 'A' && c <= 'F')
        value = value * 16 + (c - 'A' + 10);
      else
        wrong("a hexadecimal digit");
      ++pos_;
    }
    return value;
  }

  CharSet read_escape(bool in_class) {
    ++pos_;
    if (!more()) wrong("a character after the backslash");
    const char32_t c = text_[pos_++];
    const auto one = [](char32_t x) { return CharSet(x, x); };
    switch (c) {
      case 'd': return digits();
      case 'D': return digits().complement();
      case 'w': return word_chars();
      case 'W': return word_chars().complement();
      case 's': return spaces();
      case 'S': return spaces().complement();
      case 't': return one('\t');
      case 'n': return one('\n');
      case 'r': return one('\r');
      case 'f': return one('\f');
      case 'v': return one('\v');
      case '0': return one(0);
      case 'x': return one(read_hex(2));
      case 'u': return one(read_unicode());
      case 'b':
        if (in_class) return one('\b');
        unsupported("word borders");
      case 'B':
      case 'A':
      case 'Z':
      case 'z': unsupported("word borders and anchors by letter");
      case 'p':
      case 'P': unsupported("Unicode properties");
      default: break;
    }
    if (c >= '1' && c <= '9') unsupported("back-references");
    if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')) wrong("an escape that is known");
    return one(c);
  }

  char32_t read_unicode() {
    char32_t value = 0;
    if (take('{')) {
      while (more() && peek() != '}' && value <= 0x10FFFF) value = value * 16 + read_hex(1);
      if (!take('}')) wrong("a closing brace");
    } else {
      value = read_hex(4);
      if (value >= 0xD800 && value < 0xDC00 && peek() == '\\' && peek(1) == 'u') {
        pos_ += 2;
        const char32_t low = read_hex(4);
        if (low < 0xDC00 || low > 0xDFFF) wrong("the second half of a surrogate pair");
        value = 0x10000 + ((value - 0xD800) << 10) + (low - 0xDC00);
      }
    }
    if (value > 0x10FFFF || (value >= 0xD800 && value <= 0xDFFF)) wrong("a Unicode character");
    return value;
  }

  Grammar& grammar_;
  Spelling spelling_;
  std::u32string text_;
  size_t pos_ = 0;
  int depth_ = 0;
};

}  // namespace

Expr regex_expr(Grammar& grammar, const std::string& pattern, Spelling spelling, bool search) {
  return RegexReader(grammar, pattern, spelling).read(search);
}

Grammar grammar_from_regex(const std::string& pattern) {
  Grammar grammar;
  grammar.set_root(regex_expr(grammar, pattern, Spelling::kPlain, false));
  return grammar;
}

}  // namespace onnuri
