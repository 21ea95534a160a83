// Decoded media as plain values, and media still in its file.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace onnuri {

/// A decoded picture: 8-bit RGB, row-major, no padding.
struct Image {
  int64_t height = 0;
  int64_t width = 0;
  std::vector<uint8_t> rgb;  // (height, width, 3)
};

/// Decoded sound: mono float samples in [-1, 1].
struct Waveform {
  int64_t sample_rate_hz = 16000;
  std::vector<float> samples;  // (num_samples)
};

/// Frames chosen from a video, 8-bit RGB, all of one size.
struct Video {
  int64_t num_frames = 0;
  int64_t height = 0;
  int64_t width = 0;
  std::vector<uint8_t> rgb;          // (num_frames, height, width, 3)
  double frames_per_second = 0;      ///< of the chosen frames; 0: what the model assumes
  std::vector<double> timestamps_s;  // (num_frames) or empty: evenly spaced from 0
  /// What is heard in it, for models that see and hear a video at once; no samples: a silent one.
  Waveform sound = {};
};

enum class MediaKind { kImage, kAudio, kVideo };

/// Media as it arrives: a path, the bytes of a file, or decoded already. Exactly one is set.
struct MediaInput {
  MediaKind kind = MediaKind::kImage;
  std::string path;
  std::vector<uint8_t> bytes;
  Image image = {};     ///< of kind kImage
  Waveform sound = {};  ///< of kind kAudio
  Video video = {};     ///< of kind kVideo
  /// Of a video's file: its sound is taken too, where it has any. Models that have no rule for a
  /// video with its sound throw kUnsupported.
  bool use_audio_in_video = false;
};

}  // namespace onnuri
