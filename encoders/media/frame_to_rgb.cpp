// Chroma: the "fancy" triangle filter of libjpeg's jdsample.c (3/4 nearer, 1/4 farther sample on
// each halved axis). Colour: BT.601 in 16-bit fixed point, jdcolor.c. Swscale would be a few levels
// away from both at edges of colour; it serves for the rare layouts only.
#include "encoders/media/frame_to_rgb.h"

#include <algorithm>
#include <array>
#include <memory>
#include <vector>

#include "core/check.h"

extern "C" {
#include <libavutil/frame.h>
#include <libavutil/pixdesc.h>
#include <libswscale/swscale.h>
}

namespace onnuri {
namespace {

Image empty_image(const AVFrame& f) {
  return {f.height, f.width,
          std::vector<uint8_t>(static_cast<size_t>(f.height) * static_cast<size_t>(f.width) * 3)};
}

const uint8_t* line(const AVFrame& f, int plane, int64_t y) {
  return f.data[plane] + y * f.linesize[plane];
}

uint8_t clip(int32_t v) { return static_cast<uint8_t>(std::clamp(v, 0, 255)); }

/// One row of chroma at full width, from the two stored rows whose weights are 3 and 1 (or the
/// same row twice when height is not halved). Sums carry a factor of 4 for the rows.
class ChromaRows {
 public:
  ChromaRows(const AVFrame& frame, int shift_x, int shift_y)
      : frame_(frame),
        shift_x_(shift_x),
        shift_y_(shift_y),
        width_(-(-frame.width >> shift_x)),
        height_(-(-frame.height >> shift_y)),
        smooth_(shift_x == 0 || width_ > 2) {}  // libjpeg repeats samples in narrow pictures

  void row(int plane, int64_t y, std::vector<int32_t>& out) {
    const int64_t near = std::min<int64_t>(y >> shift_y_, height_ - 1);
    int64_t far = near;
    if (shift_y_ == 1 && smooth_)
      far = std::clamp<int64_t>(near + ((y & 1) != 0 ? 1 : -1), 0, height_ - 1);
    const uint8_t* a = line(frame_, plane, near);
    const uint8_t* b = line(frame_, plane, far);
    sums_.resize(static_cast<size_t>(width_));
    for (int64_t x = 0; x < width_; ++x) sums_[static_cast<size_t>(x)] = 3 * a[x] + b[x];
    out.resize(static_cast<size_t>(frame_.width));
    if (shift_x_ != 1 || !smooth_) {
      for (int64_t x = 0; x < frame_.width; ++x)
        out[static_cast<size_t>(x)] =
            (sums_[static_cast<size_t>(std::min<int64_t>(x >> shift_x_, width_ - 1))] + 2) >> 2;
      return;
    }
    // libjpeg alternates its rounding so that it does not drift.
    const int32_t even_bias = shift_y_ == 1 ? 8 : 4;
    const int32_t odd_bias = shift_y_ == 1 ? 7 : 8;
    for (int64_t x = 0; x < frame_.width; ++x) {
      const int64_t near_x = x >> 1;
      const bool odd = (x & 1) != 0;
      const int64_t far_x = std::clamp<int64_t>(near_x + (odd ? 1 : -1), 0, width_ - 1);
      const int32_t sum =
          3 * sums_[static_cast<size_t>(near_x)] + sums_[static_cast<size_t>(far_x)];
      out[static_cast<size_t>(x)] = (sum + (odd ? odd_bias : even_bias)) >> 4;
    }
  }

