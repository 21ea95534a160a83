// Files and bytes to pictures and samples. FFmpeg and libheif live behind this door.
#pragma once

#include "onnuri/media.h"

namespace onnuri {

struct MediaLimits {
  int64_t max_file_bytes = int64_t{256} << 20;
  int64_t max_pixels = 40'000'000;
  int64_t max_audio_seconds = 4 * 3600;
  int64_t max_decoded_bytes = int64_t{512} << 20;  // of samples or pixels that are kept
  double timeout_s = 120;
};

/// JPEG, PNG, WebP, BMP, TIFF, GIF (first frame), AVIF, HEIC to RGB8, EXIF orientation applied,
/// alpha composited on white. Throws kNotFound, kCorruptData ("not an image"), kUnsupported,
/// kOutOfMemory (a limit), each naming what was expected.
Image decode_image(const MediaInput& input, const MediaLimits& limits = {});

/// WAV, MP3, FLAC, OGG/Opus, M4A and the sound of videos to mono float at `sample_rate_hz` through
/// the soxr resampler. Silent input is fine; input without samples is kCorruptData.
Waveform decode_audio(const MediaInput& input, int64_t sample_rate_hz = 16000,
                      const MediaLimits& limits = {});

}  // namespace onnuri
