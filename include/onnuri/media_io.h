// Files and bytes to decoded media, for callers that hand pictures and sound to an Engine.
#pragma once

#include "onnuri/media.h"

namespace onnuri {

/// Decodes a picture (JPEG, PNG, WebP, BMP, TIFF, GIF, AVIF, HEIC) to RGB8 with its EXIF
/// orientation applied. Throws Error: kNotFound, kCorruptData, kUnsupported, kOutOfMemory (too many
/// pixels).
Image load_image(const MediaInput& input);

/// Decodes sound (or the sound of a video) to mono float at `sample_rate_hz`. Throws as above;
/// input without a single sample is kCorruptData.
Waveform load_audio(const MediaInput& input, int64_t sample_rate_hz = 16000);

/// An input that names a file.
inline MediaInput media_file(MediaKind kind, std::string path) {
  return MediaInput{kind, std::move(path), {}};
}

}  // namespace onnuri
