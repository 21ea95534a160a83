// The best of a list, with numbers that are none and equal scores among them.
#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <random>
#include <vector>

#include "kernels/top_k.h"

namespace onnuri {
namespace {

std::vector<int32_t> best(const std::vector<float>& scores, int64_t count) {
  std::vector<ScoredIndex> queue;
  for (size_t i = 0; i < scores.size(); ++i) queue.push_back({scores[i], static_cast<int32_t>(i)});
  move_best_to_front(queue, count);
  std::vector<int32_t> out;
  for (int64_t i = 0; i < count; ++i) out.push_back(queue[static_cast<size_t>(i)].index);
  std::sort(out.begin(), out.end());
  return out;
}

TEST(TopK, TakesTheLargest) {
  EXPECT_EQ(best({1, 5, -2, 4, 3}, 2), (std::vector<int32_t>{1, 3}));
  EXPECT_EQ(best({1, 5}, 2), (std::vector<int32_t>{0, 1}));
  std::vector<float> many(200);
  for (size_t i = 0; i < many.size(); ++i) many[i] = static_cast<float>((i * 37) % 200);
  EXPECT_EQ(best(many, 1), (std::vector<int32_t>{27}));  // 27 * 37 = 999
}

// Sorting with a comparison that NaN breaks is undefined: these lists have walked off the end.
TEST(TopK, NanComesLast) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  EXPECT_EQ(best({nan, -1, nan, 2, nan}, 2), (std::vector<int32_t>{1, 3}));
  std::mt19937 rng(7);
  for (const int64_t count : {1, 9, 60}) {
    for (int round = 0; round < 50; ++round) {
      std::vector<float> scores(100);
      std::vector<int32_t> numbers;
      for (size_t i = 0; i < scores.size(); ++i) {
        const bool is_number = rng() % 3 == 0;
        scores[i] = is_number ? static_cast<float>(rng() % 1000) : nan;
        if (is_number) numbers.push_back(static_cast<int32_t>(i));
      }
      const std::vector<int32_t> found = best(scores, count);
      const auto chosen_numbers = std::count_if(found.begin(), found.end(), [&](int32_t i) {
        return std::binary_search(numbers.begin(), numbers.end(), i);
      });
      EXPECT_EQ(chosen_numbers, std::min<int64_t>(count, static_cast<int64_t>(numbers.size())));
    }
  }
}

}  // namespace
}  // namespace onnuri
