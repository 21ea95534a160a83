#include <gtest/gtest.h>

#include <vector>

#include "core/content_hash.h"

namespace onnuri {
namespace {

TEST(ContentHash, SameContentSameKey) {
  const std::vector<float> values = {1.5F, -2.0F};
  const auto key = [&](int64_t width) { return ContentHash().add(values).add(width).finish(); };
  EXPECT_EQ(key(7), key(7));
  EXPECT_NE(key(7), key(8));
}

TEST(ContentHash, BordersCount) {
  using namespace std::string_view_literals;
  EXPECT_NE(ContentHash().add("ab"sv).add("c"sv).finish(),
            ContentHash().add("a"sv).add("bc"sv).finish());
  EXPECT_NE(ContentHash().add(""sv).finish(), ContentHash().finish());
}

// SHA-256 of eight zero bytes, the length of the empty text.
TEST(ContentHash, IsSha256) {
  const ContentKey key = ContentHash().add(std::string_view()).finish();
  EXPECT_EQ(key[0], 0xaf);
  EXPECT_EQ(key[1], 0x55);
  EXPECT_EQ(key[31], 0xfc);
}

}  // namespace
}  // namespace onnuri
