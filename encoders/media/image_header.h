// What a picture file says about itself in its first bytes. Reads within bounds, decodes nothing.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace onnuri {

enum class ImageFormat { kUnknown, kJpeg, kPng, kGif, kBmp, kWebp, kTiff, kHeif };

struct ImageHeader {
  ImageFormat format = ImageFormat::kUnknown;
  int64_t width = 0, height = 0;  // 0 where the header does not tell (TIFF, HEIF)
  bool whole = true;              // false when the file ends before the picture does
  bool animated_webp = false;
  std::span<const std::byte> exif;  // a TIFF block, may be empty
};

ImageHeader read_image_header(std::span<const std::byte> bytes);

/// The orientation tag of an EXIF block, 1 to 8; 1 when absent or damaged.
int exif_orientation(std::span<const std::byte> tiff);

}  // namespace onnuri
