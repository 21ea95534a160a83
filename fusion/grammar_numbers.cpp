#include "fusion/grammar_numbers.h"

#include <algorithm>
#include <cmath>
#include <string>

namespace onnuri {
namespace {

constexpr int kOpenDigits = 16;
constexpr uint64_t kScale = 1000000;  // six decimals
constexpr double kLargest = 1e11;     // bounds beyond it are drawn in

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

std::string six_digits(uint64_t value) {
  std::string text = std::to_string(value);
  return std::string(6 - text.size(), '0') + text;
}

constexpr int64_t kFraction = 15;

Expr one_of(Grammar& g, int low, int high) {
  return g.byte_range(static_cast<uint8_t>(low), static_cast<uint8_t>(high));
}

// Decimals after the point that are at least `low`; fewer digits mean zeros.
Expr at_least(Grammar& g, std::string_view low) {
  if (low.find_first_not_of('0') == low.npos) return digits(g, 0, kFraction - 6);
  std::vector<Expr> options = {g.sequence({one_of(g, low[0], low[0]), at_least(g, low.substr(1))})};
  if (low[0] < '9')
    options.push_back(g.sequence({one_of(g, low[0] + 1, '9'), digits(g, 0, kFraction - 6)}));
  return g.choice(std::move(options));
}

// Decimals that are at most `high`.
Expr at_most(Grammar& g, std::string_view high) {
  if (high.empty()) return g.empty();
  std::vector<Expr> options = {
      g.sequence({one_of(g, high[0], high[0]), g.optional(at_most(g, high.substr(1)))})};
  if (high[0] > '0')
    options.push_back(g.sequence({one_of(g, '0', high[0] - 1), digits(g, 0, kFraction - 6)}));
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
    options.push_back(
        g.sequence({one_of(g, low[0] + 1, high[0] - 1), digits(g, 0, kFraction - 6)}));
  return g.choice(std::move(options));
}

// Decimals in [low, high] / kScale; no `high` is open.
Expr decimals(Grammar& g, uint64_t low, std::optional<uint64_t> high) {
  const uint64_t low_whole = low / kScale;
  const std::string low_part = six_digits(low % kScale);
  const auto whole = [&](uint64_t n) { return g.literal(std::to_string(n)); };
  const auto point = [&](Expr part) { return g.sequence({g.literal("."), part}); };
  std::vector<Expr> options;
  if (low % kScale == 0) options.push_back(whole(low_whole));
  if (high && *high / kScale == low_whole) {
    options.push_back(g.sequence(
        {whole(low_whole), point(decimals_between(g, low_part, six_digits(*high % kScale)))}));
    return g.choice(std::move(options));
  }
  options.push_back(
      g.sequence({whole(low_whole),
                  low % kScale == 0 ? fraction(g, 1, kFraction) : point(at_least(g, low_part))}));
  if (!high || low_whole + 1 < *high / kScale) {
    const Expr between =
        high ? whole_between(g, low_whole + 1, *high / kScale - 1) : whole_from(g, low_whole + 1);
    options.push_back(g.sequence({between, g.optional(fraction(g, 1, kFraction))}));
  }
  if (high)
    options.push_back(g.sequence(
        {whole(*high / kScale), g.optional(point(at_most(g, six_digits(*high % kScale))))}));
  return g.choice(std::move(options));
}

// A bound in millionths, drawn into the allowed side; a decimal text with few digits stays exact.
int64_t scaled(double bound, bool is_low, bool exclusive) {
  const double x = std::clamp(bound, -kLargest, kLargest) * static_cast<double>(kScale);
  const double nearest = std::round(x);
  const bool exact = std::abs(x - nearest) <= 1e-9 * std::max(1.0, std::abs(x));
  double out = exact ? nearest : is_low ? std::ceil(x) : std::floor(x);
  if (exact && exclusive) out += is_low ? 1 : -1;
  return static_cast<int64_t>(out);
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
  std::optional<int64_t> low;
  std::optional<int64_t> high;
  if (bounds.low) low = scaled(*bounds.low, true, bounds.low_exclusive);
  if (bounds.high) high = scaled(*bounds.high, false, bounds.high_exclusive);
  if (low && high && *low > *high) return g.nothing();
  std::vector<Expr> options;
  if (!high || *high >= 0) {
    const auto from = static_cast<uint64_t>(std::max<int64_t>(low.value_or(0), 0));
    options.push_back(decimals(
        g, from, high ? std::optional<uint64_t>(static_cast<uint64_t>(*high)) : std::nullopt));
  }
  if (!low || *low < 0) {
    const uint64_t from = high && *high < 0 ? magnitude(*high) : 1;
    options.push_back(
        minus(g, decimals(g, from, low ? std::optional<uint64_t>(magnitude(*low)) : std::nullopt)));
  }
  return g.choice(std::move(options));
}

}  // namespace onnuri
