// Attention over rows that are key and value at once, over chosen keys, and the choice itself.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>
#include <random>

#include "kernels/backend.h"
#include "kernels/ops.h"
#include "onnuri/error.h"

namespace onnuri {
namespace {

std::vector<float> random_values(int64_t count, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> values(static_cast<size_t>(count));
  for (float& v : values) v = normal(random);
  return values;
}

// Pages in shuffled order; unwritten memory holds NaN.
struct Pages {
  std::vector<char> k, v;
  std::vector<int32_t> table;
  KvView view;
  Pages(DType dtype, int64_t entries, int64_t page_rows, int64_t k_dim, int64_t v_dim, bool v_in_k)
      : k(static_cast<size_t>(entries * page_rows * k_dim * 4), char(0xff)),
        v(static_cast<size_t>(v_in_k ? 0 : entries * page_rows * v_dim * 4), char(0xff)),
        table(static_cast<size_t>(entries)) {
    std::iota(table.begin(), table.end(), 0);
    std::shuffle(table.begin(), table.end(), std::mt19937(5));
    view = {.dtype = dtype,
            .k_pages = k.data(),
            .v_pages = v_in_k ? nullptr : v.data(),
            .page_table = table.data(),
            .num_entries = entries,
            .page_rows = page_rows,
            .num_kv_heads = 1,
            .k_dim = k_dim,
            .v_dim = v_dim,
            .v_in_k = v_in_k};
  }
};

class LatentAttention : public testing::TestWithParam<std::string> {};
std::vector<std::string> tables() {
  std::vector<std::string> names;
  for (const KernelTableInfo& info : list_kernel_tables()) {
    if (info.supported) names.push_back(info.name);
  }
  return names;
}
INSTANTIATE_TEST_SUITE_P(Tables, LatentAttention, testing::ValuesIn(tables()),
                         [](const auto& test) { return test.param; });

struct Shape {
  int64_t rows, start, heads, k_dim, v_dim, page_rows, window;
  DType dtype;
};
const Shape kShapes[] = {
    {1, 300, 16, 576, 512, 64, 0, DType::kF16}, {9, 40, 5, 40, 32, 16, 0, DType::kF32},
    {33, 500, 3, 19, 13, 7, 100, DType::kF16},  {2, 255, 1, 30, 24, 32, 0, DType::kBF16},
    {1, 520, 3, 72, 64, 8, 9, DType::kBF16},    {5, 0, 2, 11, 11, 4, 0, DType::kF16},
};

std::vector<float> attend(const std::string& table, int threads, const Shape& s,
                          const AttentionSegment& segment, const std::vector<float>& q,
                          bool causal) {
  Backend backend(threads, table);
  AttentionParams params;
  params.num_heads = s.heads;
  params.scale = 1.0f / std::sqrt(static_cast<float>(s.k_dim));
  params.window = s.window;
  params.causal = causal;
  std::vector<float> out(static_cast<size_t>(s.rows * s.heads * s.v_dim), NAN);
  attention_paged(backend, matrix(q.data(), s.rows, s.heads * s.k_dim), {&segment, 1}, params,
                  matrix(out.data(), s.rows, s.heads * s.v_dim));
  return out;
}

TEST_P(LatentAttention, ValuesInsideKeysEqualValuesStoredApart) {
  for (const Shape& s : kShapes) {
    SCOPED_TRACE(s.k_dim);
    const int64_t keys = s.start + s.rows;
    const int64_t entries = keys / s.page_rows + 1;
    Backend plain(1, "ref");
    Pages apart(s.dtype, entries, s.page_rows, s.k_dim, s.v_dim, false);
    Pages inside(s.dtype, entries, s.page_rows, s.k_dim, s.v_dim, true);
    const std::vector<float> k = random_values(keys * s.k_dim, 1);
    const ConstMatrixView rows = matrix(k.data(), keys, s.k_dim);
    kv_write(plain, apart.view, 0, rows, {k.data(), keys, s.v_dim, s.k_dim});
    kv_write(plain, inside.view, 0, rows, {});
    const std::vector<float> q = random_values(s.rows * s.heads * s.k_dim, 2);
    const AttentionSegment a{0, s.rows, s.start, keys, apart.view};
    const AttentionSegment b{0, s.rows, s.start, keys, inside.view};
    const std::vector<float> expected = attend(GetParam(), 1, s, a, q, true);
    EXPECT_EQ(attend(GetParam(), 1, s, b, q, true), expected);
    EXPECT_EQ(attend(GetParam(), 3, s, b, q, true), expected);
    const std::vector<float> reference = attend("ref", 1, s, b, q, true);
    for (size_t i = 0; i < expected.size(); ++i) ASSERT_NEAR(expected[i], reference[i], 3e-6f);
  }
}

// Every row's chosen keys copied into a cache of their own must give the same answer.
TEST_P(LatentAttention, AListOfKeysIsACacheOfThoseKeys) {
  for (Shape s : kShapes) {
    SCOPED_TRACE(s.k_dim);
    s.window = 0;
    const int64_t keys = s.start + s.rows;
    const int64_t kept = std::min<int64_t>(keys, 270);
    Backend plain(1, "ref");
    Pages pages(s.dtype, keys / s.page_rows + 1, s.page_rows, s.k_dim, s.v_dim, true);
    const std::vector<float> k = random_values(keys * s.k_dim, 3);
    kv_write(plain, pages.view, 0, matrix(k.data(), keys, s.k_dim), {});
    const std::vector<float> q = random_values(s.rows * s.heads * s.k_dim, 4);
    std::mt19937 random(6);
    std::vector<int32_t> lists;
    for (int64_t r = 0; r < s.rows; ++r) {
      std::vector<int32_t> all(static_cast<size_t>(keys));
      std::iota(all.begin(), all.end(), 0);
      std::shuffle(all.begin(), all.end(), random);
      std::sort(all.begin(), all.begin() + kept);
      lists.insert(lists.end(), all.begin(), all.begin() + kept);
    }
    AttentionSegment segment{0, s.rows, s.start, keys, pages.view};
    segment.key_lists = lists.data();
    segment.keys_per_row = kept;
    const std::vector<float> found = attend(GetParam(), 2, s, segment, q, true);
    EXPECT_EQ(attend(GetParam(), 1, s, segment, q, true), found);
    Shape one = s;
    one.rows = 1;
    for (int64_t r = 0; r < s.rows; ++r) {
      Pages alone(s.dtype, kept / 16 + 1, 16, s.k_dim, s.v_dim, true);
      for (int64_t j = 0; j < kept; ++j) {
        const int64_t from = lists[static_cast<size_t>(r * kept + j)];
        kv_write(plain, alone.view, j, matrix(k.data() + from * s.k_dim, 1, s.k_dim), {});
      }
      const std::vector<float> row(q.begin() + r * s.heads * s.k_dim,
                                   q.begin() + (r + 1) * s.heads * s.k_dim);
      const AttentionSegment whole{0, 1, 0, kept, alone.view};
      const std::vector<float> expected = attend(GetParam(), 1, one, whole, row, false);
      for (size_t i = 0; i < expected.size(); ++i) {
        ASSERT_NEAR(found[static_cast<size_t>(r * s.heads * s.v_dim) + i], expected[i], 3e-6f);
      }
    }
  }
}

TEST_P(LatentAttention, ChoosesTheBestKeys) {
  struct Case {
    int64_t rows, start, heads, dim, top_k;
    DType dtype;
  };
  const Case cases[] = {{7, 0, 3, 10, 4, DType::kF32},
                        {40, 0, 16, 128, 33, DType::kF16},
                        {1, 700, 5, 19, 600, DType::kF16},
                        {3, 5000, 2, 24, 3, DType::kBF16},
                        {5, 2, 1, 8, 50, DType::kF32}};
  for (const Case& c : cases) {
    SCOPED_TRACE(c.dim);
    const int64_t keys = c.start + c.rows;
    Backend plain(1, "ref");
    Pages pages(c.dtype, keys / 16 + 1, 16, c.dim, c.dim, true);
    const std::vector<float> k = random_values(keys * c.dim, 7);
    kv_write(plain, pages.view, 0, matrix(k.data(), keys, c.dim), {});
    const std::vector<float> q = random_values(c.rows * c.heads * c.dim, 8);
    const std::vector<float> weights = random_values(c.rows * c.heads, 9);
    const AttentionSegment segment{0, c.rows, c.start, keys, pages.view};
    const auto choose = [&](const std::string& table, int threads) {
      Backend backend(threads, table);
      std::vector<int32_t> chosen(static_cast<size_t>(c.rows * c.top_k), -1);
      select_keys(backend, matrix(q.data(), c.rows, c.heads * c.dim),
                  matrix(weights.data(), c.rows, c.heads), {&segment, 1}, {c.heads, c.top_k},
                  chosen);
      return chosen;
    };
    const std::vector<int32_t> chosen = choose(GetParam(), 1);
    EXPECT_EQ(choose(GetParam(), 3), chosen);
    for (int64_t r = 0; r < c.rows; ++r) {
      const auto begin = chosen.begin() + r * c.top_k;
      if (c.start + r + 1 <= c.top_k) {
        EXPECT_EQ(std::count(begin, begin + c.top_k, -1), c.top_k);
        continue;
      }
      EXPECT_TRUE(std::is_sorted(begin, begin + c.top_k));
      EXPECT_EQ(std::adjacent_find(begin, begin + c.top_k), begin + c.top_k);
      EXPECT_GE(*begin, 0);
      EXPECT_LE(*(begin + c.top_k - 1), c.start + r);
      // No key that was dropped scores above one that was kept, up to the stored precision.
      const auto score = [&](int64_t j) {
        double sum = 0;
        for (int64_t h = 0; h < c.heads; ++h) {
          double dot = 0;
          for (int64_t d = 0; d < c.dim; ++d) {
            dot += static_cast<double>(q[static_cast<size_t>((r * c.heads + h) * c.dim + d)]) *
                   static_cast<double>(k[static_cast<size_t>(j * c.dim + d)]);
          }
          sum += static_cast<double>(weights[static_cast<size_t>(r * c.heads + h)]) *
                 std::max(dot, 0.0);
        }
        return sum;
      };
      double worst_kept = INFINITY, best_dropped = -INFINITY, top = 0;
      for (int64_t j = 0; j <= c.start + r; ++j) {
        const double s = score(j);
        top = std::max(top, std::fabs(s));
        if (std::binary_search(begin, begin + c.top_k, static_cast<int32_t>(j))) {
          worst_kept = std::min(worst_kept, s);
        } else {
          best_dropped = std::max(best_dropped, s);
        }
      }
      const double tolerance = c.dtype == DType::kF32 ? 1e-6 : c.dtype == DType::kF16 ? 1e-3 : 1e-2;
      EXPECT_GE(worst_kept, best_dropped - tolerance * top);
    }
  }
}

// All scores are equal: whatever is chosen must not hang on where a prompt is cut.
TEST(SelectKeys, ChunksAgreeAmongEqualScores) {
  constexpr int64_t kTotal = 60, kTopK = 7;
  Backend backend(2, "");
  Pages pages(DType::kF32, 8, 8, 6, 6, true);
  std::vector<float> zeros(kTotal * 12, 0.0f);
  kv_write(backend, pages.view, 0, matrix(zeros.data(), kTotal, 6), {});
  const auto run = [&](int64_t chunk) {
    std::vector<int32_t> chosen(kTotal * kTopK, -1);
    for (int64_t begin = 0; begin < kTotal; begin += chunk) {
      const int64_t count = std::min(chunk, kTotal - begin);
      AttentionSegment segment{0, count, begin, begin + count, pages.view};
      segment.final_keys = kTotal;
      select_keys(backend, matrix(zeros.data(), count, 12), matrix(zeros.data(), count, 2),
                  {&segment, 1}, {2, kTopK},
                  std::span(chosen).subspan(static_cast<size_t>(begin * kTopK),
                                            static_cast<size_t>(count * kTopK)));
    }
    return chosen;
  };
  const std::vector<int32_t> whole = run(kTotal);
  for (int64_t r = kTopK; r < kTotal; ++r) {
    EXPECT_LE(whole[static_cast<size_t>(r * kTopK + kTopK - 1)], r);
  }
  EXPECT_EQ(run(1), whole);
  EXPECT_EQ(run(13), whole);
}

// Keys behind the row are not stored yet: however low the others score, they are not chosen.
TEST(SelectKeys, HostileScoresChooseNoKeyFromTheFuture) {
  constexpr int64_t kTotal = 40, kTopK = 6;
  Backend backend(1, "ref");
  Pages pages(DType::kF32, 8, 8, 6, 6, true);
  for (const float bad :
       {std::numeric_limits<float>::quiet_NaN(), -std::numeric_limits<float>::infinity()}) {
    const std::vector<float> ones(kTotal * 12, 1.0f);
    const std::vector<float> weights(kTotal * 2, bad);
    kv_write(backend, pages.view, 0, matrix(ones.data(), kTotal, 6), {});
    std::vector<int32_t> chosen(kTotal * kTopK, -1);
    AttentionSegment segment{0, kTotal, 0, kTotal, pages.view};
    segment.final_keys = kTotal;
    select_keys(backend, matrix(ones.data(), kTotal, 12), matrix(weights.data(), kTotal, 2),
                {&segment, 1}, {2, kTopK}, chosen);
    for (int64_t r = kTopK; r < kTotal; ++r)
      EXPECT_LE(chosen[static_cast<size_t>(r * kTopK + kTopK - 1)], r) << bad;
  }
}

TEST(SelectKeys, WrongShapesAreRefused) {
  Backend backend(1, "ref");
  Pages pages(DType::kF32, 4, 8, 6, 6, true);
  std::vector<float> x(256, 0.0f);
  kv_write(backend, pages.view, 0, matrix(x.data(), 20, 6), {});
  std::vector<int32_t> chosen(4 * 3);
  const AttentionSegment segment{0, 4, 16, 20, pages.view};
  const auto call = [&](int64_t heads, int64_t top_k, const AttentionSegment& s) {
    select_keys(backend, matrix(x.data(), 4, 12), matrix(x.data(), 4, 2), {&s, 1}, {heads, top_k},
                chosen);
  };
  EXPECT_NO_THROW(call(2, 3, segment));
  EXPECT_THROW(call(3, 3, segment), Error);
  EXPECT_THROW(call(2, 4, segment), Error);
  AttentionSegment beyond = segment;
  beyond.num_keys = 18;
  EXPECT_THROW(call(2, 3, beyond), Error);
}

}  // namespace
}  // namespace onnuri
