// Files and bytes to pictures and samples. FFmpeg and libheif live behind this door.
#pragma once

#include <functional>
#include <optional>
#include <vector>

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

/// What is heard in a video, as decode_audio; nothing when the file has no sound or none of its
/// sound is there.
std::optional<Waveform> decode_sound_of_video(const MediaInput& input, int64_t sample_rate_hz,
                                              const MediaLimits& limits = {});

/// Given the number of frames and the mean rate, the ascending indices of those that are wanted.
using FrameChooser = std::function<std::vector<int64_t>(int64_t total, double fps)>;

/// The chosen frames of MP4, WebM, MKV, MOV, AVI or GIF, turned as the file says. Frames are
/// counted by their own timestamps, so that variable and missing frame rates do no harm; what lies
/// between the chosen ones is skipped from key frame to key frame. Throws as decode_image;
/// kOutOfMemory before decoding when the chosen frames exceed limits.max_decoded_bytes. A video
/// that came decoded is checked and returned as it is.
Video decode_video(const MediaInput& input, const FrameChooser& choose,
                   const MediaLimits& limits = {});

}  // namespace onnuri
