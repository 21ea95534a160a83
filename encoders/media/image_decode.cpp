// Picture files to RGB8: the header is read and limits are checked before anything is decoded.
//
// A still picture is one packet, so the bytes go to FFmpeg's decoder directly: no demuxer guesses
// the format, and only the decoder named here can run. HEIC and AVIF go to libheif.
#include <libheif/heif.h>

#include <algorithm>
#include <cstring>
#include <limits>
#include <memory>
#include <opencv2/core.hpp>
#include <string>

#include "core/check.h"
#include "encoders/media/ffmpeg_input.h"
#include "encoders/media/frame_to_rgb.h"
#include "encoders/media/image_header.h"
#include "encoders/media/media_decode.h"
#include "encoders/media/tiff_tags.h"

namespace onnuri {
namespace {

constexpr const char* kExpected = "an image (JPEG, PNG, WebP, BMP, TIFF, GIF, AVIF or HEIC)";
constexpr int64_t kMaxSide = 1 << 16;

AVCodecID codec_of(ImageFormat format) {
  switch (format) {
    case ImageFormat::kJpeg: return AV_CODEC_ID_MJPEG;
    case ImageFormat::kPng: return AV_CODEC_ID_PNG;
    case ImageFormat::kGif: return AV_CODEC_ID_GIF;
    case ImageFormat::kBmp: return AV_CODEC_ID_BMP;
    case ImageFormat::kWebp: return AV_CODEC_ID_WEBP;
    case ImageFormat::kTiff: return AV_CODEC_ID_TIFF;
    default: return AV_CODEC_ID_NONE;
  }
}

const char* name_of(ImageFormat format) {
  switch (format) {
    case ImageFormat::kJpeg: return "JPEG";
    case ImageFormat::kPng: return "PNG";
    case ImageFormat::kGif: return "GIF";
    case ImageFormat::kBmp: return "BMP";
    case ImageFormat::kWebp: return "WebP";
    case ImageFormat::kTiff: return "TIFF";
    case ImageFormat::kHeif: return "HEIF";
    case ImageFormat::kUnknown: break;
  }
  return "unknown";
}

void check_size(int64_t width, int64_t height, const MediaLimits& limits, const char* format,
                const std::string& where) {
  if (width <= 0 || height <= 0)
    fail(ErrorCode::kCorruptData, "expected ", kExpected, " with pixels, found a ", format, " of ",
         width, "x", height, " in ", where);
  if (width > kMaxSide || height > kMaxSide || width * height > limits.max_pixels)
    fail(ErrorCode::kOutOfMemory, "expected an image of at most ", limits.max_pixels,
         " pixels, found a ", format, " of ", width, "x", height, " in ", where);
}

[[noreturn]] void fail_damaged(const char* format, const std::string& where) {
  fail(ErrorCode::kCorruptData, "expected ", kExpected, ", found a damaged ", format, " in ",
       where);
}

FramePtr decode_frame(std::span<const std::byte> bytes, ImageFormat format,
                      const MediaLimits& limits, const std::string& where) {
  const AVCodec* codec = avcodec_find_decoder(codec_of(format));
  if (codec == nullptr)
    fail(ErrorCode::kUnsupported, "expected a decoder for ", name_of(format),
         " in the media library, found none, for ", where);
  CodecContextPtr context(avcodec_alloc_context3(codec));
  PacketPtr packet = make_packet();
  FramePtr frame = make_frame();
  // A packet owns padded memory: decoders read a little past the end.
  if (context == nullptr ||
      bytes.size() > static_cast<size_t>(std::numeric_limits<int>::max() / 2) ||
      av_new_packet(packet.get(), static_cast<int>(bytes.size())) < 0)
    fail(ErrorCode::kOutOfMemory, "expected memory to decode ", where);
  std::memcpy(packet->data, bytes.data(), bytes.size());
  packet->flags |= AV_PKT_FLAG_KEY;
  if (format == ImageFormat::kTiff) keep_pixel_tags({packet->data, bytes.size()});
  context->max_pixels = limits.max_pixels;
  context->thread_count = 1;
  context->idct_algo = FF_IDCT_INT;  // the slow and exact one, as libjpeg's default
  context->err_recognition = AV_EF_EXPLODE | AV_EF_CRCCHECK;
  if (avcodec_open2(context.get(), codec, nullptr) < 0 ||
      avcodec_send_packet(context.get(), packet.get()) < 0)
    fail_damaged(name_of(format), where);
  avcodec_send_packet(context.get(),
                      nullptr);  // nothing follows: decoders with delay give up theirs
  if (avcodec_receive_frame(context.get(), frame.get()) < 0 || frame->decode_error_flags != 0)
    fail_damaged(name_of(format), where);
  return frame;
}

// HEIF ------------------------------------------------------------------------------------------

struct HeifDelete {
  void operator()(heif_context* p) const { heif_context_free(p); }
  void operator()(heif_image_handle* p) const { heif_image_handle_release(p); }
  void operator()(heif_image* p) const { heif_image_release(p); }
};

/// Rotation and mirroring are boxes of the file here, and libheif applies them.
Image decode_heif(std::span<const std::byte> bytes, const MediaLimits& limits,
                  const std::string& where) {
  const auto check = [&](const heif_error& error) {
    if (error.code == heif_error_Unsupported_filetype ||
        error.code == heif_error_Unsupported_feature)
      fail(ErrorCode::kUnsupported,
           "expected a HEIF coding that libheif decodes, found another in ", where);
    if (error.code != heif_error_Ok) fail_damaged("HEIF", where);
  };
  const std::unique_ptr<heif_context, HeifDelete> context(heif_context_alloc());
  if (context == nullptr) fail(ErrorCode::kOutOfMemory, "expected memory to decode ", where);
  heif_context_set_maximum_image_size_limit(context.get(), kMaxSide);
  check(heif_context_read_from_memory_without_copy(context.get(), bytes.data(), bytes.size(),
                                                   nullptr));
  heif_image_handle* raw_handle = nullptr;
  check(heif_context_get_primary_image_handle(context.get(), &raw_handle));
  const std::unique_ptr<heif_image_handle, HeifDelete> handle(raw_handle);
  check_size(heif_image_handle_get_width(raw_handle), heif_image_handle_get_height(raw_handle),
             limits, "HEIF", where);
  heif_image* raw_image = nullptr;
  check(heif_decode_image(raw_handle, &raw_image, heif_colorspace_RGB, heif_chroma_interleaved_RGBA,
                          nullptr));
  const std::unique_ptr<heif_image, HeifDelete> image(raw_image);
  const int width = heif_image_get_width(raw_image, heif_channel_interleaved);
  const int height = heif_image_get_height(raw_image, heif_channel_interleaved);
  check_size(width, height, limits, "HEIF", where);
  int stride = 0;
  const uint8_t* data = heif_image_get_plane_readonly(raw_image, heif_channel_interleaved, &stride);
  if (data == nullptr || stride < 4 * width) fail_damaged("HEIF", where);
  Image out{height, width, {}};
  out.rgb.reserve(static_cast<size_t>(height) * static_cast<size_t>(width) * 3);
  for (int64_t y = 0; y < height; ++y)
    for (int64_t x = 0; x < width; ++x) {
      const uint8_t* p = data + y * stride + 4 * x;
      for (int c = 0; c < 3; ++c) out.rgb.push_back(over_white(p[c], p[3]));
    }
  return out;
}

// Orientation -----------------------------------------------------------------------------------

/// A view of the picture's pixels for OpenCV. Sides are at most kMaxSide.
cv::Mat pixels_of(Image& image) {
  return {static_cast<int>(image.height), static_cast<int>(image.width), CV_8UC3, image.rgb.data()};
}

/// EXIF orientation: tags from 5 on are transposed first, then all are mirrored.
///   1 as is   2 left-right   3 half turn   4 top-bottom
///   5 transposed   6 quarter turn right   7 transposed the other way   8 quarter turn left
Image oriented(Image in, int orientation) {
  if (orientation == 1) return in;
  const bool swap = orientation >= 5;
  const bool mirror_x =
      orientation == 2 || orientation == 3 || orientation == 6 || orientation == 7;
  const bool mirror_y =
      orientation == 3 || orientation == 4 || orientation == 7 || orientation == 8;
  Image out{swap ? in.width : in.height, swap ? in.height : in.width, {}};
  out.rgb.resize(in.rgb.size());
  cv::Mat to = pixels_of(out);
  if (swap)
    cv::transpose(pixels_of(in), to);
  else
    pixels_of(in).copyTo(to);
  if (mirror_x && mirror_y)
    cv::flip(to, to, -1);
  else if (mirror_x)
    cv::flip(to, to, 1);
  else if (mirror_y)
    cv::flip(to, to, 0);
  return out;
}

/// A picture that came decoded: the same limits hold.
Image checked_pixels(const MediaInput& input, const MediaLimits& limits) {
  const Image& image = input.image;
  if (!input.path.empty() || !input.bytes.empty())
    fail(ErrorCode::kInvalidArgument, "expected an image as a file or as pixels, found both");
  check_size(image.width, image.height, limits, "picture", "memory");
  if (static_cast<int64_t>(image.rgb.size()) != image.width * image.height * 3)
    fail(ErrorCode::kInvalidArgument, "expected ", image.width * image.height * 3,
         " bytes of pixels for ", image.width, "x", image.height, ", found ", image.rgb.size());
  return image;
}

}  // namespace

Image decode_image(const MediaInput& input, const MediaLimits& given) {
  MediaLimits limits = given;
  limits.max_pixels = std::min(limits.max_pixels, limits.max_decoded_bytes / 3);
  if (!input.image.rgb.empty()) return checked_pixels(input, limits);
  const MediaBytes file(input, limits, kExpected);
  const std::string& where = file.where();
  const ImageHeader header = read_image_header(file.bytes());
  const char* name = name_of(header.format);
  if (header.format == ImageFormat::kUnknown)
    fail(ErrorCode::kCorruptData, "expected ", kExpected, ", found no known picture format in ",
         where);
  if (header.format == ImageFormat::kHeif) return decode_heif(file.bytes(), limits, where);
  if (header.format != ImageFormat::kTiff)
    check_size(header.width, header.height, limits, name, where);
  if (!header.whole)
    fail(ErrorCode::kCorruptData, "expected ", kExpected, ", found a ", name,
         " that ends too early in ", where);
  if (header.animated_webp)
    fail(ErrorCode::kUnsupported, "expected a still image, found an animated WebP in ", where);

  silence_ffmpeg_log();
  const FramePtr frame = decode_frame(file.bytes(), header.format, limits, where);
  check_size(frame->width, frame->height, limits, name, where);
  const bool full_range = header.format != ImageFormat::kWebp;
  return oriented(frame_to_rgb(*frame, full_range), exif_orientation(header.exif));
}

}  // namespace onnuri
