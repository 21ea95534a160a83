// See jinja_text.h.
#include "fusion/jinja_text.h"

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <limits>

#include "core/check.h"
#include "fusion/utf8.h"

namespace onnuri::jinja {

namespace {

bool is_python_space(char32_t c) { return utf8::is_space(c) || (c >= 0x1C && c <= 0x1F); }

std::u32string code_points(std::string_view text) {
  std::u32string out;
  for (size_t pos = 0; pos < text.size();) out += utf8::next(text, pos);
  return out;
}

}  // namespace

std::string strip(const std::string& text, const std::string* chars, bool left, bool right) {
  const std::u32string set = chars != nullptr ? code_points(*chars) : std::u32string();
  const auto goes = [&](char32_t c) {
    return chars == nullptr ? is_python_space(c) : set.find(c) != set.npos;
  };
  size_t begin = 0;
  size_t end = text.size();
  while (left && begin < end) {
    size_t pos = begin;
    if (!goes(utf8::next(text, pos))) break;
    begin = pos;
  }
  while (right && end > begin) {
    const size_t at = utf8::previous(text, end);
    size_t pos = at;
    if (!goes(utf8::next(text, pos))) break;
    end = at;
  }
  return text.substr(begin, end - begin);
}

std::string replaced(Interpreter& in, std::string_view text, std::string_view from,
                     std::string_view to, int64_t count) {
  // The size first: a short text may become an endless one.
  size_t found = 0;
  const size_t most = count < 0 ? text.size() + 1 : static_cast<size_t>(count);
  if (from.empty()) {
    found = std::min(most, utf8::count(text) + 1);
  } else {
    for (size_t at = 0; found < most && (at = text.find(from, at)) != text.npos; at += from.size())
      ++found;
  }
  if (!to.empty() && found > std::numeric_limits<size_t>::max() / 2 / to.size())
    in.error("makes too much text");
  in.charge(text.size() + found * to.size());
  std::string out;
  size_t pos = 0;
  for (size_t i = 0; i < found; ++i) {
    const size_t at = from.empty() ? pos : text.find(from, pos);
    out += text.substr(pos, at - pos);
    out += to;
    pos = at + from.size();
    if (from.empty() && pos < text.size()) {
      const size_t begin = pos;
      utf8::next(text, pos);
      out += text.substr(begin, pos - begin);
    }
  }
  out += text.substr(pos);
  return out;
}

std::string capitalized(const std::string& text) {
  if (text.empty()) return text;
  size_t pos = 0;
  utf8::next(text, pos);
  return utf8::upper(text.substr(0, pos)) + utf8::lower(text.substr(pos));
}

std::string centered(Interpreter& in, const std::string& text, int64_t width,
                     const std::string& fill) {
  const int64_t missing = width - static_cast<int64_t>(utf8::count(text));
  if (missing <= 0) return text;
  if (missing > 1'000'000 || utf8::count(fill) != 1)
    in.error("expected one character to fill with");
  in.charge(static_cast<size_t>(missing) * fill.size());
  const int64_t left = missing / 2 + (missing & width & 1);
  std::string out;
  for (int64_t i = 0; i < left; ++i) out += fill;
  out += text;
  for (int64_t i = left; i < missing; ++i) out += fill;
  return out;
}

List split_lines(std::string_view text, bool keep_ends) {
  List out;
  size_t begin = 0;
  for (size_t pos = 0; pos < text.size();) {
    const size_t at = pos;
    const char32_t c = utf8::next(text, pos);
    if (c == '\r' && pos < text.size() && text[pos] == '\n') ++pos;
    const bool ends =
        (c >= 10 && c <= 13) || (c >= 0x1C && c <= 0x1E) || c == 0x85 || c == 0x2028 || c == 0x2029;
    if (!ends) continue;
    out.push_back(Value::string(std::string(text.substr(begin, (keep_ends ? pos : at) - begin))));
    begin = pos;
  }
  if (begin < text.size()) out.push_back(Value::string(std::string(text.substr(begin))));
  return out;
}

namespace {

void split_at(std::string_view text, const std::string& separator, int64_t limit, bool from_right,
              List& out) {
  const auto add = [&](std::string_view part) { out.push_back(Value::string(std::string(part))); };
  while (limit != 0) {
    const size_t at = from_right ? text.rfind(separator) : text.find(separator);
    if (at == text.npos) break;
    add(from_right ? text.substr(at + separator.size()) : text.substr(0, at));
    text = from_right ? text.substr(0, at) : text.substr(at + separator.size());
    --limit;
  }
  add(text);
}

void split_words(const std::string& text, int64_t limit, bool from_right, List& out) {
  std::string rest = strip(text, nullptr, !from_right, from_right);
  size_t begin = 0;
  size_t end = rest.size();
  const std::string_view all = rest;
  const auto add = [&](size_t a, size_t b) {
    out.push_back(Value::string(std::string(all.substr(a, b - a))));
  };
  const auto step = [&](size_t& pos) {  // the next character in the direction of travel
    if (!from_right) return utf8::next(all, pos);
    pos = utf8::previous(all, pos);
    size_t at = pos;
    return utf8::next(all, at);
  };
  size_t& cursor = from_right ? end : begin;
  while (begin < end) {
    if (limit == 0) {
      const std::string tail =
          strip(std::string(all.substr(begin, end - begin)), nullptr, from_right, !from_right);
      if (!tail.empty() || begin < end) {
        // What is left keeps its inner white space, and that at its far end too.
        add(begin, end);
      }
      return;
    }
    size_t pos = cursor;
    size_t word = pos;
    while (from_right ? pos > begin : pos < end) {
      size_t ahead = pos;
      if (is_python_space(step(ahead))) break;
      pos = ahead;
    }
    word = pos;
    from_right ? add(word, cursor) : add(cursor, word);
    --limit;
    while (from_right ? pos > begin : pos < end) {
      size_t ahead = pos;
      if (!is_python_space(step(ahead))) break;
      pos = ahead;
    }
    cursor = pos;
  }
}

}  // namespace

List split(Interpreter& in, std::string_view text, const std::string* separator, int64_t limit,
           bool from_right) {
  in.step(text.size() / 64);
  List out;
  if (separator == nullptr) {
    split_words(std::string(text), limit, from_right, out);
  } else {
    if (separator->empty()) in.error("empty separator");
    split_at(text, *separator, limit, from_right, out);
  }
  if (from_right) std::reverse(out.begin(), out.end());
  in.charge(text.size() + out.size() * sizeof(Value));
  return out;
}

std::string printf_format(Interpreter& in, const std::string& text, const Args& args) {
  std::string out;
  size_t next = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      out += text[i];
      continue;
    }
    const size_t begin = i++;
    while (i < text.size() &&
           std::string_view("-+ 0#.123456789").find(text[i]) != std::string_view::npos)
      ++i;
    if (i >= text.size() || i - begin > 8) in.error("incomplete format");
    if (text[i] == '%') {
      out += '%';
      continue;
    }
    if (next >= args.positional.size()) in.error("not enough arguments for format string");
    const Value& v = args.positional[next++];
    std::string spec = text.substr(begin, i - begin);
    char buffer[640];
    int n = 0;
    switch (text[i]) {
      case 's':
      case 'r': {
        const std::string shown = text[i] == 's' ? v.str() : v.repr();
        if (spec != "%") in.error("expected %s without a width");
        in.charge(shown.size());
        out += shown;
        continue;
      }
      case 'd':
      case 'i':
      case 'x':
      case 'X':
        if (!v.is_number()) in.error("expected a number for %d");
        spec += std::string("ll") + (text[i] == 'i' ? 'd' : text[i]);
        n = std::snprintf(buffer, sizeof buffer, spec.c_str(),
                          v.is_integral() ? static_cast<long long>(v.as_int())
                                          : static_cast<long long>(v.as_double()));
        break;
      case 'f':
      case 'e':
      case 'g':
        if (!v.is_number()) in.error("expected a number for %f");
        spec += text[i];
        n = std::snprintf(buffer, sizeof buffer, spec.c_str(), v.as_double());
        break;
      default: in.error(std::string("unsupported format character ") + text[i]);
    }
    if (n < 0 || n >= static_cast<int>(sizeof buffer)) in.error("a format is too wide");
    out.append(buffer, static_cast<size_t>(n));
  }
  if (next < args.positional.size()) in.error("too many arguments for format string");
  in.charge(text.size());
  return out;
}

