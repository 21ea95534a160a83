// Grammars as text: rules `name ::= alternatives`, with "literals", [classes], ( ), * + ? {m,n},
// `.` and # comments. A rule goes on over line ends until the next `name ::=`.
#include <algorithm>
#include <map>

#include "core/check.h"
#include "fusion/grammar.h"
#include "fusion/utf8.h"

namespace onnuri {
namespace {

constexpr size_t kMaxText = size_t{1} << 20;
constexpr int kMaxDepth = 200;

bool is_name_char(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
         c == '-';
}

class EbnfReader {
 public:
  explicit EbnfReader(const std::string& text) : text_(text) {
    if (text.size() > kMaxText)
      fail(ErrorCode::kUnsupported, "expected a grammar of at most ", kMaxText, " bytes, found ",
           text.size());
    utf8::require_valid(text, "a grammar");
  }

  Grammar read() {
    skip();
    while (pos_ < text_.size()) read_rule();
    const auto root = rules_.find("root");
    if (root == rules_.end())
      fail(ErrorCode::kInvalidArgument, "expected a rule \"root\" in the grammar, found none");
    for (const auto& [name, rule] : rules_)
      if (grammar_.rules()[static_cast<size_t>(rule)].body < 0)
        fail(ErrorCode::kInvalidArgument, "expected a definition of rule \"", name,
             "\" in the grammar, found only its use");
    grammar_.set_root(grammar_.call(root->second));
    return std::move(grammar_);
  }

 private:
  [[noreturn]] void wrong(const char* expected) const {
    const auto line =
        1 + std::count(text_.begin(), text_.begin() + static_cast<std::ptrdiff_t>(pos_), '\n');
    fail(ErrorCode::kInvalidArgument, "expected ", expected, " in line ", line,
         " of the grammar, found ",
         pos_ < text_.size() ? "\"" + text_.substr(pos_, 1) + "\"" : std::string("its end"));
  }

  char peek(size_t ahead = 0) const {
    return pos_ + ahead < text_.size() ? text_[pos_ + ahead] : '\0';
  }
  bool take(char c) {
    if (peek() != c || pos_ >= text_.size()) return false;
    ++pos_;
    return true;
  }
  void skip() {
    while (pos_ < text_.size()) {
      if (peek() == '#') {
        while (pos_ < text_.size() && peek() != '\n') ++pos_;
      } else if (peek() == ' ' || peek() == '\t' || peek() == '\r' || peek() == '\n') {
        ++pos_;
      } else {
        break;
      }
    }
  }

  std::string read_name() {
    const size_t begin = pos_;
    while (pos_ < text_.size() && is_name_char(peek())) ++pos_;
    if (pos_ == begin) wrong("the name of a rule");
    return text_.substr(begin, pos_ - begin);
  }

  // True before `name ::=`: where the current rule ends.
  bool at_rule() {
    const size_t saved = pos_;
    while (pos_ < text_.size() && is_name_char(peek())) ++pos_;
    const bool named = pos_ > saved;
    skip();
    const bool found = named && text_.compare(pos_, 3, "::=") == 0;
    pos_ = saved;
    return found;
  }

  int32_t rule(const std::string& name) {
    const auto it = rules_.find(name);
    if (it != rules_.end()) return it->second;
    return rules_[name] = grammar_.add_rule(name);
  }

  void read_rule() {
    const std::string name = read_name();
    skip();
    if (text_.compare(pos_, 3, "::=") != 0) wrong("::=");
    pos_ += 3;
    const int32_t id = rule(name);
    if (grammar_.rules()[static_cast<size_t>(id)].body >= 0)
      fail(ErrorCode::kInvalidArgument, "expected one definition of rule \"", name,
           "\", found two");
    grammar_.define(id, read_alternatives());
    skip();
    if (pos_ < text_.size() && !at_rule()) wrong("the next rule");
  }

  Expr read_alternatives() {
    std::vector<Expr> options;
    do {
      std::vector<Expr> parts;
      for (;;) {
        skip();
        if (pos_ >= text_.size() || peek() == '|' || peek() == ')' || at_rule()) break;
        parts.push_back(read_piece());
      }
      options.push_back(grammar_.sequence(std::move(parts)));
    } while (take('|'));
    return grammar_.choice(std::move(options));
  }

