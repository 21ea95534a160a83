// See jinja_numbers.h. The text has no white space around it.
#include "fusion/jinja_numbers.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>
#include <string>

namespace onnuri::jinja {

namespace {

int digit_of(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'z') return c - 'a' + 10;
  if (c >= 'A' && c <= 'Z') return c - 'A' + 10;
  return 36;
}

// "0x" and its like: the base that they stand for, or 0.
int64_t prefix_base(std::string_view text) {
  if (text.size() < 2 || text[0] != '0') return 0;
  switch (text[1]) {
    case 'x':
    case 'X': return 16;
    case 'o':
    case 'O': return 8;
    case 'b':
    case 'B': return 2;
    default: return 0;
  }
}

bool is_negative(std::string_view& text) {
  const bool negative = text.starts_with('-');
  if (negative || text.starts_with('+')) text.remove_prefix(1);
  return negative;
}

// Without its underscores; nothing where one does not stand between two digits.
std::optional<std::string> without_underscores(std::string_view text) {
  std::string out;
  const auto is_digit = [&](size_t i) {
    return i < text.size() && text[i] >= '0' && text[i] <= '9';
  };
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '_') {
      out += text[i];
    } else if (i == 0 || !is_digit(i - 1) || !is_digit(i + 1)) {
      return std::nullopt;
    }
  }
  return out;
}

// Whether a decimal number beyond the range of a double is too large rather than too small.
bool is_large(std::string_view text) {
  const size_t e = text.find_first_of("eE");
  int64_t exponent = 0;
  if (e != text.npos) {
    std::string_view power = text.substr(e + 1);
    const bool negative = is_negative(power);
    const auto end = std::from_chars(power.data(), power.data() + power.size(), exponent);
    if (end.ec == std::errc::result_out_of_range) exponent = int64_t{1} << 60;
    if (negative) exponent = -exponent;
  }
  const std::string_view mantissa = text.substr(0, e);
  const size_t point = std::min(mantissa.find('.'), mantissa.size());
  const size_t first = mantissa.find_first_of("123456789");
  if (first == mantissa.npos) return false;
  return exponent + static_cast<int64_t>(point) - static_cast<int64_t>(first) > 0;
}

}  // namespace

std::optional<ReadInteger> read_integer(std::string_view text, int64_t base) {
  if (base != 0 && (base < 2 || base > 36)) return std::nullopt;
  const bool negative = is_negative(text);
  const int64_t named = prefix_base(text);
  const bool has_prefix = named != 0 && (base == 0 || base == named);
  const bool decimal_by_default = base == 0 && named == 0;
  if (has_prefix) {
    base = named;
    text.remove_prefix(2);
    if (text.starts_with('_')) text.remove_prefix(1);
  } else if (base == 0) {
    base = 10;
  }
  ReadInteger out;
  bool digit_before = false, nonzero = false;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '_') {
      if (!digit_before || i + 1 == text.size()) return std::nullopt;
      digit_before = false;
      continue;
    }
    const int digit = digit_of(text[i]);
    if (digit >= base) return std::nullopt;
    digit_before = true;
    nonzero = nonzero || digit != 0;
    // Counted below zero, where there is one number more.
    out.fits = out.fits && !__builtin_mul_overflow(out.value, base, &out.value) &&
               !__builtin_sub_overflow(out.value, int64_t{digit}, &out.value);
  }
  if (!digit_before) return std::nullopt;
  // As in Python's own text, 017 means nothing.
  if (decimal_by_default && nonzero && text[0] == '0') return std::nullopt;
  if (!negative) out.fits = out.fits && !__builtin_sub_overflow(int64_t{0}, out.value, &out.value);
  return out;
}

std::optional<double> read_float(std::string_view text) {
  const std::optional<std::string> plain = without_underscores(text);
  if (!plain) return std::nullopt;
  std::string_view rest = *plain;
  const bool negative = is_negative(rest);
  // from_chars knows signs and forms of NaN that Python does not.
  if (rest.empty() || rest[0] == '-' || rest.find('(') != rest.npos) return std::nullopt;
  double value = 0;
  const auto end = std::from_chars(rest.data(), rest.data() + rest.size(), value);
  if (end.ptr != rest.data() + rest.size() || end.ec == std::errc::invalid_argument)
    return std::nullopt;
  if (end.ec == std::errc::result_out_of_range)
    value = is_large(rest) ? std::numeric_limits<double>::infinity() : 0.0;
  return negative ? -value : value;
}

}  // namespace onnuri::jinja
