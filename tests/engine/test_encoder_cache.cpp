#include <gtest/gtest.h>

#include "engine/encoder_cache.h"

namespace onnuri {
namespace {

ContentKey key(int64_t number) { return ContentHash().add(number).finish(); }

std::shared_ptr<const EncodedMedia> media(int64_t rows) {
  auto out = std::make_shared<EncodedMedia>();
  out->rows = Tensor::zeros(DType::kF32, {rows, 4});
  return out;
}

constexpr int64_t kRow = 16;  // bytes

TEST(EncoderCache, FindsWhatWasInserted) {
  EncoderCache cache(10 * kRow);
  EXPECT_EQ(cache.find(key(1)), nullptr);
  const auto one = media(3);
  cache.insert(key(1), one);
  EXPECT_EQ(cache.find(key(1)), one);
  EXPECT_EQ(cache.find(key(2)), nullptr);
  EXPECT_EQ(cache.stats().hits, 1);
  EXPECT_EQ(cache.stats().misses, 2);
  EXPECT_EQ(cache.stats().bytes, 3 * kRow);
}

TEST(EncoderCache, DropsTheLeastRecentlyUsed) {
  EncoderCache cache(10 * kRow);
  for (int64_t i = 0; i < 3; ++i) cache.insert(key(i), media(3));
  EXPECT_NE(cache.find(key(0)), nullptr);
  cache.insert(key(3), media(4));  // 13 rows would be too many
  EXPECT_NE(cache.find(key(0)), nullptr);
  EXPECT_EQ(cache.find(key(1)), nullptr);
  EXPECT_NE(cache.find(key(2)), nullptr);
  EXPECT_EQ(cache.stats().bytes, 10 * kRow);
  EXPECT_EQ(cache.stats().entries, 3);
}

TEST(EncoderCache, NeverExceedsItsBudget) {
  EncoderCache cache(5 * kRow);
  cache.insert(key(1), media(6));
  EXPECT_EQ(cache.stats().entries, 0);
  cache.insert(key(2), media(5));
  cache.insert(key(2), media(5));
  EXPECT_EQ(cache.stats().bytes, 5 * kRow);
  EncoderCache none(0);
  none.insert(key(1), media(1));
  EXPECT_EQ(none.find(key(1)), nullptr);
}

TEST(EncoderCache, CountsDeepRows) {
  EncoderCache cache(5 * kRow);
  auto out = std::make_shared<EncodedMedia>();
  out->rows = Tensor::zeros(DType::kF32, {3, 4});
  out->deep_rows.push_back(Tensor::zeros(DType::kF32, {3, 4}));
  cache.insert(key(1), out);
  EXPECT_EQ(cache.stats().entries, 0);
}

TEST(EncoderCache, AHeldEntryOutlivesItsPlace) {
  EncoderCache cache(4 * kRow);
  cache.insert(key(1), media(4));
  const auto held = cache.find(key(1));
  cache.insert(key(2), media(4));
  EXPECT_EQ(cache.find(key(1)), nullptr);
  EXPECT_EQ(held->rows.shape()[0], 4);
}

}  // namespace
}  // namespace onnuri
