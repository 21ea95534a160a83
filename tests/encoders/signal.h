// The signal of tests/golden/make_audio_goldens.py, bit by bit.
#pragma once

#include <cmath>
#include <cstdint>
#include <vector>

namespace onnuri {

inline std::vector<float> golden_signal(int64_t length) {
  std::vector<float> out;
  uint32_t state = 12345;
  for (int64_t i = 0; i < length; ++i) {
    state = state * 1664525u + 1013904223u;
    const double unit = (static_cast<double>(state >> 8) - 8388608.0) / 8388608.0;
    out.push_back(static_cast<float>(std::ldexp(unit, -static_cast<int>(i / 2500 % 12))));
  }
  return out;
}

}  // namespace onnuri
