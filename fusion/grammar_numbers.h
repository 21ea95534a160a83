// Decimal numbers between bounds as grammar expressions.
#pragma once

#include <cstdint>
#include <optional>

#include "fusion/grammar.h"

namespace onnuri {

/// Whole numbers in [low, high], without exponent or fraction. Open sides end at 16 digits, or at
/// as many as the other side has.
Expr integer_expr(Grammar& grammar, std::optional<int64_t> low, std::optional<int64_t> high);

struct NumberBounds {
  std::optional<double> low;
  std::optional<double> high;
  bool low_exclusive = false;
  bool high_exclusive = false;
};

/// Numbers inside the bounds. Without bounds an exponent is allowed; with bounds numbers are
/// written out, on a grid fine enough to hold the bounds and coarse enough that reading the text as
/// a double cannot leave them. Throws kUnsupported for a range wholly beyond 9e15.
Expr number_expr(Grammar& grammar, const NumberBounds& bounds);

}  // namespace onnuri
