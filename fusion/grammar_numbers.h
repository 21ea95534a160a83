// Decimal numbers between bounds as grammar expressions.
#pragma once

#include <cstdint>
#include <optional>

#include "fusion/grammar.h"

namespace onnuri {

/// Whole numbers in [low, high], without exponent or fraction. Open sides end at 16 digits.
Expr integer_expr(Grammar& grammar, std::optional<int64_t> low, std::optional<int64_t> high);

struct NumberBounds {
  std::optional<double> low;
  std::optional<double> high;
  bool low_exclusive = false;
  bool high_exclusive = false;
};

/// Numbers inside the bounds. Without bounds an exponent is allowed; with bounds the last whole
/// number before a bound is followed by at most six decimals, so that rounding cannot leave them.
Expr number_expr(Grammar& grammar, const NumberBounds& bounds);

}  // namespace onnuri
