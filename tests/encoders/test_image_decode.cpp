// Hostile and degenerate pictures: refused before memory is spent, with one clear line.
#include <gtest/gtest.h>

#include <string>
#include <string_view>

#include "core/checkpoint.h"
#include "encoders/media/image_header.h"
#include "encoders/media/media_decode.h"
#include "onnuri/error.h"

namespace onnuri {
namespace {

using Bytes = std::vector<uint8_t>;

Bytes text(std::string_view s) { return {s.begin(), s.end()}; }

void append(Bytes& to, const Bytes& part) { to.insert(to.end(), part.begin(), part.end()); }

Bytes big32(uint32_t v) {
  return {static_cast<uint8_t>(v >> 24), static_cast<uint8_t>(v >> 16),
          static_cast<uint8_t>(v >> 8), static_cast<uint8_t>(v)};
}

Bytes little32(uint32_t v) {
  const Bytes b = big32(v);
  return {b[3], b[2], b[1], b[0]};
}

Bytes png_chunk(std::string_view type, const Bytes& data) {
  Bytes out = big32(static_cast<uint32_t>(data.size()));
  append(out, text(type));
  append(out, data);
  append(out, big32(0));
  return out;
}

Bytes png(uint32_t width, uint32_t height) {
  Bytes header = big32(width);
  append(header, big32(height));
  append(header, {8, 2, 0, 0, 0});
  Bytes out = text("\x89PNG\r\n\x1A\n");
  append(out, png_chunk("IHDR", header));
  append(out, png_chunk("IDAT", Bytes(64)));
  append(out, png_chunk("IEND", {}));
  return out;
}

Bytes tiff(uint32_t width, uint32_t height) {
  Bytes out = text(std::string_view("II*\0", 4));
  append(out, little32(8));
  append(out, {3, 0});
  const auto entry = [&](uint8_t tag, uint32_t value) {
    append(out, {tag, 1, 4, 0, 1, 0, 0, 0});
    append(out, little32(value));
  };
  entry(0x00, width);
  entry(0x01, height);
  entry(0x11, 8);  // strips start at the directory itself
  append(out, little32(0));
  return out;
}

/// The error of decoding `bytes`; fails when there is none.
Error error_of(const Bytes& bytes, const MediaLimits& limits = {}) {
  try {
    decode_image(MediaInput{MediaKind::kImage, "", bytes}, limits);
  } catch (const Error& e) {
    return e;
  }
  ADD_FAILURE() << "expected an error";
  return Error(ErrorCode::kInternal, "");
}

TEST(ImageDecode, RefusesPixelBombsByTheirHeader) {
  for (const auto& [w, h] : {std::pair{16000u, 16000u},
                             {50000u, 50000u},
                             {1u, 0x7FFFFFFFu},
                             {0xFFFFFFFFu, 0xFFFFFFFFu}}) {
    const Error e = error_of(png(w, h));
    EXPECT_EQ(e.code(), ErrorCode::kOutOfMemory) << e.what();
    EXPECT_NE(std::string(e.what()).find(std::to_string(w) + "x" + std::to_string(h)),
              std::string::npos)
        << e.what();
  }
  Bytes gif = text("GIF89a");
  append(gif, {255, 255, 255, 255, 0, 0, 0});
  EXPECT_EQ(error_of(gif).code(), ErrorCode::kOutOfMemory);
  Bytes jpeg = {0xFF, 0xD8, 0xFF, 0xC0, 0, 11, 8, 0xFF, 0xDC, 0xFF, 0xDC, 1, 1, 0x11, 0};
  EXPECT_EQ(error_of(jpeg).code(), ErrorCode::kOutOfMemory);
  Bytes webp = text("RIFF");
  append(webp, little32(22));
  append(webp, text("WEBPVP8X"));
  append(webp, little32(10));
  append(webp, Bytes(4));
  append(webp, {255, 255, 255, 255, 255, 255});
  EXPECT_EQ(error_of(webp).code(), ErrorCode::kOutOfMemory);
  Bytes bmp = text("BM");
  append(bmp, Bytes(12));
  append(bmp, little32(40));
  append(bmp, little32(30000));
  append(bmp, little32(30000));
  append(bmp, Bytes(32));
  EXPECT_EQ(error_of(bmp).code(), ErrorCode::kOutOfMemory);
  EXPECT_NE(error_of(tiff(60000, 60000)).code(), ErrorCode::kInternal);
}

TEST(ImageDecode, RefusesZeroSizes) {
  EXPECT_EQ(error_of(png(0, 5)).code(), ErrorCode::kCorruptData);
  EXPECT_EQ(error_of(png(5, 0)).code(), ErrorCode::kCorruptData);
}

TEST(ImageDecode, RefusesPixelsThatAreNotThere) {
  const Error e = error_of(png(4000, 4000));
  EXPECT_EQ(e.code(), ErrorCode::kCorruptData) << e.what();
}

TEST(ImageDecode, SaysWhatWasExpectedAndFound) {
  for (const Bytes& bytes : {text("hello, this is a letter"), text("%PDF-1.7"), Bytes(1000),
                             text("<html>"), Bytes{0xFF}}) {
    const Error e = error_of(bytes);
    EXPECT_EQ(e.code(), ErrorCode::kCorruptData);
    EXPECT_EQ(std::string(e.what()).rfind("expected an image", 0), 0u) << e.what();
    EXPECT_NE(std::string(e.what()).find("found"), std::string::npos) << e.what();
    EXPECT_EQ(std::string(e.what()).find('\n'), std::string::npos) << e.what();
  }
  EXPECT_EQ(error_of({}).code(), ErrorCode::kCorruptData);
  const MediaInput missing{MediaKind::kImage, "/no/such/picture.jpg", {}};
  try {
    decode_image(missing);
    FAIL() << "expected an error";
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::kNotFound);
  }
}

TEST(ImageDecode, KeepsToTheCallersLimits) {
  const auto golden =
      Checkpoint::open(std::string(ONNURI_TEST_DATA) + "/golden/images.safetensors");
  MediaLimits limits;
  limits.max_pixels = 45 * 31 - 1;
  for (const char* name : {"jpeg_444", "png_rgb", "gif", "bmp", "tiff", "webp_lossy", "avif"}) {
    const TensorView file = golden->find(std::string("file.") + name);
    const Bytes bytes(file.as<uint8_t>(), file.as<uint8_t>() + file.num_elements());
    const Error e = error_of(bytes, limits);
    EXPECT_NE(e.code(), ErrorCode::kInternal) << name;
  }
}

TEST(ExifOrientation, ReadsBothByteOrdersAndSurvivesDamage) {
  Bytes block =
      text(std::string_view("MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0", 22));
  const auto read = [](const Bytes& b) { return exif_orientation(std::as_bytes(std::span(b))); };
  EXPECT_EQ(read(block), 6);
  EXPECT_EQ(
      read(text(std::string_view("II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x08\0\0\0", 22))),
      8);
  for (size_t size = 0; size < block.size(); ++size) {
    const int found = read(Bytes(block.begin(), block.begin() + static_cast<long>(size)));
    EXPECT_TRUE(found == 1 || found == 6) << size;
  }
  block[19] = 9;
  EXPECT_EQ(read(block), 1);
  block[4] = 0xFF;  // the directory lies outside
  EXPECT_EQ(read(block), 1);
}

TEST(DecodeImage, TakesPixelsAsTheyAreWithinTheLimits) {
  MediaInput input;
  input.image = Image{2, 3, std::vector<uint8_t>(18, 7)};
  EXPECT_EQ(decode_image(input).rgb, input.image.rgb);
  MediaLimits limits;
  limits.max_pixels = 5;
  EXPECT_THROW(decode_image(input, limits), Error);
  input.image.height = 3;
  EXPECT_THROW(decode_image(input), Error);
  input.image.height = 2;
  input.path = "also.png";
  EXPECT_THROW(decode_image(input), Error);
}

}  // namespace
}  // namespace onnuri
