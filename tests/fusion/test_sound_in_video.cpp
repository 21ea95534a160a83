#include <gtest/gtest.h>

#include "fusion/sound_in_video.h"
#include "onnuri/error.h"

namespace onnuri {
namespace {

// "v3 s2": three tokens of the video, two of its sound.
std::string text(const std::vector<MergedRun>& runs) {
  std::string out;
  int64_t seen = 0, heard = 0;
  for (const MergedRun& run : runs) {
    int64_t& next = run.is_sound ? heard : seen;
    EXPECT_EQ(run.first_cell, next);
    next += run.num_tokens;
    out += (out.empty() ? "" : " ") + std::string(run.is_sound ? "s" : "v") +
           std::to_string(run.num_tokens);
  }
  return out;
}

std::string by_chunks(const MediaGrid& grid, double seconds, int64_t sound) {
  return text(merge_sound(SoundInVideo::kByChunks, grid, {seconds, 25.0}, sound,
                          positions_per_chunk(25, 2)));
}

std::string by_time(const MediaGrid& grid, double seconds, int64_t sound) {
  return text(merge_sound(SoundInVideo::kByTime, grid, {seconds, 13.0, false}, sound, 0));
}

// Expected rows: replace_video_with_audio_token of transformers 5.23.0.
TEST(SoundInVideo, StretchesTakeTurns) {
  EXPECT_EQ(by_chunks({3, 1, 4}, 1.0, 62), "v8 s50 v4 s12");
  EXPECT_EQ(by_chunks({2, 1, 4}, 1.0, 120), "v8 s50 s50 s20");
  EXPECT_EQ(by_chunks({6, 1, 2}, 1.0, 10), "v4 s10 v4 v4");
  EXPECT_EQ(by_chunks({2, 2, 2}, 1.0, 0), "v8");
}

// A grid every five seconds: one token ends one stretch at most.
TEST(SoundInVideo, SlowVideosComeTokenByToken) {
  EXPECT_EQ(by_chunks({2, 2, 2}, 5.0, 130), "v4 s50 v1 s50 v3 s30");
}

TEST(SoundInVideo, WhatComesFirstStandsFirst) {
  EXPECT_EQ(by_time({2, 1, 3}, 1.0, 20), "v3 s13 v3 s7");
  EXPECT_EQ(by_time({3, 1, 2}, 0.5, 9), "v2 s7 v2 s2 v2");  // at 0, 6.5 and 13
  EXPECT_EQ(by_time({2, 1, 3}, 1.0, 13), "v3 s13 v3");
  EXPECT_EQ(by_time({1, 1, 1}, 1.0, 0), "v1");
}

TEST(SoundInVideo, RefusesStretchesOfNothing) {
  EXPECT_EQ(positions_per_chunk(13, 2), 26);
  EXPECT_EQ(positions_per_chunk(12.5, 0.5), 6);
  EXPECT_THROW(positions_per_chunk(25, 0.03), Error);
  EXPECT_THROW(positions_per_chunk(25, -2), Error);
  EXPECT_THROW(positions_per_chunk(1e300, 1e300), Error);
}

MediaSpan run(int64_t token, int64_t count, int64_t first, SpanKind kind, TimeScale time) {
  MediaSpan out{token, count, 2, 1, 2, kind};
  if (kind == SpanKind::kSound) out = {token, count, 1, 1, 3, kind};
  out.first_cell = first;
  out.group = 7;
  out.time = time;
  return out;
}

// text, two brackets, v2 s2 v2 s1, two brackets, text
std::vector<MediaSpan> group(const TimeScale& time) {
  return {run(3, 2, 0, SpanKind::kVideo, time), run(5, 2, 0, SpanKind::kSound, time),
          run(7, 2, 2, SpanKind::kVideo, time), run(9, 1, 2, SpanKind::kSound, time)};
}

TEST(SoundInVideo, BothCountFromOnePlace) {
  const PromptPositions p = mrope_positions(14, group({1.0, 2.0}), {AfterVideo::kMaximum, true});
  EXPECT_EQ(p.positions, (std::vector<float>{0, 1, 1, 2, 2, 2, 3, 4, 4, 4, 5, 5, 6, 7,  //
                                             0, 1, 1, 2, 2, 2, 3, 2, 2, 4, 5, 5, 6, 7,  //
                                             0, 1, 1, 2, 3, 2, 3, 2, 3, 4, 5, 5, 6, 7}));
  EXPECT_EQ(p.next_position, 8);
}

// The text after it starts beyond the last run, though the pictures were farther in time.
TEST(SoundInVideo, FractionsAreKept) {
  const PromptPositions p = mrope_positions(14, group({0.75, 3.0, false}));
  EXPECT_EQ(p.positions, (std::vector<float>{0, 1, 2, 3, 3, 3, 4, 5.25, 5.25, 5, 6, 7, 8, 9,  //
                                             0, 1, 2, 3, 3, 3, 4, 3,    3,    5, 6, 7, 8, 9,  //
                                             0, 1, 2, 3, 4, 3, 4, 3,    4,    5, 6, 7, 8, 9}));
  EXPECT_EQ(p.next_position, 10);
  std::vector<MediaSpan> seen_last = group({0.75, 3.0, false});
  seen_last.pop_back();
  const PromptPositions q = mrope_positions(12, seen_last);
  EXPECT_EQ(q.positions[9], 6.25f);
  EXPECT_EQ(q.next_position, 9.25f);
}

TEST(SoundInVideo, RefusesGroupsThatDoNotFit) {
  const TimeScale time{1.0, 2.0};
  EXPECT_THROW(mrope_positions(11, group(time)), Error);  // one bracket after it
  std::vector<MediaSpan> runs = group(time);
  runs[1].first_cell = 2;  // beyond the sound
  EXPECT_THROW(mrope_positions(14, runs), Error);
  runs = group(time);
  runs.erase(runs.begin() + 1);  // a hole
  EXPECT_THROW(mrope_positions(14, runs), Error);
  runs = group(time);
  for (MediaSpan& span : runs) --span.first_token, --span.first_token;
  EXPECT_THROW(mrope_positions(14, runs), Error);  // one bracket before it
  runs = {run(2, 0, 0, SpanKind::kVideo, time)};
  EXPECT_THROW(mrope_positions(14, runs), Error);
}

}  // namespace
}  // namespace onnuri
