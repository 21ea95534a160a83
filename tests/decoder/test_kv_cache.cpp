// The books of the cache: who owns which page, and what a full pool refuses.
#include <gtest/gtest.h>

#include <random>
#include <set>

#include "decoder/kv_cache.h"
#include "decoder/page_pool.h"
#include "onnuri/error.h"
#include "tests/support/random_decoder.h"

namespace onnuri {
namespace {

TEST(PagePool, GivesEveryPageOnce) {
  PagePool pool(5);
  std::vector<int32_t> pages;
  EXPECT_TRUE(pool.allocate(3, pages));
  EXPECT_FALSE(pool.allocate(3, pages));
  EXPECT_EQ(pages.size(), 3u);
  EXPECT_TRUE(pool.allocate(2, pages));
  EXPECT_EQ(std::set<int32_t>(pages.begin(), pages.end()).size(), 5u);
  pool.check_integrity();
  pool.release(std::span(pages).first(4));
  EXPECT_EQ(pool.num_free(), 4);
  pool.check_integrity();
}

TEST(PagePool, ASecondReleaseIsABug) {
  PagePool pool(2);
  std::vector<int32_t> pages;
  ASSERT_TRUE(pool.allocate(1, pages));
  pool.release(pages);
  EXPECT_THROW(pool.release(pages), Error);
}

DecoderConfig hybrid() {
  DecoderConfig c = tiny_decoder_config();
  c.layers[0].window = 8;
  c.layers[1].window = 20;
  return c;
}

KvCacheOptions small_options() {
  KvCacheOptions o;
  o.dtype = DType::kF32;
  o.page_rows = 4;
  o.max_tokens = 100;
  o.max_sequences = 3;
  o.max_chunk = 8;
  return o;
}

TEST(KvCache, ExhaustionChangesNothing) {
  KvCache cache(hybrid(), small_options());
  const auto a = cache.new_sequence();
  const auto b = cache.new_sequence();
  ASSERT_TRUE(a->reserve(90));
  EXPECT_EQ(cache.num_free_pages(), 2);
  EXPECT_FALSE(b->reserve(9));
  EXPECT_EQ(b->capacity(), 0);
  EXPECT_EQ(cache.num_free_pages(), 2);
  ASSERT_TRUE(b->reserve(8));
  b->advance(8);
  EXPECT_FALSE(b->reserve(1));
  EXPECT_EQ(b->num_tokens(), 8);
  cache.check_integrity();
}

TEST(KvCache, LimitsSequences) {
  KvCache cache(hybrid(), small_options());
  auto a = cache.new_sequence();
  auto b = cache.new_sequence();
  auto c = cache.new_sequence();
  EXPECT_EQ(cache.new_sequence(), nullptr);
  b.reset();
  EXPECT_NE(cache.new_sequence(), nullptr);
  cache.check_integrity();
}

TEST(KvCache, RingsHoldWindowAndChunk) {
  KvCache cache(hybrid(), small_options());
  const auto a = cache.new_sequence();
  const auto b = cache.new_sequence();
  ASSERT_TRUE(a->reserve(5));
  for (int64_t layer = 0; layer < 2; ++layer) {
    const KvView view_a = a->layer(layer);
    const KvView view_b = b->layer(layer);
    EXPECT_TRUE(view_a.ring);
    EXPECT_EQ(view_a.num_entries, layer == 0 ? 4 : 7);  // 8 + 8 and 20 + 8 rows, pages of 4
    std::set<int32_t> pages(view_a.page_table, view_a.page_table + view_a.num_entries);
    pages.insert(view_b.page_table, view_b.page_table + view_b.num_entries);
    EXPECT_EQ(static_cast<int64_t>(pages.size()), 2 * view_a.num_entries);
  }
  const KvView full = a->layer(2);
  EXPECT_FALSE(full.ring);
  EXPECT_EQ(full.num_entries, 2);
}

TEST(KvCache, CountsItsBytes) {
  const DecoderConfig c = hybrid();
  const KvCacheOptions o = small_options();
  KvCache cache(c, o);
  const int64_t row = 2 * (16 + 16) * 4;
  EXPECT_EQ(KvCache::bytes_per_token(c, DType::kF32), 2 * row);
  EXPECT_EQ(KvCache::bytes_per_token(c, DType::kF16), row);
  EXPECT_EQ(KvCache::window_bytes(c, o), 3 * (4 + 7) * 4 * row);
  EXPECT_EQ(cache.num_bytes(), 100 * 2 * row + KvCache::window_bytes(c, o));
}

TEST(KvCache, TruncatesOnlyWhatTheRingsStillHold) {
  DecoderConfig c = tiny_decoder_config();
  c.layers[0].window = 8;  // a ring of 16 rows
  KvCache cache(c, small_options());
  const auto s = cache.new_sequence();
  ASSERT_TRUE(s->reserve(40));
  s->advance(40);
  // Rows 24..39 are there. Token 31 sees 24..31, token 30 would need 23.
  EXPECT_FALSE(s->truncate(30));
  EXPECT_EQ(s->num_tokens(), 40);
  EXPECT_TRUE(s->truncate(31));
  EXPECT_EQ(s->capacity(), 32);
  // Going on from 31 does not bring older rows back.
  ASSERT_TRUE(s->reserve(2));
  s->advance(2);
  EXPECT_FALSE(s->truncate(30));
  EXPECT_TRUE(s->truncate(32));
  cache.check_integrity();
}

TEST(KvCache, RandomUseKeepsTheBooks) {
  KvCacheOptions o = small_options();
  o.max_tokens = 256;
  o.max_sequences = 6;
  KvCache cache(tiny_decoder_config(), o);
  std::mt19937 random(1);
  std::vector<std::unique_ptr<KvSequence>> sequences;
  std::vector<int64_t> tokens;  // the naive model
  const auto pages_of = [](int64_t n) { return (n + 3) / 4; };
  for (int step = 0; step < 5000; ++step) {
    int64_t used = 0;
    for (const auto& s : sequences) used += s->capacity() / 4;
    ASSERT_EQ(cache.num_free_pages(), 64 - used);
    const uint32_t action = random() % 8;
    if (action == 0) {
      auto s = cache.new_sequence();
      ASSERT_EQ(s == nullptr, sequences.size() == 6);
      if (s) {
        sequences.push_back(std::move(s));
        tokens.push_back(0);
      }
    } else if (!sequences.empty()) {
      const size_t i = random() % sequences.size();
      if (action == 1) {
        sequences.erase(sequences.begin() + static_cast<std::ptrdiff_t>(i));
        tokens.erase(tokens.begin() + static_cast<std::ptrdiff_t>(i));
      } else if (action == 2) {
        tokens[i] = static_cast<int64_t>(random()) % (tokens[i] + 1);
        ASSERT_TRUE(sequences[i]->truncate(tokens[i]));
        ASSERT_EQ(sequences[i]->capacity(), pages_of(tokens[i]) * 4);
      } else {
        const int64_t count = static_cast<int64_t>(random() % 20);
        const int64_t missing = pages_of(tokens[i] + count) - sequences[i]->capacity() / 4;
        const bool expected = missing <= cache.num_free_pages();
        ASSERT_EQ(sequences[i]->reserve(count), expected);
        if (expected) {
          sequences[i]->advance(count);
          tokens[i] += count;
        }
      }
    }
    for (size_t i = 0; i < sequences.size(); ++i) ASSERT_EQ(sequences[i]->num_tokens(), tokens[i]);
    cache.check_integrity();
  }
}

TEST(KvCache, RefusesImpossibleOptions) {
  const DecoderConfig c = tiny_decoder_config();
  for (const auto change :
       {+[](KvCacheOptions& o) { o.dtype = DType::kQ4_K; },
        +[](KvCacheOptions& o) { o.page_rows = 0; }, +[](KvCacheOptions& o) { o.max_tokens = -1; },
        +[](KvCacheOptions& o) { o.max_sequences = 0; },
        +[](KvCacheOptions& o) { o.max_chunk = 0; }}) {
    KvCacheOptions o = small_options();
    change(o);
    EXPECT_THROW(KvCache(c, o), Error);
  }
}

}  // namespace
}  // namespace onnuri
