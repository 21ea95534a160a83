// Sources: ITU-T T.81 annex B (JPEG markers), W3C PNG 3, the WebP container specification, GIF89a,
// CIPA DC-008 (EXIF).
#include "encoders/media/image_header.h"

#include <algorithm>
#include <string_view>

namespace onnuri {
namespace {

using Bytes = std::span<const std::byte>;

/// Bounded reads: what lies outside the bytes is zero.
class Reader {
 public:
  Reader(Bytes bytes, bool big_endian) : bytes_(bytes), big_endian_(big_endian) {}
  uint32_t u8(size_t at) const {
    return at < bytes_.size() ? std::to_integer<uint32_t>(bytes_[at]) : 0;
  }
  uint32_t u16(size_t at) const {
    return big_endian_ ? u8(at) << 8 | u8(at + 1) : u8(at + 1) << 8 | u8(at);
  }
  uint32_t u24(size_t at) const { return u8(at) | u8(at + 1) << 8 | u8(at + 2) << 16; }
  uint32_t u32(size_t at) const {
    return big_endian_ ? u16(at) << 16 | u16(at + 2) : u16(at + 2) << 16 | u16(at);
  }
  bool text(size_t at, std::string_view expected) const {
    if (at > bytes_.size() || bytes_.size() - at < expected.size()) return false;
    for (size_t i = 0; i < expected.size(); ++i)
      if (u8(at + i) != static_cast<unsigned char>(expected[i])) return false;
    return true;
  }