  int64_t read_number() {
    if (peek() < '0' || peek() > '9') wrong("a count");
    int64_t value = 0;
    while (peek() >= '0' && peek() <= '9')
      value = std::min<int64_t>(value * 10 + (text_[pos_++] - '0'), Grammar::kMaxRepeat + 1);
    return value;
  }

  Expr read_piece() {
    Expr atom = read_atom();
    for (;;) {
      if (take('*'))
        atom = grammar_.repeat(atom, 0, -1);
      else if (take('+'))
        atom = grammar_.repeat(atom, 1, -1);
      else if (take('?'))
        atom = grammar_.repeat(atom, 0, 1);
      else if (take('{'))
        atom = read_count(atom);
      else
        return atom;
    }
  }

  Expr read_count(Expr atom) {
    skip();
    const int64_t low = peek() == ',' ? 0 : read_number();
    int64_t high = low;
    skip();
    if (take(',')) {
      skip();
      high = peek() == '}' ? -1 : read_number();
      skip();
    }
    if (!take('}')) wrong("a closing brace");
    return grammar_.repeat(atom, low, high);
  }

  Expr read_atom() {
    const char c = peek();
    if (c == '"' || c == '\'') return read_literal();
    if (c == '[') return grammar_.chars(read_class());
    if (c == '.') {
      ++pos_;
      return grammar_.chars(CharSet::all());
    }
    if (c == '(') {
      if (++depth_ > kMaxDepth)
        fail(ErrorCode::kUnsupported, "expected at most ", kMaxDepth, " nested groups, found more");
      ++pos_;
      const Expr inner = read_alternatives();
      if (!take(')')) wrong("a closing parenthesis");
      --depth_;
      return inner;
    }
    if (is_name_char(c)) return grammar_.call(rule(read_name()));
    wrong("a literal, a class, a group or the name of a rule");
  }

  char32_t read_char() {
    if (peek() == '\\') {
      ++pos_;
      const char c = peek();
      if (pos_ >= text_.size()) wrong("a character after the backslash");
      ++pos_;
      switch (c) {
        case 'n': return '\n';
        case 't': return '\t';
        case 'r': return '\r';
        case 'x': return read_hex(2);
        case 'u': return read_hex(4);
        case 'U': return read_hex(8);
        default: break;
      }
      if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9'))
        wrong("an escape that is known");
      return static_cast<unsigned char>(c);
    }
    return utf8::next(text_, pos_);
  }

  char32_t read_hex(int digits) {
    char32_t value = 0;
    for (int i = 0; i < digits; ++i, ++pos_) {
      const char c = peek();
      if (c >= '0' && c <= '9')
        value = value * 16 + static_cast<char32_t>(c - '0');
      else if (c >= 'a' && c <= 'f')
        value = value * 16 + static_cast<char32_t>(c - 'a' + 10);
      else if (c >= 'A' && c <= 'F')
        value = value * 16 + static_cast<char32_t>(c - 'A' + 10);
      else
        wrong("a hexadecimal digit");
    }
    if (value > 0x10FFFF || (value >= 0xD800 && value <= 0xDFFF)) wrong("a Unicode character");
    return value;
  }

  Expr read_literal() {
    const char quote = text_[pos_++];
    std::vector<Expr> parts;
    while (peek() != quote) {
      if (pos_ >= text_.size() || peek() == '\n') wrong("the end of a literal");
      const char32_t c = read_char();
      parts.push_back(grammar_.chars(CharSet(c, c)));
    }
    ++pos_;
    return grammar_.sequence(std::move(parts));
  }

  CharSet read_class() {
    ++pos_;
    const bool negated = take('^');
    CharSet set;
    while (peek() != ']') {
      if (pos_ >= text_.size() || peek() == '\n') wrong("a closing bracket");
      const char32_t first = read_char();
      char32_t last = first;
      if (peek() == '-' && peek(1) != ']') {
        ++pos_;
        last = read_char();
        if (last < first) wrong("a range in order");
      }
      set.add(first, last);
    }
    ++pos_;
    return negated ? set.complement() : set.complement().complement();
  }

  const std::string& text_;
  size_t pos_ = 0;
  int depth_ = 0;
  Grammar grammar_;
  std::map<std::string, int32_t> rules_;
};

}  // namespace

Grammar grammar_from_ebnf(const std::string& text) { return EbnfReader(text).read(); }

}  // namespace onnuri
