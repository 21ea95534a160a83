// See python_calls.h.
#include "engine/python_calls.h"

#include <charconv>
#include <optional>
#include <utility>

namespace onnuri {
namespace {

constexpr size_t kMaxDepth = 64;

bool is_space(char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; }
bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool begins_name(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' ||
         static_cast<unsigned char>(c) >= 0x80;
}
bool in_name(char c) { return begins_name(c) || is_digit(c); }

// A Python number as JSON has it, or nothing.
std::optional<std::string> json_number(std::string_view text) {
  std::string out;
  if (text.starts_with('+')) text.remove_prefix(1);
  if (text.starts_with('-')) {
    out += '-';
    text.remove_prefix(1);
  }
  const auto take_digits = [&] {
    size_t count = 0;
    while (count < text.size() && is_digit(text[count])) ++count;
    const std::string digits(text.substr(0, count));
    text.remove_prefix(count);
    return digits;
  };
  const std::string whole = take_digits();
  if (whole.size() > 1 && whole[0] == '0') return std::nullopt;
  out += whole.empty() ? "0" : whole;
  bool any = !whole.empty();
  if (text.starts_with('.')) {
    text.remove_prefix(1);
    const std::string part = take_digits();
    any = any || !part.empty();
    out += "." + (part.empty() ? "0" : part);
  }
  if (!any) return std::nullopt;
  if (text.starts_with('e') || text.starts_with('E')) {
    out += 'e';
    text.remove_prefix(1);
    if (text.starts_with('-') || text.starts_with('+')) {
      out += text[0];
      text.remove_prefix(1);
    }
    const std::string power = take_digits();
    if (power.empty()) return std::nullopt;
    out += power;
  }
  return text.empty() ? std::optional(out) : std::nullopt;
}

// How many hexadecimal digits follow \x, \u and \U.
size_t escape_digits(char kind) { return kind == 'x' ? 2 : kind == 'u' ? 4 : kind == 'U' ? 8 : 0; }

}  // namespace

bool PythonCalls::push(char c) {
  if (state_ != State::kBroken && !step(c)) state_ = State::kBroken;
  return state_ != State::kBroken;
}

std::vector<PythonCalls::Piece> PythonCalls::take() { return std::exchange(out_, {}); }

bool PythonCalls::step(char c) {
  switch (state_) {
    case State::kString: return step_string(c);
    case State::kName: return step_name(c);
    case State::kKey: return step_key(c);
    case State::kWord:
      if (in_name(c) || c == '.' || c == '+' || c == '-') {
        text_ += c;
        return true;
      }
      return end_word() && step(c);
    default: break;
  }
  if (is_space(c)) return true;
  switch (state_) {
    case State::kOpen: state_ = State::kName; return c == '[';
    case State::kKeyEnd: state_ = State::kValue; return c == '=';
    case State::kAfterKey:
      state_ = State::kValue;
      say(":");
      return c == ':';
    case State::kValue: return begin_value(c);
    case State::kAfterValue: return step_after_value(c);
    case State::kAfterCall:
      state_ = c == ',' ? State::kName : State::kWhole;
      return c == ',' || c == ']';
    default: return false;
  }
}

bool PythonCalls::step_name(char c) {
  if (is_space(c) && text_.empty()) return true;
  if (begins_name(c) || (!text_.empty() && (is_digit(c) || c == '.' || c == '-'))) {
    text_ += c;
    return true;
  }
  if (c != '(' || text_.empty()) return false;
  out_.push_back({true, std::exchange(text_, {})});
  say("{");
  brackets_ = "c";
  comma_ = false;
  state_ = State::kKey;
  return true;
}

bool PythonCalls::step_key(char c) {
  if (text_.empty() ? begins_name(c) : in_name(c)) {
    text_ += c;
    return true;
  }
  if (text_.empty()) return is_space(c) || (c == ')' && close(c));
  if (std::exchange(comma_, false)) say(",");
  say("\"" + std::exchange(text_, {}) + "\":");
  state_ = c == '=' ? State::kValue : State::kKeyEnd;
  return c == '=' || is_space(c);
}

// A value, a key of a dict, or the end of a list or a dict.
bool PythonCalls::begin_value(char c) {
  if (may_close_ && (c == ']' || c == '}' || c == ')')) return close(c);
  may_close_ = false;
  as_key_ = std::exchange(key_next_, false);
  if (as_key_ && c != '"' && c != '\'') return false;
  if (std::exchange(comma_, false)) say(",");
  if (c == '"' || c == '\'') {
    quote_ = c;
    say("\"");
    state_ = State::kString;
    return true;
  }
  if (c == '[' || c == '{' || c == '(') return open(c);
  if (!in_name(c) && c != '-' && c != '+' && c != '.') return false;
  text_ = c;
  state_ = State::kWord;
  return true;
}

bool PythonCalls::open(char bracket) {
  if (brackets_.size() >= kMaxDepth) return false;
  brackets_ += bracket;
  say(bracket == '{' ? "{" : "[");
  may_close_ = true;
  key_next_ = bracket == '{';
  state_ = State::kValue;
  return true;
}

bool PythonCalls::close(char bracket) {
  const char opened = brackets_.back();
  const char wanted = opened == '[' ? ']' : opened == '{' ? '}' : ')';
  if (bracket != wanted) return false;
  say(opened == '{' || opened == 'c' ? "}" : "]");
  brackets_.pop_back();
  comma_ = false;
  may_close_ = false;
  key_next_ = false;
  state_ = brackets_.empty() ? State::kAfterCall : State::kAfterValue;
  return true;
}

bool PythonCalls::step_string(char c) {
  if (escaped_) return step_escape(c);
  if (c == quote_) return end_string();
  if (c == '\n' || c == '\r') return false;  // as Python has it
  if (c == '\\')
    escaped_ = true;
  else
    say_escaped(c);
  return true;
}

bool PythonCalls::step_escape(char c) {
  if (!text_.empty()) {  // \x.., \u...., \U........
    text_ += c;
    if (text_.size() <= escape_digits(text_[0])) return true;
    uint32_t code = 0;
    const char* end = text_.data() + text_.size();
    const auto [at, error] = std::from_chars(text_.data() + 1, end, code, 16);
    if (error != std::errc() || at != end || code > 0x10FFFF) return false;
    text_.clear();
    escaped_ = false;
    say_code(code);
    return true;
  }
  if (escape_digits(c) > 0) {
    text_ = c;
    return true;
  }
  escaped_ = false;
  constexpr std::string_view kNames = "abfnrtv0\\'\"";
  constexpr std::string_view kMeant("\a\b\f\n\r\t\v\0\\'\"", 11);
  if (c == '\n') return true;  // the line goes on
  const size_t found = kNames.find(c);
  if (found == kNames.npos) say("\\\\");  // as Python: the backslash stays
  say_escaped(found == kNames.npos ? c : kMeant[found]);
  return true;
}

bool PythonCalls::end_string() {
  say("\"");
  state_ = as_key_ ? State::kAfterKey : State::kAfterValue;
  return true;
}

bool PythonCalls::end_word() {
  const std::string word = std::exchange(text_, {});
  state_ = State::kAfterValue;
  if (word == "True" || word == "true") {
    say("true");
  } else if (word == "False" || word == "false") {
    say("false");
  } else if (word == "None" || word == "null") {
    say("null");
  } else {
    const std::optional<std::string> number = json_number(word);
    if (!number) return false;
    say(*number);
  }
  return true;
}

bool PythonCalls::step_after_value(char c) {
  if (c != ',') return brackets_.back() != '(' && close(c);  // (1) is no tuple
  comma_ = true;
  if (brackets_.back() == 'c') {
    state_ = State::kKey;
    return true;
  }
  may_close_ = true;  // behind a last comma
  key_next_ = brackets_.back() == '{';
  if (brackets_.back() == '(') brackets_.back() = 't';
  state_ = State::kValue;
  return true;
}

void PythonCalls::say(std::string_view json) {
  if (out_.empty() || out_.back().begins) out_.push_back({});
  out_.back().text += json;
}

void PythonCalls::say_escaped(char c) {
  if (c == '"' || c == '\\') {
    say(std::string("\\") + c);
  } else if (static_cast<unsigned char>(c) < 0x20) {
    say_code(static_cast<unsigned char>(c));
  } else {
    say(std::string(1, c));
  }
}

void PythonCalls::say_code(uint32_t code) {
  if (code >= 0x10000) {
    say_code(0xD800 + ((code - 0x10000) >> 10));
    say_code(0xDC00 + ((code - 0x10000) & 0x3FF));
    return;
  }
  std::string out = "\\u";
  for (int shift = 12; shift >= 0; shift -= 4) out += "0123456789abcdef"[(code >> shift) & 15];
  say(out);
}

}  // namespace onnuri
