// JsonValue -> JSON text. What JSON cannot say is replaced, never emitted: infinities and NaN
// become null, bytes that are not UTF-8 become U+FFFD.
#include <charconv>
#include <cmath>

#include "core/json.h"

namespace onnuri {
namespace {

/// Length of the valid UTF-8 character at `i`, or 0 (Unicode standard, table 3-7).
size_t utf8_length(std::string_view s, size_t i) {
  const auto byte = [&](size_t k) {
    return i + k < s.size() ? static_cast<unsigned char>(s[i + k]) : 0u;
  };
  const auto tail = [&](size_t k) { return (byte(k) & 0xc0u) == 0x80u; };
  const unsigned a = byte(0), b = byte(1);
  if (a < 0x80) return 1;
  if (a >= 0xc2 && a <= 0xdf) return tail(1) ? 2 : 0;
  if (a >= 0xe0 && a <= 0xef) {
    if (!tail(1) || !tail(2) || (a == 0xe0 && b < 0xa0) || (a == 0xed && b > 0x9f)) return 0;
    return 3;
  }
  if (a >= 0xf0 && a <= 0xf4) {
    if (!tail(1) || !tail(2) || !tail(3) || (a == 0xf0 && b < 0x90) || (a == 0xf4 && b > 0x8f)) {
      return 0;
    }
    return 4;
  }
  return 0;
}

void write_string(std::string_view s, std::string& out) {
  static constexpr char kHex[] = "0123456789abcdef";
  out += '"';
  for (size_t i = 0; i < s.size();) {
    const auto c = static_cast<unsigned char>(s[i]);
    const size_t length = utf8_length(s, i);
    if (length == 0) {
      out += "\xef\xbf\xbd";
      ++i;
      continue;
    }
    switch (c) {
      case '"': out += "\\\""; break;
      case '\\': out += "\\\\"; break;
      case '\n': out += "\\n"; break;
      case '\r': out += "\\r"; break;
      case '\t': out += "\\t"; break;
      case '\b': out += "\\b"; break;
      case '\f': out += "\\f"; break;
      default:
        if (c < 0x20) {
          out += "\\u00";
          out += kHex[c >> 4];
          out += kHex[c & 15];
        } else {
          out += s.substr(i, length);
        }
    }
    i += length;
  }
  out += '"';
}

/// The shortest text that reads back as the same double, and as a double.
void write_double(double v, std::string& out) {
  if (!std::isfinite(v)) {
    out += "null";
    return;
  }
  char buffer[40];
  const auto end = std::to_chars(buffer, buffer + sizeof(buffer), v).ptr;
  const std::string_view text(buffer, static_cast<size_t>(end - buffer));
  out += text;
  if (text.find_first_of(".e") == std::string_view::npos) out += ".0";
}

class Writer {
 public:
  Writer(int indent, std::string& out) : indent_(indent), out_(out) {}

  void write(const JsonValue& value, int depth) {
    if (value.is_null()) {
      out_ += "null";
    } else if (value.is_bool()) {
      out_ += value.as_bool("") ? "true" : "false";
    } else if (value.is_int()) {
      out_ += std::to_string(value.as_int(""));
    } else if (value.is_number()) {
      write_double(value.as_double(""), out_);
    } else if (value.is_string()) {
      write_string(value.as_string(""), out_);
    } else if (value.is_array()) {
      write_array(value.as_array(""), depth);
    } else {
      write_object(value.as_object(""), depth);
    }
  }

 private:
  void write_array(const JsonValue::Array& array, int depth) {
    out_ += '[';
    for (size_t i = 0; i < array.size(); ++i) {
      if (i > 0) out_ += ',';
      new_line(depth + 1);
      write(array[i], depth + 1);
    }
    if (!array.empty()) new_line(depth);
    out_ += ']';
  }

  void write_object(const JsonValue::Object& object, int depth) {
    out_ += '{';
    for (size_t i = 0; i < object.size(); ++i) {
      if (i > 0) out_ += ',';
      new_line(depth + 1);
      write_string(object[i].first, out_);
      out_ += indent_ < 0 ? ":" : ": ";
      write(object[i].second, depth + 1);
    }
    if (!object.empty()) new_line(depth);
    out_ += '}';
  }

  void new_line(int depth) {
    if (indent_ < 0) return;
    out_ += '\n';
    out_.append(static_cast<size_t>(indent_) * static_cast<size_t>(depth), ' ');
  }

  int indent_;
  std::string& out_;
};

}  // namespace

std::string JsonValue::dump(int indent) const {
  std::string out;
  Writer(indent, out).write(*this, 0);
  return out;
}

}  // namespace onnuri
