// Videos with their sound on tiny checkpoints, against the reference. Data and recipe:
// tests/golden/make_heard_video_goldens.py.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "core/checkpoint.h"
#include "fusion/sound_in_video.h"
#include "onnuri/engine.h"
#include "onnuri/error.h"
#include "tests/encoders/signal.h"
#include "tests/support/golden_error.h"
#include "tests/support/noise_image.h"

namespace onnuri {
namespace {

constexpr size_t kCases = 6;
constexpr int32_t kPicture = 150, kVideo = 151, kSound = 154;

Video noise_video(int64_t frames, double fps) {
  Video out{frames, 61, 100, {}, fps, {}};
  for (uint32_t k = 0; k < static_cast<uint32_t>(frames); ++k) {
    const Image frame = noise_image(61, 100, 2000 + k);
    out.rgb.insert(out.rgb.end(), frame.rgb.begin(), frame.rgb.end());
  }
  return out;
}

struct Case {
  std::vector<int32_t> ids;
  std::vector<Image> images;
  std::vector<Waveform> sounds;
  std::vector<Video> videos;
};

class HeardVideo : public ::testing::TestWithParam<const char*> {
 protected:
  HeardVideo()
      : folder_(std::string(ONNURI_TEST_DATA) + "/golden/grid/" + GetParam()),
        golden_(Checkpoint::open(folder_ + "/heard.safetensors")) {}

  std::unique_ptr<Engine> load(const std::string& isa = "", int64_t prefill_chunk = 512) const {
    EngineOptions options;
    options.compute_dtype = "float32";
    options.num_threads = 2;
    options.context_size = 512;
    options.isa = isa;
    options.prefill_chunk = prefill_chunk;
    return Engine::load(folder_, options);
  }

  TensorView find(const std::string& name, size_t k) const {
    return golden_->find(name + "_" + std::to_string(k));
  }

  Case make(size_t k) const {
    const int32_t* facts = find("case", k).as<int32_t>();
    const TensorView ids = find("ids", k);
    Case out;
    out.ids.assign(ids.as<int32_t>(), ids.as<int32_t>() + ids.num_elements());
    out.videos.push_back(noise_video(facts[0], facts[1] / 100.0));
    out.videos[0].sound.samples = golden_signal(facts[2]);
    if (facts[3] > 0) out.sounds.push_back({16000, golden_signal(facts[3])});
    if (facts[4] > 0) out.images.push_back(noise_image(61, 100, 1001));
    return out;
  }

