// Frames of videos and the sizes of pictures at the edges of their rules. Expected values: the
// reference functions of transformers 5.23 (models/qwen2_vl and models/qwen3_vl, smart_resize and
// sample_frames).
#include <gtest/gtest.h>

#include "encoders/vision/frame_sampling.h"
#include "encoders/vision/image_processor.h"
#include "onnuri/error.h"

namespace onnuri {
namespace {

using Frames = std::vector<int64_t>;

Frames chosen(FrameRule rule, int64_t total, double fps) {
  VideoConfig config;
  config.frames = rule;
  return choose_frames(config, 2, total, fps);
}

TEST(FrameSampling, EvenShares) {
  const FrameRule rule = FrameRule::kEvenFloor;
  EXPECT_EQ(chosen(rule, 30, 30), (Frames{0, 7, 15, 22}));
  EXPECT_EQ(chosen(rule, 100, 25), (Frames{0, 12, 25, 37, 50, 62, 75, 87}));
  EXPECT_EQ(chosen(rule, 7, 30), (Frames{0, 1, 3, 5}));
  EXPECT_EQ(chosen(rule, 250, 29.97),
            (Frames{0, 15, 31, 46, 62, 78, 93, 109, 125, 140, 156, 171, 187, 203, 218, 234}));
  EXPECT_EQ(chosen(rule, 9, 3), (Frames{0, 1, 3, 4, 6, 7}));
  EXPECT_EQ(chosen(rule, 1, 30), (Frames{0}));
}

TEST(FrameSampling, FirstToLast) {
  const FrameRule rule = FrameRule::kLinspace;
  EXPECT_EQ(chosen(rule, 30, 30), (Frames{0, 10, 19, 29}));
  EXPECT_EQ(chosen(rule, 100, 25), (Frames{0, 14, 28, 42, 57, 71, 85, 99}));
  EXPECT_EQ(chosen(rule, 7, 30), (Frames{0, 2, 4, 6}));
  EXPECT_EQ(chosen(rule, 3, 30), (Frames{0, 1, 2}));
  EXPECT_EQ(chosen(rule, 1, 1), (Frames{0}));
  EXPECT_EQ(chosen(rule, 250, 29.97),
            (Frames{0, 17, 33, 50, 66, 83, 100, 116, 133, 149, 166, 183, 199, 216, 232, 249}));
}

TEST(FrameSampling, FirstToLastInPairs) {
  const FrameRule rule = FrameRule::kLinspaceEven;
  EXPECT_EQ(chosen(rule, 30, 30), (Frames{0, 10, 19, 29}));
  EXPECT_EQ(chosen(rule, 100, 25), (Frames{0, 14, 28, 42, 57, 71, 85, 99}));
  EXPECT_EQ(chosen(rule, 7, 30), (Frames{0, 2, 4, 6}));
  EXPECT_EQ(chosen(rule, 7, 2), (Frames{0, 1, 2, 4, 5, 6}));
  EXPECT_EQ(chosen(rule, 3, 30), (Frames{0, 2}));
  EXPECT_EQ(chosen(rule, 1, 1), (Frames{0}));
  EXPECT_EQ(chosen(rule, 10'000'000, 1e-6).size(), 768u);
}

TEST(FrameSampling, NeverMoreThanAsked) {
  EXPECT_EQ(chosen(FrameRule::kEvenFloor, 10'000'000, 1e-6).size(), 768u);
  EXPECT_EQ(chosen(FrameRule::kLinspace, 10'000'000, 1e-6).size(), 768u);
  EXPECT_THROW(chosen(FrameRule::kLinspace, 0, 30), Error);
  EXPECT_THROW(chosen(FrameRule::kLinspace, 5, 0), Error);
}

TEST(SmartResize, TiesAndThinPictures) {
  ImageProcessorConfig config;
  config.min_pixels = 3136;
  config.max_pixels = 1003520;
  const auto expect = [&](ImageSize from, int64_t height, int64_t width) {
    const ImageSize size = smart_resize(config, from);
    EXPECT_EQ(size.height, height) << from.height << "x" << from.width;
    EXPECT_EQ(size.width, width) << from.height << "x" << from.width;
  };
  expect({70, 70}, 56, 56);  // 2.5 units: to the even side
  expect({98, 70}, 112, 56);
  expect({42, 126}, 56, 112);
  expect({1, 1}, 56, 56);
  expect({1, 200}, 28, 812);  // 200 : 1 is the last that is taken
  expect({200, 1}, 812, 28);
  expect({14, 2800}, 28, 812);
  EXPECT_THROW(smart_resize(config, {1, 201}), Error);
  EXPECT_THROW(smart_resize(config, {14, 2801}), Error);
  EXPECT_THROW(smart_resize(config, {0, 5}), Error);
}

TEST(ResizeVideo, AreaOfTheWholeClip) {
  ImageProcessorConfig config;
  config.patch_size = 16;
  config.temporal_patch_size = 2;
  VideoConfig video;
  video.min_pixels = 131072;
  video.max_pixels = 2 * 786432;
  video.area_of_clip = true;
  const auto expect = [&](int64_t frames, ImageSize from, int64_t height, int64_t width) {
    const ImageSize size =
        resize_video(config, video, Video{frames, from.height, from.width, {}, 0, {}});
    EXPECT_EQ(size.height, height) << from.height << "x" << from.width;
    EXPECT_EQ(size.width, width) << from.height << "x" << from.width;
  };
  expect(5, {61, 100}, 128, 224);
  expect(5, {720, 1280}, 416, 736);
  expect(8, {20, 300}, 64, 512);
  expect(3, {480, 640}, 480, 640);
  expect(2, {10, 10}, 256, 256);
  EXPECT_THROW(resize_video(config, video, Video{0, 10, 10, {}, 0, {}}), Error);
  EXPECT_THROW(resize_video(config, video, Video{2, 1, 201, {}, 0, {}}), Error);
}

}  // namespace
}  // namespace onnuri
