// The books of the cache: who owns which page, and what a full pool refuses.
#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <random>
#include <set>

#include "core/machine_memory.h"
#include "decoder/kv_cache.h"
#include "decoder/page_pool.h"
#include "onnuri/error.h"
#include "tests/support/random_decoder.h"
#include "tests/support/sanitized.h"

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

/// Fills rows [begin, end) of a sequence with a number of their own, layer by layer.
void write_rows(const DecoderConfig& config, KvSequence& kv, int64_t begin, int64_t end, int mark) {
  ASSERT_TRUE(kv.reserve(end - begin));
  for (int64_t layer = 0; layer < config.num_layers(); ++layer) {
    const KvView view = kv.layer(layer);
    for (int64_t i = begin; i < end; ++i) {
      const int64_t row = view.ring ? i % (view.num_entries * view.page_rows) : i;
      const int64_t page = view.page_table[row / view.page_rows];
      for (int64_t head = 0; head < view.num_kv_heads; ++head) {
        auto* at = reinterpret_cast<float*>(view.k_pages) +
                   ((page * view.num_kv_heads + head) * view.page_rows + row % view.page_rows) *
                       view.k_dim;
        for (int64_t k = 0; k < view.k_dim; ++k)
          at[k] = static_cast<float>(mark * 100000 + layer * 10000 + i * 10 + head);
      }
    }
  }
  kv.advance(end - begin);
}

/// Where the rows that the next token sees are not those of `mark_of(position)`.
int64_t wrong_rows(const DecoderConfig& config, const KvSequence& kv,
                   const std::function<int(int64_t)>& mark_of) {
  int64_t wrong = 0;
  for (int64_t layer = 0; layer < config.num_layers(); ++layer) {
    const KvView view = kv.layer(layer);
    const int64_t window = config.layers[static_cast<size_t>(layer)].window;
    const int64_t first = window > 0 ? std::max<int64_t>(0, kv.num_tokens() + 1 - window) : 0;
    for (int64_t i = first; i < kv.num_tokens(); ++i) {
      const int64_t row = view.ring ? i % (view.num_entries * view.page_rows) : i;
      const int64_t page = view.page_table[row / view.page_rows];
      const auto* at =
          reinterpret_cast<const float*>(view.k_pages) +
          (page * view.num_kv_heads * view.page_rows + row % view.page_rows) * view.k_dim;
      if (*at != static_cast<float>(mark_of(i) * 100000 + layer * 10000 + i * 10)) ++wrong;
    }
  }
  return wrong;
}

DecoderConfig hybrid_with_full() {
  DecoderConfig c = hybrid();
  LayerSpec full = c.layers[0];
  full.window = 0;
  c.layers.push_back(full);
  return c;
}

TEST(KvCache, SequencesShareTheirBeginning) {
  const DecoderConfig config = hybrid_with_full();
  KvCache cache(config, small_options());
  auto a = cache.new_sequence();
  write_rows(config, *a, 0, 8, 1);
  write_rows(config, *a, 8, 14, 1);
  const auto windows = a->snapshot(13);
  ASSERT_TRUE(windows.has_value());
  const auto prefix = a->share(14);
  const int64_t free_before = cache.num_free_pages();
  const auto b = cache.new_sequence(*prefix, *windows);
  ASSERT_NE(b, nullptr);
  EXPECT_EQ(b->num_tokens(), 13);
  EXPECT_EQ(cache.num_free_pages(), free_before);  // nothing but shared pages
  EXPECT_EQ(wrong_rows(config, *b, [](int64_t) { return 1; }), 0);
  cache.check_integrity();
  write_rows(config, *b, 13, 19, 2);  // its page is its own from here on
  write_rows(config, *a, 14, 18, 1);
  EXPECT_EQ(wrong_rows(config, *a, [](int64_t) { return 1; }), 0);
  EXPECT_EQ(wrong_rows(config, *b, [](int64_t i) { return i < 13 ? 1 : 2; }), 0);
  cache.check_integrity();
  // What a snapshot did not bring along cannot be gone back to.
  EXPECT_FALSE(b->truncate(12));
  EXPECT_TRUE(b->truncate(13));
  a.reset();
  cache.check_integrity();
  const auto c = cache.new_sequence(*prefix, *windows);
  EXPECT_EQ(wrong_rows(config, *c, [](int64_t) { return 1; }), 0);
}

