// Pictures and their resizing against Pillow. Data: tests/golden/make_image_goldens.py.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <random>

#include "core/checkpoint.h"
#include "encoders/media/media_decode.h"
#include "encoders/vision/image_processor.h"
#include "encoders/vision/resample.h"
#include "onnuri/error.h"
#include "tests/support/noise_image.h"

namespace onnuri {
namespace {

std::shared_ptr<const Checkpoint> goldens() {
  return Checkpoint::open(std::string(ONNURI_TEST_DATA) + "/golden/images.safetensors");
}

MediaInput memory(const TensorView& file) {
  MediaInput input;
  input.bytes.assign(file.as<uint8_t>(), file.as<uint8_t>() + file.num_elements());
  return input;
}

int largest_difference(const Image& image, const TensorView& expected) {
  int worst = 0;
  for (size_t i = 0; i < image.rgb.size(); ++i)
    worst = std::max(worst, std::abs(image.rgb[i] - expected.as<uint8_t>()[i]));
  return worst;
}

/// Levels by which two correct decoders of a coding may differ.
int tolerance(const std::string& name) {
  if (name.starts_with("jpeg_cmyk")) return 4;             // four planes are rounded and multiplied
  if (name == "jpeg_420" || name == "jpeg_422") return 3;  // a level of chroma is 1.8 of blue
  if (name.starts_with("jpeg")) return 2;                  // inverse transforms round differently
  if (name.starts_with("webp_lossy") || name.starts_with("avif") || name.starts_with("heic"))
    return 3;
  if (name.ends_with("alpha") || name.ends_with("rgba") || name == "webp_lossless") return 1;
  return 0;
}

TEST(ImageGoldens, DecodesAsPillowDoes) {
  const auto golden = goldens();
  int count = 0;
  for (const std::string& key : golden->names()) {
    if (!key.starts_with("file.")) continue;
    const std::string name = key.substr(5);
    SCOPED_TRACE(name);
    const TensorView expected = golden->find("rgb." + name);
    Image image;
    ASSERT_NO_THROW(image = decode_image(memory(golden->find(key))));
    ASSERT_EQ((Shape{image.height, image.width, 3}), expected.shape);
    EXPECT_LE(largest_difference(image, expected), tolerance(name));
    ++count;
  }
  EXPECT_EQ(count, 54);
}

TEST(ImageGoldens, RefusesEveryTruncation) {
  const auto golden = goldens();
  for (const char* name :
       {"jpeg_420", "jpeg_progressive", "png_rgb", "webp_lossless", "webp_lossy", "avif", "bmp",
        "gif", "tiff", "tiff_lzw", "tiff_rgba", "heic", "png_16_rgb", "png_interlaced"}) {
    SCOPED_TRACE(name);
    const MediaInput whole = memory(golden->find(std::string("file.") + name));
    for (size_t size = 1; size + 16 < whole.bytes.size(); size += 1 + size / 16) {
      MediaInput input;
      input.bytes.assign(whole.bytes.begin(), whole.bytes.begin() + static_cast<long>(size));
      EXPECT_THROW(decode_image(input), Error) << size << " of " << whole.bytes.size() << " bytes";
    }
  }
}

TEST(ImageGoldens, SurvivesFlippedBytes) {
  const auto golden = goldens();
  std::mt19937 random(3);
  for (const std::string& key : golden->names()) {
    if (!key.starts_with("file.")) continue;
    SCOPED_TRACE(key);
    const MediaInput whole = memory(golden->find(key));
    for (int round = 0; round < 12; ++round) {
      MediaInput input = whole;
      for (int i = 0; i < 4; ++i)
        input.bytes[random() % input.bytes.size()] = static_cast<uint8_t>(random());
      try {
        const Image image = decode_image(input);
        EXPECT_EQ(static_cast<int64_t>(image.rgb.size()), image.height * image.width * 3);
      } catch (const Error& e) {
        EXPECT_NE(e.code(), ErrorCode::kInternal) << e.what();
      }
    }
  }
}

TEST(ImageGoldens, ResamplesAsPillowDoes) {
  const auto golden = goldens();
  const Image noise = noise_image(43, 61, 77);
  const std::pair<const char*, ResizeFilter> filters[] = {{"bilinear", ResizeFilter::kBilinear},
                                                          {"bicubic", ResizeFilter::kBicubic},
                                                          {"lanczos", ResizeFilter::kLanczos}};
  ThreadPool pool(2);
  for (const auto& [name, filter] : filters) {
    for (int k = 0; k < 12; ++k) {
      const TensorView expected =
          golden->find("resized." + std::string(name) + "." + std::to_string(k));
      ASSERT_FALSE(expected.empty());
      for (ThreadPool* threads : {static_cast<ThreadPool*>(nullptr), &pool}) {
        const Image image = resample(noise, expected.shape[0], expected.shape[1], filter, threads);
        EXPECT_EQ(largest_difference(image, expected), 0) << name << " " << k;
      }
    }
  }
}

TEST(ImageGoldens, SmartResizeAgrees) {
  const auto golden = goldens();
  const TensorView rows = golden->find("smart_resize");
  ASSERT_GT(rows.shape[0], 500);
  for (int64_t i = 0; i < rows.shape[0]; ++i) {
    const int32_t* r = rows.as<int32_t>() + 7 * i;
    ImageProcessorConfig config;
    config.stretch_short_side = r[0] == 1;
    config.min_pixels = r[3];
    config.max_pixels = r[4];
    const ImageSize size = smart_resize(config, {r[1], r[2]});
    EXPECT_EQ(size.height, r[5]) << "variant " << r[0] << ": " << r[1] << "x" << r[2];
    EXPECT_EQ(size.width, r[6]) << "variant " << r[0] << ": " << r[1] << "x" << r[2];
  }
}

}  // namespace
}  // namespace onnuri
