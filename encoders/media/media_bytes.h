// The bytes of a media file, wherever they came from.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string>

#include "core/mapped_file.h"
#include "encoders/media/media_decode.h"

namespace onnuri {

/// Looks into `input.bytes`, or maps `input.path`. The input must outlive it.
class MediaBytes {
 public:
  /// Throws kNotFound for a missing file, kInvalidArgument unless exactly one of path and bytes is
  /// set, kOutOfMemory above limits.max_file_bytes and kCorruptData for an empty file; `expected`
  /// ("sound", "a picture") stands in the message.
  MediaBytes(const MediaInput& input, const MediaLimits& limits, const char* expected);

  std::span<const std::byte> bytes() const { return bytes_; }
  /// For messages: "'voice.wav'" or "1024 bytes in memory".
  const std::string& where() const { return where_; }

 private:
  std::optional<MappedFile> file_;
  std::span<const std::byte> bytes_;
  std::string where_;
};

}  // namespace onnuri
