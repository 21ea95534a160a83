// Source: TIFF revision 6.0, sections 2 and 8.
#include "encoders/media/tiff_tags.h"

#include <algorithm>
#include <array>
#include <cstring>

namespace onnuri {
namespace {

constexpr size_t kEntryBytes = 12;
constexpr uint32_t kSampleFormat = 339;
// Sizes, bits, compression, colours, bit order, strips, planes, fax options, predictor, palette,
// tiles, subsampling and range of colour differences.
constexpr std::array<uint32_t, 21> kPixelTags = {256, 257, 258, 259, 262, 266, 273,
                                                 277, 278, 279, 284, 292, 293, 317,
                                                 320, 322, 323, 324, 325, 530, 532};

uint32_t number(std::span<const uint8_t> bytes, size_t at, size_t count, bool big) {
  uint32_t out = 0;
  for (size_t i = 0; i < count; ++i) out = out << 8 | bytes[at + (big ? i : count - 1 - i)];
  return out;
}

/// Samples that are signed or floating stay marked as what no decoder here reads.
bool has_plain_samples(std::span<const uint8_t> tiff, size_t entry, bool big) {
  const size_t inside = entry + 8;  // up to two numbers of 16 bits
  const size_t at = number(tiff, entry + 4, 4, big) <= 2 ? inside : number(tiff, inside, 4, big);
  return at <= tiff.size() - 2 && number(tiff, at, 2, big) == 1;
}

}  // namespace

void keep_pixel_tags(std::span<uint8_t> tiff) {
  if (tiff.size() < 8) return;
  const bool big = tiff[0] == 'M';
  const size_t directory = number(tiff, 4, 4, big);
  if (directory < 8 || directory > tiff.size() - 2) return;
  const size_t count = number(tiff, directory, 2, big);
  const size_t begin = directory + 2;
  if (count > (tiff.size() - begin) / kEntryBytes) return;
  size_t kept = 0;
  for (size_t i = 0; i < count; ++i) {
    const size_t entry = begin + i * kEntryBytes;
    const uint32_t tag = number(tiff, entry, 2, big);
    const bool keep = tag == kSampleFormat ? !has_plain_samples(tiff, entry, big)
                                           : std::find(kPixelTags.begin(), kPixelTags.end(), tag) !=
                                                 kPixelTags.end();
    if (!keep) continue;
    std::memmove(tiff.data() + begin + kept * kEntryBytes, tiff.data() + entry, kEntryBytes);
    ++kept;
  }
  tiff[directory] = static_cast<uint8_t>(big ? kept >> 8 : kept & 255);
  tiff[directory + 1] = static_cast<uint8_t>(big ? kept & 255 : kept >> 8);
}

}  // namespace onnuri
