// How far a result is from a stored one.
#pragma once

#include <algorithm>
#include <cmath>

#include "core/tensor.h"
#include "onnuri/engine.h"

namespace onnuri {

/// The standard deviation of float32 numbers.
inline double deviation(const TensorView& x) {
  double sum = 0, squares = 0;
  for (int64_t i = 0; i < x.num_elements(); ++i) {
    const auto value = static_cast<double>(x.as<float>()[i]);
    sum += value;
    squares += value * value;
  }
  const auto count = static_cast<double>(x.num_elements());
  return std::sqrt(squares / count - sum / count * (sum / count));
}

/// The largest difference; infinite where one is not a number.
inline double largest_error(const FloatMatrix& found, const TensorView& expected) {
  double worst = 0;
  for (int64_t i = 0; i < expected.num_elements(); ++i) {
    const double error = std::abs(static_cast<double>(found.values[static_cast<size_t>(i)]) -
                                  static_cast<double>(expected.as<float>()[i]));
    worst = std::isnan(error) ? INFINITY : std::max(worst, error);
  }
  return worst;
}

}  // namespace onnuri