TEST(KvCache, RingsThatMovedOnGiveNoSnapshot) {
  const DecoderConfig config = hybrid_with_full();
  KvCache cache(config, small_options());
  const auto a = cache.new_sequence();
  for (int64_t i = 0; i < 48; i += 8) write_rows(config, *a, i, i + 8, 1);
  EXPECT_TRUE(a->snapshot(48).has_value());
  EXPECT_TRUE(a->snapshot(47).has_value());
  EXPECT_FALSE(a->snapshot(20).has_value());
}

TEST(KvCache, APageThatCannotBeCopiedIsExhaustion) {
  DecoderConfig config = hybrid_with_full();
  KvCacheOptions options = small_options();
  options.max_tokens = 8;
  KvCache cache(config, options);
  const auto a = cache.new_sequence();
  write_rows(config, *a, 0, 6, 1);
  const auto prefix = a->share(6);
  EXPECT_FALSE(a->reserve(1));  // both pages are taken, and the last one is shared
  EXPECT_EQ(a->num_tokens(), 6);
  EXPECT_EQ(wrong_rows(config, *a, [](int64_t) { return 1; }), 0);
}

// K-EXAONE's cache at its true width: 48 layers, every fourth of them full, windows of 128, 8 heads
// of 128 numbers in bfloat16. 12.02 GiB by the paper; every row is written.
TEST(KvCache, TakesWhatItSaysAtTrueWidth) {
  const bool whole = std::getenv("ONNURI_LONG_TESTS") != nullptr;
  if (kSanitized) GTEST_SKIP() << "sanitizers keep memory of their own";
  DecoderConfig config = tiny_decoder_config();
  config.layers.resize(48, config.layers[0]);
  for (size_t i = 0; i < config.layers.size(); ++i) config.layers[i].window = i % 4 == 3 ? 0 : 128;
  config.num_kv_heads = 8;
  config.head_dim = config.v_dim = 128;
  KvCacheOptions options;
  options.dtype = DType::kBF16;
  options.max_tokens = whole ? 262144 : 4096;
  options.max_chunk = 512;
  const int64_t row = 2 * 8 * 128 * 2;
  const int64_t computed = row * (12 * options.max_tokens + 36 * 128);
  if (available_bytes() < 5 * computed / 4)
    GTEST_SKIP() << "expected " << 5 * computed / 4 << " bytes of free memory, found "
                 << available_bytes();
  return_free_memory();
  const int64_t before = anonymous_bytes();
  KvCache cache(config, options);
  const auto kv = cache.new_sequence();
  for (int64_t begin = 0; begin < options.max_tokens; begin += options.max_chunk) {
    ASSERT_TRUE(kv->reserve(options.max_chunk));
    for (int64_t layer = 0; layer < 48; ++layer) {
      const KvView view = kv->layer(layer);
      const int64_t page_bytes = view.page_rows * row / 2;
      for (int64_t token = begin; token < begin + options.max_chunk; token += view.page_rows) {
        const int64_t entry = token / view.page_rows % view.num_entries;
        const int64_t page = view.page_table[entry];
        std::memset(static_cast<std::byte*>(view.k_pages) + page * page_bytes, 1,
                    static_cast<size_t>(page_bytes));
        std::memset(static_cast<std::byte*>(view.v_pages) + page * page_bytes, 2,
                    static_cast<size_t>(page_bytes));
      }
    }
    kv->advance(options.max_chunk);
  }
  const int64_t measured = anonymous_bytes() - before;
  RecordProperty("measured_bytes", std::to_string(measured));
  EXPECT_GE(measured, row * 12 * options.max_tokens);
  EXPECT_LE(measured, cache.num_bytes() + (int64_t{8} << 20));
  if (whole) {
    EXPECT_LE(static_cast<double>(measured), 1.02 * static_cast<double>(computed));
    std::printf("measured %.3f GiB, computed %.3f GiB\n", static_cast<double>(measured) / 0x1p30,
                static_cast<double>(computed) / 0x1p30);
  }
}

}  // namespace
}  // namespace onnuri