  std::string folder_;
  std::shared_ptr<const Checkpoint> golden_;
};

TEST_P(HeardVideo, LogitsAgree) {
  for (const auto& [isa, chunk] : {std::pair("ref", 512), std::pair("", 512), std::pair("", 11)}) {
    const auto engine = load(isa, chunk);
    for (size_t k = 0; k < kCases; ++k) {
      SCOPED_TRACE("case " + std::to_string(k));
      const Case c = make(k);
      FloatMatrix found = engine->logits(c.ids, c.images, c.sounds, c.videos);
      const TensorView expected = find("logits", k);
      const auto kept = static_cast<size_t>(expected.num_elements());
      ASSERT_GE(found.values.size(), kept);
      found.values.erase(found.values.begin(),
                         found.values.end() - static_cast<std::ptrdiff_t>(kept));
      EXPECT_LE(largest_error(found, expected), 2e-3 * deviation(expected));
    }
  }
}

// Grids in units of 2 x 2 patches: the family's own processor, of 61 x 100 pixels.
TEST_P(HeardVideo, PositionsAgree) {
  const bool by_time = std::string(GetParam()) == "qwen3_omni";
  const int64_t h = by_time ? 4 : 3, w = by_time ? 6 : 5;
  for (size_t k = 0; k < kCases; ++k) {
    SCOPED_TRACE("case " + std::to_string(k));
    const Case c = make(k);
    const MediaGrid grid{(c.videos[0].num_frames + 1) / 2, h, w};
    const TimeScale time{2.0 / c.videos[0].frames_per_second, by_time ? 13.0 : 25.0, !by_time};
    std::vector<MediaSpan> spans;
    if (!c.images.empty())
      spans = find_media_spans(c.ids, kPicture, std::vector<MediaGrid>{{1, h, w}});
    auto token = std::find(c.ids.begin(), c.ids.end(), kVideo) - c.ids.begin();
    const int64_t heard = std::count(c.ids.begin() + token, c.ids.end(), kSound);
    for (const MergedRun& run :
         merge_sound(by_time ? SoundInVideo::kByTime : SoundInVideo::kByChunks, grid, time, heard,
                     by_time ? 0 : 50)) {
      for (int64_t i = 0; i < run.num_tokens; ++i)
        ASSERT_EQ(c.ids[static_cast<size_t>(token + i)], run.is_sound ? kSound : kVideo);
      MediaSpan span{token, run.num_tokens, grid.t, h, w, SpanKind::kVideo};
      if (run.is_sound) span = {token, run.num_tokens, 1, 1, heard, SpanKind::kSound};
      span.first_cell = run.first_cell;
      span.group = 0;
      span.time = time;
      spans.push_back(span);
      token += run.num_tokens;
    }
    const PromptPositions found = mrope_positions(static_cast<int64_t>(c.ids.size()), spans,
                                                  {AfterVideo::kMaximum, !by_time});
    const TensorView expected = find("positions", k);
    EXPECT_EQ(found.positions, std::vector<float>(expected.as<float>(),
                                                  expected.as<float>() + expected.num_elements()));
    EXPECT_EQ(found.next_position, find("next", k).as<float>()[0]);
  }
}

// One video is heard, the other is not: in either order, as each alone between the same texts.
TEST_P(HeardVideo, SilentVideosStandBesideIt) {
  const auto engine = load();
  Case c = make(0);
  Video silent = noise_video(3, 2.0);
  const int64_t h = std::string(GetParam()) == "qwen3_omni" ? 4 : 3;
  const int64_t w = std::string(GetParam()) == "qwen3_omni" ? 6 : 5;
  std::vector<int32_t> run = {152};
  run.insert(run.end(), static_cast<size_t>(2 * h * w), kVideo);
  run.push_back(153);
  std::vector<int32_t> first = c.ids, last = c.ids;
  first.insert(first.begin() + 2, run.begin(), run.end());
  last.insert(last.end() - 3, run.begin(), run.end());
  std::vector<Video> before = {silent, c.videos[0]}, after = {c.videos[0], silent};
  EXPECT_EQ(engine->logits(first, {}, {}, before).rows, static_cast<int64_t>(first.size()));
  EXPECT_EQ(engine->logits(last, {}, {}, after).rows, static_cast<int64_t>(last.size()));
  EXPECT_THROW(engine->logits(first, {}, {}, after), Error);
  EXPECT_THROW(engine->logits(last, {}, {}, before), Error);
  // What comes before the second video does not see it.
  const FloatMatrix alone = engine->logits(c.ids, {}, {}, c.videos);
  const FloatMatrix both = engine->logits(last, {}, {}, after);
  const auto same =
      static_cast<std::ptrdiff_t>((c.ids.size() - 3) * static_cast<size_t>(alone.cols));
  EXPECT_TRUE(std::equal(alone.values.begin(), alone.values.begin() + same, both.values.begin()));
}

TEST_P(HeardVideo, RefusesTornRows) {
  const auto engine = load();
  const Case good = make(0);
  const auto refused = [&](std::vector<int32_t> ids, const std::vector<Video>& videos,
                           const std::string& part) {
    try {
      engine->logits(ids, good.images, good.sounds, videos);
      ADD_FAILURE() << "expected an error with " << part;
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find(part), std::string::npos) << error.what();
    }
  };
  const auto changed = [&](int32_t from, int32_t to) {
    std::vector<int32_t> ids = good.ids;
    *std::find(ids.begin(), ids.end(), from) = to;
    return ids;
  };
  refused(changed(kSound, kVideo), good.videos, "order of time");
  refused(changed(kVideo, 9), good.videos, "order of time");
  refused(changed(155, 9), good.videos, "between ids");
  refused(changed(156, 9), good.videos, "between ids");
  refused({good.ids.begin(), good.ids.begin() + 60}, good.videos, "found the end");
  std::vector<Video> silent = good.videos;
  silent[0].sound.samples.clear();
  refused(good.ids, silent, "placeholder tokens");
  std::vector<Video> slow = good.videos;
  slow[0].sound.sample_rate_hz = 8000;
  refused(good.ids, slow, "16000 Hz");
  slow = good.videos;
  slow[0].sound.samples[7] = std::nanf("");
  refused(good.ids, slow, "finite");
  // And the engine goes on.
  EXPECT_NO_THROW(engine->logits(good.ids, good.images, good.sounds, good.videos));
}

INSTANTIATE_TEST_SUITE_P(Families, HeardVideo, ::testing::Values("qwen2_5_omni", "qwen3_omni"));

TEST(HeardVideoOfOthers, IsRefused) {
  EngineOptions options;
  options.context_size = 256;
  const auto engine =
      Engine::load(std::string(ONNURI_TEST_DATA) + "/golden/grid/qwen2_vl", options);
  Video video = noise_video(2, 2.0);
  video.sound.samples = golden_signal(16000);
  try {
    engine->logits(std::vector<int32_t>{1, 2, 3}, {}, {}, std::vector<Video>{video});
    ADD_FAILURE();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kUnsupported);
  }
}

}  // namespace
}  // namespace onnuri