 private:
  Bytes bytes_;
  bool big_endian_;
};

Bytes part(Bytes bytes, size_t begin, size_t count) {
  if (begin >= bytes.size()) return {};
  return bytes.subspan(begin, std::min(count, bytes.size() - begin));
}

/// Inside entropy-coded data 0xFF is followed by 0 or a restart marker, so the end marker can be
/// searched for.
bool has_end_marker(Bytes scan) {
  for (size_t i = 0; i + 1 < scan.size(); ++i)
    if (scan[i] == std::byte{0xFF} && scan[i + 1] == std::byte{0xD9}) return true;
  return false;
}

void read_jpeg(Bytes bytes, ImageHeader& out) {
  const Reader r(bytes, true);
  out.whole = false;
  size_t at = 2;
  while (at + 4 <= bytes.size()) {
    if (r.u8(at) != 0xFF) return;
    const uint32_t marker = r.u8(at + 1);
    if (marker == 0xFF) {  // fill byte
      ++at;
      continue;
    }
    const uint32_t length = r.u16(at + 2);
    const bool frame =
        marker >= 0xC0 && marker <= 0xCF && marker != 0xC4 && marker != 0xC8 && marker != 0xCC;
    if (frame) {
      out.height = r.u16(at + 5);
      out.width = r.u16(at + 7);
    } else if (marker == 0xE1 && r.text(at + 4, std::string_view("Exif\0\0", 6)) && length > 8) {
      if (out.exif.empty()) out.exif = part(bytes, at + 10, length - 8);
    } else if (marker == 0xDA) {
      out.whole = has_end_marker(bytes.subspan(at));
      return;
    }
    if (length < 2) return;
    at += 2 + length;
  }
}

void read_png(Bytes bytes, ImageHeader& out) {
  const Reader r(bytes, true);
  out.whole = false;
  for (size_t at = 8; at + 12 <= bytes.size();) {
    const size_t length = r.u32(at);
    if (length > bytes.size() - at - 12) return;
    if (r.text(at + 4, "IHDR")) {
      out.width = r.u32(at + 8);
      out.height = r.u32(at + 12);
    } else if (r.text(at + 4, "eXIf")) {
      out.exif = part(bytes, at + 8, length);
    } else if (r.text(at + 4, "IEND")) {
      out.whole = true;
      return;
    }
    at += 12 + length;
  }
}

void read_webp(Bytes bytes, ImageHeader& out) {
  const Reader r(bytes, false);
  out.whole = r.u32(4) <= bytes.size() - 8;
  for (size_t at = 12; at + 8 <= bytes.size();) {
    const size_t length = r.u32(at + 4);
    const size_t data = at + 8;
    if (r.text(at, "VP8X")) {
      out.animated_webp = (r.u8(data) & 2) != 0;
      out.width = 1 + r.u24(data + 4);
      out.height = 1 + r.u24(data + 7);
    } else if (r.text(at, "VP8L") && out.width == 0) {
      const uint32_t bits = r.u32(data + 1);
      out.width = 1 + (bits & 0x3FFF);
      out.height = 1 + (bits >> 14 & 0x3FFF);
    } else if (r.text(at, "VP8 ") && out.width == 0) {
      out.width = r.u16(data + 6) & 0x3FFF;
      out.height = r.u16(data + 8) & 0x3FFF;
    } else if (r.text(at, "EXIF")) {
      const size_t skip = r.text(data, std::string_view("Exif\0\0", 6)) ? 6 : 0;
      if (length >= skip) out.exif = part(bytes, data + skip, length - skip);
    }
    if (length > bytes.size() - data) return;
    at = data + length + (length & 1);
  }
}

/// Blocks of at most 255 bytes, a length in front of each, up to one of none; false where the file
/// ends first.
bool skip_blocks(Bytes bytes, size_t& at) {
  while (at < bytes.size()) {
    const auto length = std::to_integer<size_t>(bytes[at]);
    at += 1 + length;
    if (length == 0) return true;
  }
  return false;
}

/// Whole when the first picture of the file is.
void read_gif(Bytes bytes, ImageHeader& out) {
  const Reader r(bytes, false);
  out.width = r.u16(6);
  out.height = r.u16(8);
  out.whole = false;
  const auto palette = [](uint32_t flags) -> size_t {
    return (flags & 0x80) != 0 ? size_t{6} << (flags & 7) : 0;
  };
  size_t at = 13 + palette(r.u8(10));
  while (at < bytes.size()) {
    const uint32_t kind = r.u8(at);
    if (kind == 0x2C) {  // a picture: place, size, flags; palette; width of codes; blocks
      at += 11 + palette(r.u8(at + 9));
      out.whole = skip_blocks(bytes, at);
      return;
    }
    if (kind != 0x21) return;
    at += 2;
    if (!skip_blocks(bytes, at)) return;
  }
}

bool is_heif(const Reader& r) {
  if (!r.text(4, "ftyp")) return false;
  for (const char* brand : {"heic", "heix", "hevc", "heim", "heis", "mif1", "msf1", "avif", "avis"})
    if (r.text(8, brand)) return true;
  return false;
}

}  // namespace

ImageHeader read_image_header(Bytes bytes) {
  ImageHeader out;
  const Reader r(bytes, false);
  if (r.text(0, "\xFF\xD8\xFF")) {
    out.format = ImageFormat::kJpeg;
    read_jpeg(bytes, out);
  } else if (r.text(0, "\x89PNG\r\n\x1A\n")) {
    out.format = ImageFormat::kPng;
    read_png(bytes, out);
  } else if (r.text(0, "GIF87a") || r.text(0, "GIF89a")) {
    out.format = ImageFormat::kGif;
    read_gif(bytes, out);
  } else if (r.text(0, "BM") && bytes.size() >= 26) {
    out.format = ImageFormat::kBmp;
    const bool old = r.u32(14) == 12;  // OS/2 header
    out.width = old ? r.u16(18) : static_cast<int32_t>(r.u32(18));
    out.height = old ? r.u16(20) : static_cast<int32_t>(r.u32(22));
    if (out.height < 0) out.height = -out.height;
  } else if (r.text(0, "RIFF") && r.text(8, "WEBP")) {
    out.format = ImageFormat::kWebp;
    read_webp(bytes, out);
  } else if (r.text(0, std::string_view("II*\0", 4)) || r.text(0, std::string_view("MM\0*", 4))) {
    out.format = ImageFormat::kTiff;
    out.exif = bytes;
  } else if (is_heif(r)) {
    out.format = ImageFormat::kHeif;
  }
  return out;
}

int exif_orientation(Bytes tiff) {
  constexpr uint32_t kOrientation = 0x0112;
  constexpr uint32_t kShort = 3;
  const bool big = Reader(tiff, true).text(0, std::string_view("MM\0*", 4));
  if (!big && !Reader(tiff, false).text(0, std::string_view("II*\0", 4))) return 1;
  const Reader r(tiff, big);
  const size_t directory = r.u32(4);
  if (directory >= tiff.size()) return 1;
  const size_t count = r.u16(directory);
  for (size_t i = 0; i < count; ++i) {  // the first directory only: nothing to loop through
    const size_t entry = directory + 2 + 12 * i;
    if (entry >= tiff.size()) return 1;
    if (r.u16(entry) != kOrientation || r.u16(entry + 2) != kShort) continue;
    const uint32_t value = r.u16(entry + 8);
    return value >= 1 && value <= 8 ? static_cast<int>(value) : 1;
  }
  return 1;
}

}  // namespace onnuri
