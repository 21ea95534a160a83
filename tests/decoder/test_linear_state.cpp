// States of linear layers: guesses are taken back, snapshots go on elsewhere, failed passes leave
// nothing behind.
#include <gtest/gtest.h>

#include <algorithm>

#include "tests/decoder/decoder_fixture.h"
#include "tests/decoder/decoder_shapes.h"

namespace onnuri {
namespace {

class LinearState : public testing::TestWithParam<const char*> {
 protected:
  LinearState() : t_(config(), ComputeType::kFloat32), ids_(random_ids(90, 96, 5)) {
    expected_ = t_.run(ids_, std::vector<int64_t>{37, 1});
  }
  static DecoderConfig config() {
    const std::vector<NamedShape> shapes = decoder_shapes();
    return std::find_if(shapes.begin(), shapes.end(),
                        [](const NamedShape& s) { return s.name == GetParam(); })
        ->config;
  }
  std::vector<float> expected(int64_t begin, int64_t count) const {
    const auto from = expected_.begin() + begin * 96;
    return {from, from + count * 96};
  }
  std::span<const int32_t> ids(int64_t begin, int64_t count) const {
    return std::span(ids_).subspan(static_cast<size_t>(begin), static_cast<size_t>(count));
  }

  TestDecoder t_;
  std::vector<int32_t> ids_;
  std::vector<float> expected_;
};

TEST_P(LinearState, GuessesAreTakenBack) {
  const std::vector<int32_t> wrong = random_ids(KvSequence::kMaxGuesses, 96, 6);
  const auto kv = t_.cache->new_sequence();
  EXPECT_EQ(t_.append(*kv, ids(0, 40)), expected(0, 40));
  int64_t at = 40;
  for (const int64_t right : {0, 3, 15, 1, 0, 7}) {
    std::vector<int32_t> step(ids_.begin() + at, ids_.begin() + at + 1 + right);
    step.insert(step.end(), wrong.begin(), wrong.end() - right);
    ASSERT_EQ(step.size(), size_t{KvSequence::kMaxGuesses + 1});
    std::vector<float> found = t_.append(*kv, step);
    found.resize(static_cast<size_t>(1 + right) * 96);
    EXPECT_EQ(found, expected(at, 1 + right));
    at += 1 + right;
    ASSERT_TRUE(kv->truncate(at));
  }
  EXPECT_EQ(t_.append(*kv, ids(at, 10)), expected(at, 10));
  EXPECT_EQ(t_.append(*kv, ids(at + 10, 6)), expected(at + 10, 6));
}

TEST_P(LinearState, WhatHasMovedOnSaysSo) {
  const auto kv = t_.cache->new_sequence();
  t_.append(*kv, ids(0, 40));
  EXPECT_FALSE(kv->truncate(38));  // a long pass: all but its last row is in the state
  EXPECT_FALSE(kv->snapshot(38));
  EXPECT_TRUE(kv->truncate(39));
  EXPECT_EQ(t_.append(*kv, ids(39, 5)), expected(39, 5));
  t_.append(*kv, ids(44, 1));
  EXPECT_FALSE(kv->truncate(43));
  EXPECT_TRUE(kv->truncate(44));
  EXPECT_EQ(t_.append(*kv, ids(44, 20)), expected(44, 20));
}

TEST_P(LinearState, SnapshotsGoOnElsewhere) {
  const auto kv = t_.cache->new_sequence();
  t_.append(*kv, ids(0, 40));
  t_.append(*kv, ids(40, 9));
  const auto prefix = kv->share(49);
  for (const int64_t tokens : {40, 44, 49}) {
    const std::optional<WindowSnapshot> snapshot = kv->snapshot(tokens);
    ASSERT_TRUE(snapshot);
    EXPECT_TRUE(t_.cache->is_possible(*snapshot));
    EXPECT_EQ(static_cast<int64_t>(snapshot->rows.size()),
              t_.cache->snapshot_bytes(tokens, snapshot->folded));
    const auto other = t_.cache->new_sequence(*prefix, *snapshot);
    EXPECT_EQ(t_.append(*other, ids(tokens, 20)), expected(tokens, 20));
    const std::optional<WindowSnapshot> again = other->snapshot(tokens + 19);
    EXPECT_TRUE(again);
  }
}

// A pass that was computed and did not count is made again, with other neighbours or alone.
TEST_P(LinearState, APassThatDidNotCountChangesNothing) {
  const auto kv = t_.cache->new_sequence(), other = t_.cache->new_sequence();
  t_.append(*kv, ids(0, 40));
  for (const int64_t count : {1, 12, 30}) {
    const int64_t begin = kv->num_tokens();
    ASSERT_TRUE(kv->reserve(count));
    const StateView before = kv->state(1 + (GetParam() == std::string("linear_and_gated_experts")));
    std::vector<float> scratch(before.next, before.next + 16);
    std::fill_n(before.next, 16, 7.0f);  // what a failed pass may leave
    std::fill_n(before.next_log, 16, 7.0f);
    EXPECT_EQ(t_.append(*kv, ids(begin, count)), expected(begin, count));
  }
}

TEST_P(LinearState, SizesAreThoseThatThePlanKnows) {
  const KvCacheOptions& options = t_.cache->options();
  EXPECT_EQ(t_.cache->num_bytes(), KvCache::full_bytes(t_.config, options) +
                                       KvCache::window_bytes(t_.config, options) +
                                       KvCache::state_bytes(t_.config, options));
  EXPECT_GT(KvCache::state_bytes(t_.config, options), 0);
  EXPECT_TRUE(t_.cache->needs_snapshots());
  WindowSnapshot far;
  far.num_tokens = 100;
  far.folded = 3;
  EXPECT_FALSE(t_.cache->is_possible(far));
}

INSTANTIATE_TEST_SUITE_P(Shapes, LinearState,
                         testing::Values("linear_and_gated_experts", "linear_and_windows"),
                         [](const auto& test) { return std::string(test.param); });

}  // namespace
}  // namespace onnuri
