// Chosen frames of the files of tests/golden/make_video_files.py: frame k is grey 20 + 5 k with a
// red quarter at the top left.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <random>

#include "encoders/media/media_decode.h"
#include "onnuri/error.h"

namespace onnuri {
namespace {

MediaInput video_file(const std::string& name) {
  std::ifstream file(std::string(ONNURI_TEST_DATA) + "/golden/videos/" + name, std::ios::binary);
  MediaInput input{MediaKind::kVideo, {}, {}};
  input.bytes.assign(std::istreambuf_iterator<char>(file), {});
  EXPECT_FALSE(input.bytes.empty()) << name;
  return input;
}

FrameChooser always(std::vector<int64_t> frames) {
  return [frames = std::move(frames)](int64_t, double) { return frames; };
}

const uint8_t* pixel(const Video& video, int64_t frame, int64_t y, int64_t x) {
  return video.rgb.data() + ((frame * video.height + y) * video.width + x) * 3;
}

double level(int64_t k) { return static_cast<double>(20 + 5 * k); }

class VideoFiles : public ::testing::TestWithParam<const char*> {};

TEST_P(VideoFiles, GivesTheChosenFrames) {
  constexpr int kTolerance = 4;
  const std::vector<std::vector<int64_t>> choices = {{0},         {39},          {0, 1, 2, 3},
                                                     {5, 19, 33}, {7, 7, 8, 39}, {11, 12, 31, 32}};
  for (const auto& frames : choices) {
    int64_t total = 0;
    double fps = 0;
    const Video video = decode_video(video_file(GetParam()), [&](int64_t n, double rate) {
      total = n;
      fps = rate;
      return frames;
    });
    EXPECT_EQ(total, 40);
    EXPECT_EQ(fps, 10.0);
    ASSERT_EQ(video.num_frames, static_cast<int64_t>(frames.size()));
    ASSERT_EQ(video.height, 48);
    ASSERT_EQ(video.width, 64);
    for (size_t i = 0; i < frames.size(); ++i) {
      EXPECT_EQ(video.timestamps_s[i], static_cast<double>(frames[i]) / 10.0);
      for (int c = 0; c < 3; ++c)
        EXPECT_NEAR(pixel(video, static_cast<int64_t>(i), 40, 50)[c], level(frames[i]), kTolerance)
            << "frame " << frames[i];
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Containers, VideoFiles,
                         ::testing::Values("steady.mp4", "steady.mov", "steady.webm", "steady.mkv",
                                           "steady.avi", "steady.gif"));

TEST(VideoDecode, CountsFramesByTheirTimes) {
  const Video video = decode_video(video_file("uneven.mp4"), always({0, 1, 20, 39}));
  const std::array<double, 4> times = {0, 0.01, 4.0, 15.21};
  for (size_t i = 0; i < times.size(); ++i) EXPECT_NEAR(video.timestamps_s[i], times[i], 1e-3);
  EXPECT_NEAR(pixel(video, 2, 40, 50)[1], level(20), 4);
  EXPECT_NEAR(video.frames_per_second, 4.0 / 40 * 39 / 15.21, 0.01);
}

TEST(VideoDecode, TurnsAsTheFileSays) {
  MediaInput input = video_file("steady.mp4");
  const std::string name = "tkhd";
  const auto at = std::search(input.bytes.begin(), input.bytes.end(), name.begin(), name.end());
  ASSERT_NE(at, input.bytes.end());
  const std::array<int32_t, 9> right = {0, 0x10000, 0, -0x10000, 0, 0, 48 << 16, 0, 0x40000000};
  auto to = at + 44;
  for (const int32_t value : right)
    for (int shift = 24; shift >= 0; shift -= 8)
      *to++ = static_cast<uint8_t>(static_cast<uint32_t>(value) >> shift);
  const Video video = decode_video(input, always({3}));
  ASSERT_EQ(video.height, 64);
  ASSERT_EQ(video.width, 48);
  EXPECT_GT(pixel(video, 0, 10, 40)[0], 180);  // red went from the left to the right
  EXPECT_LT(pixel(video, 0, 10, 10)[0], 60);
}

TEST(VideoDecode, KeepsToItsLimits) {
  MediaLimits limits;
  limits.max_decoded_bytes = 3 * 64 * 48 * 3;
  EXPECT_EQ(decode_video(video_file("steady.mp4"), always({0, 5, 9}), limits).num_frames, 3);
  EXPECT_THROW(decode_video(video_file("steady.mp4"), always({0, 5, 9, 12}), limits), Error);
  limits = {};
  limits.max_pixels = 64 * 48 - 1;
  EXPECT_THROW(decode_video(video_file("steady.mp4"), always({0}), limits), Error);
}

TEST(VideoDecode, SurvivesDamage) {
  std::mt19937 random(5);
  for (const char* name : {"steady.mp4", "steady.webm", "steady.avi", "steady.gif"}) {
    const MediaInput whole = video_file(name);
    for (int round = 0; round < 30; ++round) {
      MediaInput input = whole;
      if (round % 2 == 0)
        input.bytes.resize(1 + random() % input.bytes.size());
      else
        for (int i = 0; i < 6; ++i)
          input.bytes[random() % input.bytes.size()] = static_cast<uint8_t>(random());
      try {
        const Video video = decode_video(input, [](int64_t total, double) {
          return std::vector<int64_t>{0, total / 2, total - 1};
        });
        EXPECT_EQ(static_cast<int64_t>(video.rgb.size()),
                  video.num_frames * video.height * video.width * 3);
      } catch (const Error& e) {
        EXPECT_NE(e.code(), ErrorCode::kInternal) << name << ": " << e.what();
      }
    }
  }
}

TEST(VideoDecode, RefusesWhatIsNoVideo) {
  MediaInput noise{MediaKind::kVideo, {}, std::vector<uint8_t>(500, 7)};
  EXPECT_THROW(decode_video(noise, always({0})), Error);
  EXPECT_THROW(decode_video(MediaInput{MediaKind::kVideo, "/no/such/file.mp4", {}}, always({0})),
               Error);
  MediaInput torn{MediaKind::kVideo, {}, {}};
  torn.video = Video{2, 4, 4, std::vector<uint8_t>(7), 0, {}};
  EXPECT_THROW(decode_video(torn, always({0})), Error);
}

}  // namespace
}  // namespace onnuri