std::string brace_format(Interpreter& in, const std::string& text, const Args& args) {
  std::string out;
  size_t next = 0;
  bool numbered = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if ((c == '{' || c == '}') && i + 1 < text.size() && text[i + 1] == c) {
      out += c;
      ++i;
      continue;
    }
    if (c == '}') in.error("single } in a format string");
    if (c != '{') {
      out += c;
      continue;
    }
    const size_t end = text.find('}', i);
    if (end == text.npos) in.error("single { in a format string");
    const std::string field = text.substr(i + 1, end - i - 1);
    if (field.find_first_of(":![.") != field.npos) in.error("expected plain fields in a format");
    const Value* v = nullptr;
    size_t index = 0;
    const auto number = std::from_chars(field.data(), field.data() + field.size(), index);
    if (field.empty()) {
      v = args.find(next++, "");
    } else if (number.ec == std::errc() && number.ptr == field.data() + field.size()) {
      v = args.find(index, "");
    } else {
      v = args.find(args.positional.size(), field);
    }
    numbered = numbered || (!field.empty() && number.ec == std::errc());
    if (numbered && next > 0) in.error("expected fields all numbered or all plain");
    if (v == nullptr) in.error("no value for the format field \"" + field + "\"");
    const std::string shown = v->str();
    in.charge(shown.size());
    out += shown;
    i = end;
  }
  in.charge(text.size());
  return out;
}

}  // namespace onnuri::jinja
