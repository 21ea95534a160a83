// Pictures that tests and the golden script draw alike, byte for byte.
#pragma once

#include <cstdint>

#include "onnuri/media.h"

namespace onnuri {

/// A ramp with noise on it, as noise_image of tests/golden/make_vision_goldens.py.
inline Image noise_image(int64_t height, int64_t width, uint32_t seed) {
  Image image{height, width, {}};
  uint32_t state = seed;
  for (int64_t y = 0; y < height; ++y)
    for (int64_t x = 0; x < width; ++x)
      for (int64_t c = 0; c < 3; ++c) {
        state = state * 1664525u + 1013904223u;
        const auto ramp = static_cast<uint32_t>((x * (3 + c) + y * 2) & 127);
        image.rgb.push_back(static_cast<uint8_t>(ramp + (state >> 25)));
      }
  return image;
}

}  // namespace onnuri
