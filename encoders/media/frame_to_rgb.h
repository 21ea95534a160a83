// Decoded FFmpeg frames to RGB8.
#pragma once

#include "onnuri/media.h"

struct AVFrame;

namespace onnuri {

/// Alpha is composited on white, 16-bit samples keep their high byte, subsampled chroma is
/// interpolated as libjpeg and libwebp do. `full_range` is JPEG's, else video range (BT.601).
/// Throws kUnsupported for layouts that nothing here converts.
Image frame_to_rgb(const AVFrame& frame, bool full_range);

/// One straight-alpha sample over white.
inline uint8_t over_white(uint32_t value, uint32_t alpha) {
  return static_cast<uint8_t>((value * alpha + 255 * (255 - alpha) + 127) / 255);
}

}  // namespace onnuri
