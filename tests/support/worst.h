// The largest of differences, where one that is not a number is the worst of all.
#pragma once

#include <cmath>

namespace onnuri {

inline double larger(double worst, double value) {
  return std::isnan(worst) || value <= worst ? worst : value;
}

}  // namespace onnuri
