// Placeholders, spans and positions of media inside a prompt.
#include <gtest/gtest.h>

#include "fusion/prompt.h"
#include "onnuri/error.h"

namespace onnuri {
namespace {

constexpr int32_t kPad = 9;
using Ids = std::vector<int32_t>;
using Positions = std::vector<float>;

TEST(Prompt, ExpandsEachPlaceholder) {
  const Ids ids = {1, kPad, 2, kPad};
  const std::vector<MediaGrid> media = {{1, 1, 2}, {1, 2, 2}};
  EXPECT_EQ(expand_placeholders(ids, kPad, media), (Ids{1, 9, 9, 2, 9, 9, 9, 9}));
}

TEST(Prompt, RefusesAnotherNumberOfPlaceholders) {
  const std::vector<MediaGrid> media = {{1, 1, 2}};
  EXPECT_THROW(expand_placeholders(Ids{1, 2}, kPad, media), Error);
  EXPECT_THROW(expand_placeholders(Ids{kPad, kPad}, kPad, media), Error);
}

TEST(Prompt, FindsSpansEvenWhenTheyTouch) {
  const Ids ids = {1, 9, 9, 9, 9, 9, 9, 2};
  const std::vector<MediaGrid> media = {{1, 1, 2}, {1, 2, 2}};
  const auto spans = find_media_spans(ids, kPad, media);
  ASSERT_EQ(spans.size(), 2u);
  EXPECT_EQ(spans[0].first_token, 1);
  EXPECT_EQ(spans[1].first_token, 3);
  EXPECT_EQ(spans[1].num_tokens, 4);
}

TEST(Prompt, RefusesTornOrMissingRuns) {
  const std::vector<MediaGrid> media = {{1, 2, 2}};
  EXPECT_THROW(find_media_spans(Ids{9, 9, 1, 9, 9}, kPad, media), Error);
  EXPECT_THROW(find_media_spans(Ids{9, 9, 9}, kPad, media), Error);
  EXPECT_THROW(find_media_spans(Ids{1}, kPad, media), Error);
}

TEST(Positions, TextCountsUp) {
  const PromptPositions p = text_positions(3);
  EXPECT_EQ(p.positions, (Positions{0, 1, 2}));
  EXPECT_EQ(p.next_position, 3);
}

TEST(Positions, PictureTakesRowsAndColumns) {
  // text, 2 x 3 picture, text: the figure of Qwen2-VL, section 2.1
  const std::vector<MediaSpan> spans = {{2, 6, 1, 2, 3}};
  const PromptPositions p = mrope_positions(10, spans);
  EXPECT_EQ(p.num_axes, 3);
  EXPECT_EQ(p.positions, (Positions{0, 1, 2, 2, 2, 2, 2, 2, 5, 6,  //
                                    0, 1, 2, 2, 2, 3, 3, 3, 5, 6,  //
                                    0, 1, 2, 3, 4, 2, 3, 4, 5, 6}));
  EXPECT_EQ(p.next_position, 7);
}

TEST(Positions, NextTextFollowsTheLongestAxis) {
  const std::vector<MediaSpan> spans = {{0, 4, 1, 4, 1}, {4, 5, 5, 1, 1}};
  const PromptPositions p = mrope_positions(9, spans);
  EXPECT_EQ(p.positions[4], 4);
  EXPECT_EQ(p.positions[8], 8);
  EXPECT_EQ(p.next_position, 9);
}

TEST(Positions, RulesDifferInWhatFollowsAVideo) {
  // 8 grids of 2 x 2 tokens, two positions apart, after three tokens of text. Next text: 18 in
  // transformers 4.57.3, 5 in 5.23; there the first generated token comes after position 17 too.
  MediaSpan video{3, 32, 8, 2, 2};
  video.time.step = 2.0;
  const std::vector<MediaSpan> spans = {video};
  const PromptPositions most = mrope_positions(38, spans, {AfterVideo::kMaximum});
  const PromptPositions side = mrope_positions(38, spans, {AfterVideo::kLongestSide});
  for (size_t t = 0; t < 8; ++t) {
    EXPECT_EQ(most.positions[3 + 4 * t], static_cast<float>(3 + 2 * t));
    EXPECT_EQ(side.positions[3 + 4 * t], most.positions[3 + 4 * t]);
  }
  EXPECT_EQ(most.positions[35], 18);
  EXPECT_EQ(most.next_position, 21);
  EXPECT_EQ(side.positions[35], 5);
  EXPECT_EQ(side.next_position, 18);
}

TEST(Positions, TimesAreCutDown) {
  MediaSpan video{0, 4, 4, 1, 1};
  video.time.step = 0.7;
  const PromptPositions p = mrope_positions(4, std::vector<MediaSpan>{video});
  EXPECT_EQ(Positions(p.positions.begin(), p.positions.begin() + 4), (Positions{0, 0, 1, 2}));
  video.time.whole = false;
  const PromptPositions kept = mrope_positions(4, std::vector<MediaSpan>{video});
  EXPECT_EQ(kept.positions[1], 0.7f);
  EXPECT_EQ(kept.next_position, 3 * 0.7f + 1);
  video.time.step = 1e30;
  EXPECT_THROW(mrope_positions(4, std::vector<MediaSpan>{video}), Error);
}

TEST(Positions, RefusesSpansThatDoNotFit) {
  const auto positions = [](int64_t n, MediaSpan span) {
    return mrope_positions(n, std::vector<MediaSpan>{span});
  };
  EXPECT_THROW(positions(5, {0, 4, 1, 2, 3}), Error);
  EXPECT_THROW(positions(5, {2, 4, 1, 2, 2}), Error);
  EXPECT_THROW(positions(5, {-1, 4, 1, 2, 2}), Error);
  EXPECT_THROW(positions(5, {0, 4, 1, int64_t{1} << 40, int64_t{1} << 40}), Error);
  EXPECT_THROW(text_positions(-1), Error);
}

}  // namespace
}  // namespace onnuri
