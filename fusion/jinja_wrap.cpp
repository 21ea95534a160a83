// The wordwrap filter. Source: Python's textwrap (TextWrapper with expand_tabs and
// replace_whitespace off), each line of the text by itself. The chunks of a line are runs of white
// space, words, parts of hyphenated words with their hyphen, and dashes between words.
#include <algorithm>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "fusion/jinja_filters.h"
#include "fusion/jinja_text.h"
#include "fusion/utf8.h"

namespace onnuri::jinja {

namespace {

using Text = std::u32string;

bool is_blank(char32_t c) { return c == ' ' || (c >= '\t' && c <= '\r'); }
bool is_word(char32_t c) { return c == '_' || utf8::is_letter(c) || utf8::is_numeric(c); }
bool is_word_or_mark(char32_t c) {
  return is_word(c) || std::u32string_view(U"!\"'&.,?").find(c) != std::u32string_view::npos;
}
bool is_letter(char32_t c) { return c == '_' || utf8::is_letter(c); }

class Chunker {
 public:
  Chunker(const Text& text, bool hyphens) : text_(text), hyphens_(hyphens) {}

  std::vector<Text> run() const {
    std::vector<Text> out;
    for (size_t at = 0; at < text_.size();) {
      const size_t end = end_of(at);
      out.push_back(text_.substr(at, end - at));
      at = end;
    }
    return out;
  }

 private:
  char32_t at(size_t i) const { return i < text_.size() ? text_[i] : U'\0'; }

  size_t end_of(size_t begin) const {
    size_t end = begin;
    if (is_blank(text_[begin])) {
      while (end < text_.size() && is_blank(text_[end])) ++end;
      return end;
    }
    if (!hyphens_) {
      while (end < text_.size() && !is_blank(text_[end])) ++end;
      return end;
    }
    if (begin > 0 && is_word_or_mark(text_[begin - 1])) {
      if (const size_t dash = end_of_dash(begin)) return dash;
    }
    for (end = begin + 1; end < text_.size(); ++end) {
      if (hyphenates(end)) return end + 1;
      if (is_blank(text_[end])) return end;
      if (is_word_or_mark(text_[end - 1]) && end_of_dash(end) != 0) return end;
    }
    return end;
  }

  // Behind two and more hyphens with a word after them, or 0.
  size_t end_of_dash(size_t begin) const {
    size_t end = begin;
    while (at(end) == '-') ++end;
    return end - begin >= 2 && is_word(at(end)) ? end : 0;
  }

  // A hyphen between letters, at least two of them on either side, or a hyphen among those.
  bool hyphenates(size_t i) const {
    if (text_[i] != '-' || i < 2) return false;
    const bool before =
        (is_letter(text_[i - 1]) && is_letter(text_[i - 2])) ||
        (i >= 3 && is_word_or_mark(text_[i - 1]) && text_[i - 2] == '-' && is_letter(text_[i - 3]));
    const size_t second = at(i + 2) == '-' ? i + 3 : i + 2;
    return before && is_letter(at(i + 1)) && is_letter(at(second));
  }

  const Text& text_;
  bool hyphens_;
};

bool is_space(const Text& chunk) {
  return std::all_of(chunk.begin(), chunk.end(),
                     [](char32_t c) { return utf8::is_space(c) || (c >= 0x1C && c <= 0x1F); });
}

struct Wrap {
  size_t width = 79;
  bool break_words = true;
  bool hyphens = true;
};

// How much of a word longer than a line goes onto what is left of this one.
size_t cut(const Text& chunk, size_t room, bool hyphens) {
  if (!hyphens || chunk.size() <= room || room == 0) return room;
  const size_t hyphen = chunk.rfind(U'-', room - 1);
  if (hyphen == Text::npos || hyphen == 0) return room;
  const bool only_hyphens = chunk.find_first_not_of(U'-') >= hyphen;
  return only_hyphens ? room : hyphen + 1;
}

std::vector<Text> wrap_line(Interpreter& in, const Text& text, const Wrap& wrap) {
  std::vector<Text> chunks = Chunker(text, wrap.hyphens).run();
  std::reverse(chunks.begin(), chunks.end());
  std::vector<Text> lines;
  while (!chunks.empty()) {
    std::vector<Text> line;
    size_t length = 0;
    if (is_space(chunks.back()) && !lines.empty()) chunks.pop_back();
    while (!chunks.empty() && length + chunks.back().size() <= wrap.width) {
      length += chunks.back().size();
      line.push_back(std::move(chunks.back()));
      chunks.pop_back();
    }
    if (!chunks.empty() && chunks.back().size() > wrap.width) {
      if (wrap.break_words) {
        in.step(1 + chunks.back().size() / kBytesPerStep);
        const size_t end = cut(chunks.back(), wrap.width - length, wrap.hyphens);
        line.push_back(chunks.back().substr(0, end));
        chunks.back().erase(0, end);
      } else if (line.empty()) {
        line.push_back(std::move(chunks.back()));
        chunks.pop_back();
      }
    }
    if (!line.empty() && is_space(line.back())) line.pop_back();
    if (line.empty()) continue;
    Text joined;
    for (const Text& chunk : line) joined += chunk;
    lines.push_back(std::move(joined));
  }
  return lines;
}

Text decoded(const std::string& text) {
  Text out;
  for (size_t pos = 0; pos < text.size();) out += utf8::next(text, pos);
  return out;
}

}  // namespace

Value wordwrap(Interpreter& in, const Value& v, const Args& args) {
  if (!v.is_string()) in.error("expected a string to wrap, found " + std::string(v.type_name()));
  const Value width = args.get(0, "width", Value::integer(79));
  if (!width.is_integral()) in.error("wordwrap needs a width");
  Wrap wrap;
  wrap.break_words = args.get(1, "break_long_words", Value::boolean(true)).truth();
  const Value between = args.get(2, "wrapstring", Value::none());
  wrap.hyphens = args.get(3, "break_on_hyphens", Value::boolean(true)).truth();
  const std::string newline = between.is_none() ? "\n" : between.str();
  std::string out;
  bool first = true;
  for (const Value& row : split_lines(v.as_string(), false)) {
    const Text text = decoded(row.as_string());
    if (width.as_int() < 1) in.error("wordwrap needs a width above zero");
    wrap.width = static_cast<size_t>(std::max<int64_t>(1, width.as_int()));
    in.charge(text.size() * sizeof(char32_t));
    std::vector<Text> lines = wrap_line(in, text, wrap);
    if (lines.empty()) lines.emplace_back();
    for (const Text& line : lines) {
      if (!std::exchange(first, false)) out += newline;
      for (const char32_t c : line) utf8::append(out, c);
      in.charge(line.size() + newline.size());
    }
  }
  return Value::string(std::move(out));
}

}  // namespace onnuri::jinja
