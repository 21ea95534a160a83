// See jinja_lexer.h.
#include "fusion/jinja_lexer.h"

#include <algorithm>
#include <array>
#include <utility>

#include "core/check.h"
#include "fusion/utf8.h"

namespace onnuri::jinja {

namespace {

bool is_space(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }
bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_name_start(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' ||
         static_cast<uint8_t>(c) >= 0x80;
}

// One kind of newline; a single one at the very end is dropped.
std::string normalize_newlines(std::string_view source) {
  std::string out;
  out.reserve(source.size());
  for (size_t i = 0; i < source.size(); ++i) {
    if (source[i] != '\r') {
      out += source[i];
    } else {
      out += '\n';
      if (i + 1 < source.size() && source[i + 1] == '\n') ++i;
    }
  }
  if (out.ends_with('\n')) out.pop_back();
  return out;
}

class Lexer {
 public:
  explicit Lexer(std::string_view source) : source_(normalize_newlines(source)) {}

  std::vector<Token> run() {
    while (pos_ < source_.size()) {
      const size_t open = find_open();
      std::string text = source_.substr(pos_, open - pos_);
      if (open == source_.size()) {
        push_data(std::move(text));
        break;
      }
      const char kind = source_[open + 1];
      const char sign = open + 2 < source_.size() ? source_[open + 2] : '\0';
      strip_before(text, kind, sign);
      push_data(std::move(text));
      advance(open);
      if (kind == '#') {
        comment();
      } else if (kind == '%' && raw_begins(sign)) {
        raw();
      } else {
        tag(kind, sign);
      }
    }
    tokens_.push_back({Token::Kind::kEnd, "", line_});
    return std::move(tokens_);
  }

 private:
  [[noreturn]] void broken(std::string_view what) const {
    fail(ErrorCode::kCorruptData, "expected ", what, " in chat template line ", line_);
  }

  size_t find_open() const {
    for (size_t at = source_.find('{', pos_); at != source_.npos; at = source_.find('{', at + 1)) {
      const char c = at + 1 < source_.size() ? source_[at + 1] : '\0';
      if (c == '{' || c == '%' || c == '#') return at;
    }
    return source_.size();
  }

  void advance(size_t to) {
    line_ += static_cast<int>(std::count(source_.begin() + static_cast<ptrdiff_t>(pos_),
                                         source_.begin() + static_cast<ptrdiff_t>(to), '\n'));
    pos_ = to;
    line_starting_ = pos_ == 0 || source_[pos_ - 1] == '\n';
  }

  void push_data(std::string text) {
    if (!text.empty()) tokens_.push_back({Token::Kind::kData, std::move(text), line_});
  }

  // White space in front of a tag: all of it for "-", that of its own line for blocks.
  void strip_before(std::string& text, char kind, char sign) const {
    if (sign == '-') {
      while (!text.empty() && is_space(text.back())) text.pop_back();
    } else if (sign != '+' && kind != '{') {
      const size_t newline = text.rfind('\n');
      const size_t start = newline == text.npos ? 0 : newline + 1;
      if ((start > 0 || line_starting_) &&
          std::all_of(text.begin() + static_cast<ptrdiff_t>(start), text.end(), is_space))
        text.resize(start);
    }
  }

  // Behind a tag that ends at `end`: all white space for "-", one newline for blocks.
  void close(size_t end, char sign, bool trims) {
    if (sign == '-') {
      while (end < source_.size() && is_space(source_[end])) ++end;
    } else if (trims && sign != '+' && end < source_.size() && source_[end] == '\n') {
      ++end;
    }
    advance(end);
  }

  void comment() {
    const size_t end = source_.find("#}", pos_ + 2);
    if (end == source_.npos) broken("the end of a comment");
    close(end + 2, end > pos_ + 2 ? source_[end - 1] : '\0', true);
  }

  size_t skip_spaces(size_t at) const {
    while (at < source_.size() && is_space(source_[at])) ++at;
    return at;
  }

