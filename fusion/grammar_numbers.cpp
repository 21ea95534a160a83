#include "fusion/grammar_numbers.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <string>

#include "core/check.h"

namespace onnuri {
namespace {

constexpr int kOpenDigits = 16;
constexpr double kLargest = 9e15;  // below it a double holds every whole number
constexpr int kMinPlaces = 6;      // decimals of the grid, unless the bounds are very large
constexpr int kMaxPlaces = 330;    // the smallest doubles

Expr digit(Grammar& g) { return g.byte_range('0', '9'); }
Expr digits(Grammar& g, int64_t low, int64_t high) { return g.repeat(digit(g), low, high); }

// Digit strings of one length in [low, high].
Expr digits_between(Grammar& g, std::string_view low, std::string_view high) {
  if (low.empty()) return g.empty();
  if (low.find_first_not_of('0') == low.npos && high.find_first_not_of('9') == high.npos)
    return digits(g, static_cast<int64_t>(low.size()), static_cast<int64_t>(low.size()));
  const auto first = [&](char from, char to) {
    return g.byte_range(static_cast<uint8_t>(from), static_cast<uint8_t>(to));
  };
  const std::string_view low_rest = low.substr(1);
  const std::string_view high_rest = high.substr(1);
  if (low[0] == high[0])
    return g.sequence({first(low[0], low[0]), digits_between(g, low_rest, high_rest)});
  const std::string zeros(low_rest.size(), '0');
  const std::string nines(low_rest.size(), '9');
  std::vector<Expr> options = {
      g.sequence({first(low[0], low[0]), digits_between(g, low_rest, nines)}),
      g.sequence({first(high[0], high[0]), digits_between(g, zeros, high_rest)})};
  if (low[0] + 1 < high[0]) {
    const auto n = static_cast<int64_t>(low_rest.size());
    options.push_back(g.sequence(
        {first(static_cast<char>(low[0] + 1), static_cast<char>(high[0] - 1)), digits(g, n, n)}));
  }
  return g.choice(std::move(options));
}

// Whole numbers in [low, high] without leading zeros.
Expr whole_between(Grammar& g, uint64_t low, uint64_t high) {
  std::vector<Expr> options;
  const std::string low_text = std::to_string(low);
  const std::string high_text = std::to_string(high);
  for (size_t n = low_text.size(); low <= high && n <= high_text.size(); ++n) {
    const std::string from = n == low_text.size() ? low_text : "1" + std::string(n - 1, '0');
    const std::string to = n == high_text.size() ? high_text : std::string(n, '9');
    options.push_back(digits_between(g, from, to));
  }
  return g.choice(std::move(options));
}

Expr whole_from(Grammar& g, uint64_t low) {
  const auto n = static_cast<int64_t>(std::to_string(low).size());
  std::vector<Expr> options = {
      digits_between(g, std::to_string(low), std::string(static_cast<size_t>(n), '9'))};
  if (n < kOpenDigits)
    options.push_back(g.sequence({g.byte_range('1', '9'), digits(g, n, kOpenDigits - 1)}));
  return g.choice(std::move(options));
}

Expr minus(Grammar& g, Expr number) { return g.sequence({g.literal("-"), number}); }

// |value| of a negative number, without overflow for the lowest one.
uint64_t magnitude(int64_t value) { return uint64_t{0} - static_cast<uint64_t>(value); }

Expr fraction(Grammar& g, int64_t low, int64_t high) {
  return g.sequence({g.literal("."), digits(g, low, high)});
}

constexpr int64_t kFraction = 15;  // most decimals after a whole number inside the bounds
constexpr int64_t kTail = 9;       // and after decimals of the grid

Expr one_of(Grammar& g, int low, int high) {
  return g.byte_range(static_cast<uint8_t>(low), static_cast<uint8_t>(high));
}

// Decimals after the point that are at least `low`; fewer digits mean zeros.
Expr at_least(Grammar& g, std::string_view low) {
  if (low.find_first_not_of('0') == low.npos) return digits(g, 0, kTail);
  std::vector<Expr> options = {g.sequence({one_of(g, low[0], low[0]), at_least(g, low.substr(1))})};
  if (low[0] < '9')
    options.push_back(g.sequence({one_of(g, low[0] + 1, '9'), digits(g, 0, kTail)}));
  return g.choice(std::move(options));
}

// Decimals that are at most `high`.
Expr at_most(Grammar& g, std::string_view high) {
  if (high.empty()) return g.empty();
  std::vector<Expr> options = {
      g.sequence({one_of(g, high[0], high[0]), g.optional(at_most(g, high.substr(1)))})};
  if (high[0] > '0')
    options.push_back(g.sequence({one_of(g, '0', high[0] - 1), digits(g, 0, kTail)}));
  return g.choice(std::move(options));
}

// Decimals in [low, high], of at least one digit.
Expr decimals_between(Grammar& g, std::string_view low, std::string_view high) {
  if (low == high) return g.literal(low);
  if (low[0] == high[0])
    return g.sequence(
        {one_of(g, low[0], low[0]), decimals_between(g, low.substr(1), high.substr(1))});
  std::vector<Expr> options = {
      g.sequence({one_of(g, low[0], low[0]), at_least(g, low.substr(1))}),
      g.sequence({one_of(g, high[0], high[0]), g.optional(at_most(g, high.substr(1)))})};
  if (low[0] + 1 < high[0])
    options.push_back(g.sequence({one_of(g, low[0] + 1, high[0] - 1), digits(g, 0, kTail)}));
  return g.choice(std::move(options));
}

// A number that is not negative, on a grid of 10^-part.size().
struct Decimal {
  uint64_t whole = 0;
  std::string part;  // decimals, at least one
  bool is_whole() const { return part.find_first_not_of('0') == part.npos; }
};

// Numbers in [low, high]; no `high` is open. Both have as many decimals.
Expr decimals(Grammar& g, const Decimal& low, const std::optional<Decimal>& high) {
  const auto whole = [&](uint64_t n) { return g.literal(std::to_string(n)); };
  const auto point = [&](Expr part) { return g.sequence({g.literal("."), part}); };
  std::vector<Expr> options;
  if (low.is_whole()) options.push_back(whole(low.whole));
  if (high && high->whole == low.whole) {
    options.push_back(
        g.sequence({whole(low.whole), point(decimals_between(g, low.part, high->part))}));
    return g.choice(std::move(options));
  }
  options.push_back(g.sequence({whole(low.whole), low.is_whole() ? fraction(g, 1, kFraction)
                                                                 : point(at_least(g, low.part))}));
  if (!high || low.whole + 1 < high->whole) {
    const Expr between =
        high ? whole_between(g, low.whole + 1, high->whole - 1) : whole_from(g, low.whole + 1);
    options.push_back(g.sequence({between, g.optional(fraction(g, 1, kFraction))}));
  }
  if (high)
    options.push_back(g.sequence({whole(high->whole), g.optional(point(at_most(g, high->part)))}));
  return g.choice(std::move(options));
}

// The shortest decimal that reads as the double: digits * 10^exponent.
struct ShortDecimal {
  bool negative = false;
  int64_t digits = 0;  // at most 17
  int exponent = 0;
  int places() const { return std::max(0, -exponent); }
};

ShortDecimal short_decimal(double value) {
  ShortDecimal out;
  out.negative = value < 0;
  std::array<char, 64> text{};
  const auto end = std::to_chars(text.data(), text.data() + text.size(), std::abs(value),
                                 std::chars_format::scientific)
                       .ptr;
  const char* at = text.data();
  for (bool fraction = false; at != end && *at != 'e'; ++at) {
    if (*at == '.') {
      fraction = true;
      continue;
    }
    out.digits = out.digits * 10 + (*at - '0');
    if (fraction) --out.exponent;
  }
  int power = 0;
  at += at + 1 < end && at[1] == '+' ? 2 : 1;
  std::from_chars(at, end, power);
  out.exponent += power;
  return out;
}

// A bound in steps of 10^-places, drawn into the allowed side.
int64_t on_grid(double bound, bool is_low, bool exclusive, int places) {
  const ShortDecimal text = short_decimal(bound);
  int64_t steps = text.digits;
  bool exact = true;
  for (int shift = text.exponent + places; shift != 0;) {
    if (shift > 0) {
      steps *= 10;
      --shift;
    } else {
      exact = exact && steps % 10 == 0;
      steps /= 10;
      ++shift;
    }
  }
  if (text.negative) steps = -steps;
  if (!exact) return steps + (is_low ? (text.negative ? 0 : 1) : (text.negative ? -1 : 0));
  if (!exclusive) return steps;
  // Near 2^53 a step of the grid could be lost in reading.
  int64_t step = 1;
  for (int i = 0; std::abs(bound) >= 1e14 && i < places; ++i) step *= 10;
  return is_low ? steps + step : steps - step;
}

// Decimals of the grid: the bounds' own and some more, as long as 15 digits hold the larger one.
int grid_places(const NumberBounds& bounds) {
  double largest = 0;
  int places = kMinPlaces;
  for (const auto& bound : {bounds.low, bounds.high}) {
    if (!bound) continue;
    largest = std::max(largest, std::abs(*bound));
    places = std::max(places, short_decimal(*bound).places() + 3);
  }
  const int digits =
      largest > 0 ? static_cast<int>(std::floor(std::log10(largest))) + 1 : 15 - kMaxPlaces;
  return std::clamp(places, 1, std::max(1, std::min(kMaxPlaces, 15 - digits)));
}

Decimal decimal(uint64_t steps, int places) {
  std::string text = std::to_string(steps);
  const auto n = static_cast<size_t>(places);
  if (text.size() <= n) text.insert(0, n + 1 - text.size(), '0');
  const size_t point = text.size() - n;
  return {std::stoull(text.substr(0, point)), text.substr(point)};
}

}  // namespace

Expr integer_expr(Grammar& g, std::optional<int64_t> low, std::optional<int64_t> high) {
  std::vector<Expr> options;
  if (!high || *high >= 0) {
    const auto from = static_cast<uint64_t>(std::max<int64_t>(low.value_or(0), 0));
    options.push_back(high ? whole_between(g, from, static_cast<uint64_t>(*high))
                           : whole_from(g, from));
  }
  if (!low || *low < 0) {
    const uint64_t from = high && *high < 0 ? magnitude(*high) : 1;
    options.push_back(
        minus(g, low ? whole_between(g, from, magnitude(*low)) : whole_from(g, from)));
  }
  return g.choice(std::move(options));
}

Expr number_expr(Grammar& g, const NumberBounds& bounds) {
  if (!bounds.low && !bounds.high) {
    const Expr exponent =
        g.sequence({g.choice({g.literal("e"), g.literal("E")}),
                    g.optional(g.choice({g.literal("+"), g.literal("-")})), digits(g, 1, 2)});
    return g.sequence({g.optional(g.literal("-")), whole_from(g, 0),
                       g.optional(fraction(g, 1, kOpenDigits)), g.optional(exponent)});
  }
  NumberBounds b = bounds;
  if ((b.low && *b.low > kLargest) || (b.high && *b.high < -kLargest))
    fail(ErrorCode::kUnsupported, "expected bounds of numbers within -9e15 and 9e15, found ",
         b.low && *b.low > kLargest ? *b.low : *b.high);
  // The far side of a wide range is drawn in.
  if (b.low && *b.low < -kLargest) b.low = -kLargest;
  if (b.high && *b.high > kLargest) b.high = kLargest;
  const int places = grid_places(b);
  std::optional<int64_t> low;
  std::optional<int64_t> high;
  if (b.low) low = on_grid(*b.low, true, b.low_exclusive, places);
  if (b.high) high = on_grid(*b.high, false, b.high_exclusive, places);
  if (low && high && *low > *high) return g.nothing();
  const auto end = [&](std::optional<int64_t> steps) {
    return steps ? std::optional<Decimal>(decimal(static_cast<uint64_t>(std::abs(*steps)), places))
                 : std::nullopt;
  };
  std::vector<Expr> options;
  if (!high || *high >= 0)
    options.push_back(
        decimals(g, decimal(static_cast<uint64_t>(std::max<int64_t>(low.value_or(0), 0)), places),
                 end(high)));
  if (!low || *low < 0)
    options.push_back(
        minus(g, decimals(g, decimal(high && *high < 0 ? magnitude(*high) : 1, places), end(low))));
  return g.choice(std::move(options));
}

}  // namespace onnuri