 private:
  const AVFrame& frame_;
  int shift_x_, shift_y_;
  int64_t width_, height_;
  bool smooth_;
  std::vector<int32_t> sums_;
};

Image from_yuv(const AVFrame& f, const AVPixFmtDescriptor& format, bool full_range) {
  Image out = empty_image(f);
  ChromaRows chroma(f, format.log2_chroma_w, format.log2_chroma_h);
  const bool alpha = format.nb_components == 4;
  const auto fixed = [](double v) { return static_cast<int32_t>(v * 65536 + 0.5); };
  const double stretch = full_range ? 1.0 : 255.0 / 224.0;
  const int32_t luma = full_range ? 65536 : fixed(255.0 / 219.0);
  const int32_t black = full_range ? 0 : 16;
  const int32_t r_cr = fixed(1.402 * stretch), b_cb = fixed(1.772 * stretch);
  const int32_t g_cb = fixed(0.344136286 * stretch), g_cr = fixed(0.714136286 * stretch);
  std::vector<int32_t> cb, cr;
  uint8_t* to = out.rgb.data();
  for (int64_t y = 0; y < f.height; ++y) {
    const uint8_t* ys = line(f, 0, y);
    const uint8_t* as = alpha ? line(f, 3, y) : nullptr;
    chroma.row(1, y, cb);
    chroma.row(2, y, cr);
    for (int64_t x = 0; x < f.width; ++x, to += 3) {
      const int32_t l = (ys[x] - black) * luma + 32768;
      const int32_t u = cb[static_cast<size_t>(x)] - 128, v = cr[static_cast<size_t>(x)] - 128;
      to[0] = clip((l + r_cr * v) >> 16);
      to[1] = clip((l - g_cb * u - g_cr * v) >> 16);
      to[2] = clip((l + b_cb * u) >> 16);
      if (as != nullptr)
        for (int c = 0; c < 3; ++c) to[c] = over_white(to[c], as[x]);
    }
  }
  return out;
}

/// Where a packed layout keeps its samples: byte offsets of r, g, b and alpha (-1: none) in a
/// pixel.
struct PackedLayout {
  AVPixelFormat format;
  int bytes, r, g, b, a;
};

constexpr std::array<PackedLayout, 14> kPacked = {{
    {AV_PIX_FMT_RGB24, 3, 0, 1, 2, -1},
    {AV_PIX_FMT_BGR24, 3, 2, 1, 0, -1},
    {AV_PIX_FMT_RGBA, 4, 0, 1, 2, 3},
    {AV_PIX_FMT_BGRA, 4, 2, 1, 0, 3},
    {AV_PIX_FMT_ARGB, 4, 1, 2, 3, 0},
    {AV_PIX_FMT_RGB0, 4, 0, 1, 2, -1},
    {AV_PIX_FMT_BGR0, 4, 2, 1, 0, -1},
    {AV_PIX_FMT_GRAY8, 1, 0, 0, 0, -1},
    {AV_PIX_FMT_YA8, 2, 0, 0, 0, 1},
    // 16 bits, most significant byte first or last
    {AV_PIX_FMT_RGB48BE, 6, 0, 2, 4, -1},
    {AV_PIX_FMT_RGBA64BE, 8, 0, 2, 4, 6},
    {AV_PIX_FMT_GRAY16BE, 2, 0, 0, 0, -1},
    {AV_PIX_FMT_YA16BE, 4, 0, 0, 0, 2},
    {AV_PIX_FMT_RGB48LE, 6, 1, 3, 5, -1},
}};

Image from_packed(const AVFrame& f, const PackedLayout& p) {
  Image out = empty_image(f);
  uint8_t* to = out.rgb.data();
  for (int64_t y = 0; y < f.height; ++y) {
    const uint8_t* from = line(f, 0, y);
    for (int64_t x = 0; x < f.width; ++x, to += 3, from += p.bytes) {
      const uint32_t alpha = p.a < 0 ? 255 : from[p.a];
      to[0] = over_white(from[p.r], alpha);
      to[1] = over_white(from[p.g], alpha);
      to[2] = over_white(from[p.b], alpha);
    }
  }
  return out;
}

Image from_palette(const AVFrame& f) {
  Image out = empty_image(f);
  uint8_t* to = out.rgb.data();
  const auto* palette = reinterpret_cast<const uint32_t*>(f.data[1]);  // native 0xAARRGGBB
  for (int64_t y = 0; y < f.height; ++y) {
    const uint8_t* from = line(f, 0, y);
    for (int64_t x = 0; x < f.width; ++x, to += 3) {
      const uint32_t color = palette[from[x]];
      for (int c = 0; c < 3; ++c) to[c] = over_white(color >> (16 - 8 * c) & 255, color >> 24);
    }
  }
  return out;
}

struct SwsDelete {
  void operator()(SwsContext* p) const { sws_freeContext(p); }
};

Image from_anything(const AVFrame& f, bool full_range) {
  const auto format = static_cast<AVPixelFormat>(f.format);
  if (sws_isSupportedInput(format) == 0)
    fail(ErrorCode::kUnsupported, "expected a picture with 8 or 16-bit samples, found layout '",
         av_get_pix_fmt_name(format), "'");
  const std::unique_ptr<SwsContext, SwsDelete> sws(
      sws_getContext(f.width, f.height, format, f.width, f.height, AV_PIX_FMT_RGBA,
                     SWS_BILINEAR | SWS_ACCURATE_RND | SWS_FULL_CHR_H_INT | SWS_FULL_CHR_H_INP,
                     nullptr, nullptr, nullptr));
  if (sws == nullptr) fail(ErrorCode::kOutOfMemory, "expected memory to convert a picture");
  const int* bt601 = sws_getCoefficients(SWS_CS_ITU601);
  sws_setColorspaceDetails(sws.get(), bt601, full_range ? 1 : 0, bt601, 1, 0, 1 << 16, 1 << 16);
  // Swscale writes whole vectors past a row's end: give it padded rows.
  const int stride = (f.width * 4 + 63) / 64 * 64 + 64;
  std::vector<uint8_t> rgba(static_cast<size_t>(stride) * static_cast<size_t>(f.height));
  std::array<uint8_t*, 4> data = {rgba.data(), nullptr, nullptr, nullptr};
  std::array<int, 4> strides = {stride, 0, 0, 0};
  if (sws_scale(sws.get(), f.data, f.linesize, 0, f.height, data.data(), strides.data()) !=
      f.height)
    fail(ErrorCode::kCorruptData, "expected a picture that can be converted to RGB");
  Image out = empty_image(f);
  uint8_t* to = out.rgb.data();
  for (int64_t y = 0; y < f.height; ++y)
    for (int64_t x = 0; x < f.width; ++x, to += 3) {
      const uint8_t* from = rgba.data() + y * stride + 4 * x;
      for (int c = 0; c < 3; ++c) to[c] = over_white(from[c], from[3]);
    }
  return out;
}

bool is_planar_yuv8(const AVPixFmtDescriptor& d) {
  constexpr uint64_t kOther = AV_PIX_FMT_FLAG_RGB | AV_PIX_FMT_FLAG_PAL | AV_PIX_FMT_FLAG_BITSTREAM;
  return (d.flags & AV_PIX_FMT_FLAG_PLANAR) != 0 && (d.flags & kOther) == 0 &&
         d.nb_components >= 3 && d.comp[0].depth == 8 && d.comp[1].plane == 1 &&
         d.comp[2].plane == 2 && d.comp[1].step == 1;
}

}  // namespace

Image frame_to_rgb(const AVFrame& frame, bool full_range) {
  const auto format = static_cast<AVPixelFormat>(frame.format);
  const AVPixFmtDescriptor* description = av_pix_fmt_desc_get(format);
  if (description == nullptr || frame.width <= 0 || frame.height <= 0)
    fail(ErrorCode::kCorruptData, "expected a picture with pixels, found none");
  for (const PackedLayout& layout : kPacked)
    if (layout.format == format) return from_packed(frame, layout);
  if (format == AV_PIX_FMT_PAL8) return from_palette(frame);
  if (is_planar_yuv8(*description)) return from_yuv(frame, *description, full_range);
  return from_anything(frame, full_range);
}

}  // namespace onnuri