  // The position behind "word" and the block's end, or npos; the sign before "%}" in `sign`.
  size_t word_tag(size_t at, std::string_view word, char& sign) const {
    at = skip_spaces(at);
    if (source_.compare(at, word.size(), word) != 0) return source_.npos;
    at = skip_spaces(at + word.size());
    sign = '\0';
    if (at < source_.size() && (source_[at] == '-' || source_[at] == '+')) sign = source_[at++];
    return source_.compare(at, 2, "%}") == 0 ? at + 2 : source_.npos;
  }

  bool raw_begins(char sign) const {
    char unused = '\0';
    return word_tag(pos_ + (sign == '-' || sign == '+' ? 3 : 2), "raw", unused) != source_.npos;
  }

  void raw() {
    const char open_sign = source_[pos_ + 2];
    char sign = '\0';
    const size_t begin =
        word_tag(pos_ + (open_sign == '-' || open_sign == '+' ? 3 : 2), "raw", sign);
    close(begin, sign, false);
    for (size_t at = source_.find("{%", pos_); at != source_.npos;
         at = source_.find("{%", at + 1)) {
      const char before = at + 2 < source_.size() ? source_[at + 2] : '\0';
      const size_t end = word_tag(at + (before == '-' || before == '+' ? 3 : 2), "endraw", sign);
      if (end == source_.npos) continue;
      std::string text = source_.substr(pos_, at - pos_);
      strip_before(text, '%', before);
      push_data(std::move(text));
      close(end, sign, true);
      return;
    }
    broken("endraw");
  }

  void tag(char kind, char sign) {
    const bool print = kind == '{';
    tokens_.push_back({print ? Token::Kind::kPrintBegin : Token::Kind::kTagBegin, "", line_});
    advance(pos_ + (sign == '-' || (sign == '+' && !print) ? 3 : 2));
    const std::string_view end = print ? "}}" : "%}";
    int open = 0;
    for (;;) {
      advance(skip_spaces(pos_));
      if (pos_ >= source_.size()) broken("the end of a tag");
      const char c = source_[pos_];
      if (open == 0) {
        const bool signed_end =
            (c == '-' || (c == '+' && !print)) && source_.compare(pos_ + 1, 2, end) == 0;
        if (signed_end || source_.compare(pos_, 2, end) == 0) {
          tokens_.push_back({print ? Token::Kind::kPrintEnd : Token::Kind::kTagEnd, "", line_});
          close(pos_ + (signed_end ? 3 : 2), signed_end ? c : '\0', !print);
          return;
        }
      }
      lex_one(c, open);
    }
  }

  void lex_one(char c, int& open) {
    if (is_name_start(c)) {
      size_t end = pos_;
      while (end < source_.size() && (is_name_start(source_[end]) || is_digit(source_[end]))) ++end;
      take(Token::Kind::kName, end);
    } else if (is_digit(c)) {
      number();
    } else if (c == '"' || c == '\'') {
      string(c);
    } else {
      constexpr std::array<std::string_view, 7> kLong = {"**", "//", "==", "!=", "<=", ">=", ""};
      size_t size = 1;
      for (const std::string_view op : kLong) {
        if (!op.empty() && source_.compare(pos_, 2, op) == 0) size = 2;
      }
      if (size == 1 && std::string_view("+-*/%~[](){}.,:|=<>").find(c) == std::string_view::npos)
        broken(std::string("an operator, not \"") + c + "\",");
      if (c == '(' || c == '[' || c == '{') ++open;
      if (c == ')' || c == ']' || c == '}') --open;
      if (open < 0) broken("an opening bracket before its end");
      take(Token::Kind::kOperator, pos_ + size);
    }
  }

  void take(Token::Kind kind, size_t end) {
    tokens_.push_back({kind, source_.substr(pos_, end - pos_), line_});
    advance(end);
  }

  // Behind digits of `base` from `at`, each parted from the next by one underscore at most.
  size_t digits(size_t at, int base, bool parted_first = false) const {
    const auto is_one = [&](size_t i) {
      if (i >= source_.size()) return false;
      const char c = source_[i];
      if (base < 10) return c >= '0' && c < '0' + base;
      return is_digit(c) || (base == 16 && ((c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F')));
    };
    for (bool first = !parted_first;; first = false) {
      const size_t next = !first && at < source_.size() && source_[at] == '_' ? at + 1 : at;
      if (!is_one(next)) return at;
      at = next + 1;
    }
  }

  // A fraction and an exponent, if there are any.
  size_t float_end(size_t at) const {
    size_t end = at;
    if (end < source_.size() && source_[end] == '.') {
      const size_t fraction = digits(end + 1, 10);
      if (fraction > end + 1) end = fraction;
    }
    if (end < source_.size() && (source_[end] == 'e' || source_[end] == 'E')) {
      size_t power = end + 1;
      if (power < source_.size() && (source_[power] == '+' || source_[power] == '-')) ++power;
      const size_t past = digits(power, 10);
      if (past > power) end = past;
    }
    return end;
  }

  size_t integer_end() const {
    if (source_[pos_] != '0') return digits(pos_, 10);
    const char letter = pos_ + 1 < source_.size() ? source_[pos_ + 1] : '\0';
    for (const auto& [name, base] : {std::pair{'x', 16}, std::pair{'o', 8}, std::pair{'b', 2}}) {
      if (letter != name && letter != name - 'a' + 'A') continue;
      const size_t end = digits(pos_ + 2, base, true);
      if (end > pos_ + 2) return end;
    }
    return digits(pos_, 1);  // zeros; what else begins with one is two numbers
  }

  void number() {
    const size_t whole = digits(pos_, 10);
    const bool member = pos_ > 0 && source_[pos_ - 1] == '.';  // a.1.5 has no float
    const size_t end = member ? whole : float_end(whole);
    if (end > whole)
      take(Token::Kind::kFloat, end);
    else
      take(Token::Kind::kInteger, integer_end());
  }

  void string(char mark) {
    std::string value;
    size_t at = pos_ + 1;
    while (at < source_.size() && source_[at] != mark) {
      if (source_[at] == '\\' && at + 1 < source_.size()) {
        at = escape(at + 1, value);
      } else {
        value += source_[at++];
      }
    }
    if (at >= source_.size()) broken("the end of a string");
    tokens_.push_back({Token::Kind::kString, std::move(value), line_});
    advance(at + 1);
  }

  // The escape whose letter stands at `at`; returns the position behind it.
  size_t escape(size_t at, std::string& out) const {
    constexpr std::string_view kLetters = "ntrabfv\\'\"";
    constexpr std::string_view kMeanings = "\n\t\r\a\b\f\v\\'\"";
    const char c = source_[at];
    if (const size_t i = kLetters.find(c); i != kLetters.npos) {
      out += kMeanings[i];
      return at + 1;
    }
    if (c == '\n') return at + 1;
    if (c >= '0' && c <= '7') return code_point(at, 3, 8, out, true);
    if (c == 'x') return code_point(at + 1, 2, 16, out, false);
    if (c == 'u') return code_point(at + 1, 4, 16, out, false);
    if (c == 'U') return code_point(at + 1, 8, 16, out, false);
    out += '\\';
    return at;
  }

  size_t code_point(size_t at, size_t digits, unsigned base, std::string& out, bool fewer) const {
    constexpr std::string_view kDigits = "0123456789abcdef";
    char32_t c = 0;
    size_t i = 0;
    for (; i < digits && at + i < source_.size(); ++i) {
      char d = source_[at + i];
      if (d >= 'A' && d <= 'F') d = static_cast<char>(d - 'A' + 'a');
      const size_t value = kDigits.find(d);
      if (value >= base) break;
      c = c * base + static_cast<char32_t>(value);
    }
    if ((!fewer && i < digits) || c > 0x10FFFF || (c >= 0xD800 && c < 0xE000))
      broken("a character escape");
    utf8::append(out, c);
    return at + i;
  }

  std::string source_;
  size_t pos_ = 0;
  int line_ = 1;
  bool line_starting_ = true;
  std::vector<Token> tokens_;
};

}  // namespace

std::vector<Token> tokenize(std::string_view source) { return Lexer(source).run(); }

}  // namespace onnuri::jinja
