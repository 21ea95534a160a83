// Attention: every table against the plain one, and the equalities that must hold to the last bit.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "kernels/backend.h"
#include "kernels/ops.h"
#include "onnuri/error.h"
#include "tests/kernels/test_ops_tables.h"

namespace onnuri {
namespace {

// Keys and values of one sequence with pages in shuffled order; unwritten memory holds NaN.
class TestCache {
 public:
  TestCache(DType dtype, int64_t entries, int64_t page_rows, int64_t heads, int64_t k_dim,
            int64_t v_dim, bool ring = false)
      : k_(static_cast<size_t>(entries * page_rows * heads * kv_row_bytes(dtype, k_dim)),
           char(0xff)),
        v_(static_cast<size_t>(entries * page_rows * heads * kv_row_bytes(dtype, v_dim)),
           char(0xff)),
        table_(static_cast<size_t>(entries)) {
    for (size_t i = 0; i < table_.size(); ++i) table_[i] = static_cast<int32_t>(i);
    std::shuffle(table_.begin(), table_.end(), std::mt19937(5));
    view_ = {.dtype = dtype,
             .k_pages = k_.data(),
             .v_pages = v_.data(),
             .page_table = table_.data(),
             .num_entries = entries,
             .ring = ring,
             .page_rows = page_rows,
             .num_kv_heads = heads,
             .k_dim = k_dim,
             .v_dim = v_dim};
  }
  const KvView& view() const { return view_; }

 private:
  std::vector<char> k_, v_;
  std::vector<int32_t> table_;
  KvView view_;
};

struct Case {
  int64_t rows, start, keys, heads, kv_heads, k_dim, v_dim, page_rows;
  bool causal;
  int64_t window;
  bool sinks;
  DType dtype;
};

AttentionTask task_of(const Case& c, const KvView& kv, int64_t kv_head, ConstMatrixView q,
                      MatrixView out, const float* sinks) {
  AttentionTask task;
  task.group = c.heads / c.kv_heads;
  task.q = q.data + kv_head * task.group * c.k_dim;
  task.out = out.data + kv_head * task.group * c.v_dim;
  task.q_stride = q.stride;
  task.out_stride = out.stride;
  task.num_rows = c.rows;
  task.position = c.start;
  task.num_keys = c.keys;
  task.scale = 1.0f / std::sqrt(static_cast<float>(c.k_dim));
  task.causal = c.causal;
  task.window = c.window;
  task.sinks = sinks != nullptr ? sinks + kv_head * task.group : nullptr;
  task.keys = {.kv = &kv, .kv_head = kv_head, .k_dim = c.k_dim, .v_dim = c.v_dim};
  return task;
}

void run_table(const AttentionKernels& kernels, const Case& c, const KvView& kv, ConstMatrixView q,
               MatrixView out, const float* sinks) {
  const int64_t rows = c.rows * c.heads / c.kv_heads;
  std::vector<char> memory(kernels.workspace_bytes(rows, c.keys, c.k_dim, c.v_dim) + 64);
  for (int64_t h = 0; h < c.kv_heads; ++h) {
    kernels.attend(task_of(c, kv, h, q, out, sinks), memory.data());
  }
}

class AttentionTable : public testing::TestWithParam<TestTable> {};
INSTANTIATE_TEST_SUITE_P(Tables, AttentionTable, testing::ValuesIn(test_tables()),
                         [](const auto& test) { return test.param.name; });

const Case kCases[] = {
    {1, 0, 1, 1, 1, 8, 8, 16, true, 0, false, DType::kF32},
    {1, 700, 701, 14, 2, 64, 64, 64, true, 0, false, DType::kF16},
    {1, 600, 601, 4, 1, 256, 256, 64, true, 0, false, DType::kBF16},
    {1, 513, 514, 9, 3, 64, 64, 64, true, 0, false, DType::kF16},
    {1, 300, 301, 2, 2, 72, 72, 32, true, 0, false, DType::kF16},
    {1, 300, 301, 4, 2, 80, 48, 32, true, 0, true, DType::kBF16},
    {2, 255, 257, 2, 2, 64, 32, 64, true, 0, false, DType::kF16},
    {65, 190, 255, 4, 2, 18, 18, 16, true, 0, false, DType::kF32},
    {37, 500, 537, 6, 2, 5, 3, 7, true, 0, true, DType::kF16},
    {20, 400, 420, 4, 2, 64, 64, 64, true, 100, true, DType::kF16},
    {20, 0, 20, 8, 1, 128, 64, 64, true, 3, false, DType::kF32},
    {9, 0, 700, 3, 3, 64, 64, 64, false, 0, false, DType::kF16},
    {9, 30, 300, 3, 3, 64, 64, 64, false, 16, false, DType::kF32},
    {6, 10, 4, 2, 1, 16, 16, 8, true, 5, true, DType::kF32},  // later rows see no key
    {3, 4, 0, 2, 1, 16, 16, 8, true, 0, true, DType::kF32},   // no keys at all
    {0, 4, 4, 2, 1, 16, 16, 8, true, 0, false, DType::kF32},
    {1, 700, 701, 14, 2, 64, 64, 64, true, 0, false, DType::kI8},
    {37, 500, 537, 6, 2, 5, 3, 7, true, 0, true, DType::kI8},
    {20, 400, 420, 4, 2, 72, 40, 64, true, 100, true, DType::kI8},
    {1, 300, 301, 2, 2, 128, 128, 32, true, 0, false, DType::kF8E4M3},
    {9, 30, 300, 3, 3, 18, 18, 64, false, 16, false, DType::kF8E4M3},
    {1, 600, 601, 4, 1, 256, 256, 64, true, 0, false, DType::kQ4_1},
    {65, 190, 255, 4, 2, 18, 33, 16, true, 0, false, DType::kQ4_1},
};

// The maximum of a row of scores may lose a NaN; the result must not.
TEST_P(AttentionTable, NotANumberStaysOne) {
  const float nan = std::nanf(""), infinity = INFINITY;
  Backend backend(1, "ref");
  std::mt19937 random(7);
  const auto filled = [&](int64_t rows, int64_t cols) {
    return TestMatrix(rows, cols, cols).fill(random, 1.0f);
  };
  for (const bool sinks : {false, true}) {
    const Case c{40, 0, 40, 4, 1, 16, 8, 16, true, 0, sinks, DType::kF32};
    const std::vector<float> sink(4, 0.5f);
    for (const int64_t bad : {0, 3, 30, 39}) {  // a row's query, and a key
      for (const bool in_key : {false, true}) {
        const TestCache cache(c.dtype, 3, c.page_rows, 1, c.k_dim, c.v_dim);
        TestMatrix k = filled(c.keys, c.k_dim), q = filled(c.rows, 4 * c.k_dim);
        const TestMatrix v = filled(c.keys, c.v_dim);
        (in_key ? k : q).view().row(bad)[5] = nan;
        kv_write(backend, cache.view(), 0, k.view(), v.view());
        TestMatrix out = filled(c.rows, 4 * c.v_dim);
        run_table(*GetParam().attention, c, cache.view(), q.view(), out.view(),
                  sinks ? sink.data() : nullptr);
        for (int64_t row = 0; row < c.rows; ++row) {
          const bool expected = in_key ? row >= bad : row == bad;
          EXPECT_EQ(std::isnan(out.view().row(row)[0]), expected) << row << " " << bad << in_key;
        }
      }
    }
    // Scores of minus infinity for all keys have no softmax, but a sink takes what they leave.
    const TestCache cache(c.dtype, 3, c.page_rows, 1, c.k_dim, c.v_dim);
    TestMatrix k = filled(c.keys, c.k_dim), q = filled(c.rows, 4 * c.k_dim);
    const TestMatrix v = filled(c.keys, c.v_dim);
    for (int64_t row = 0; row < c.keys; ++row) k.view().row(row)[0] = infinity;
    for (int64_t row = 0; row < c.rows; ++row)
      for (int64_t h = 0; h < 4; ++h) q.view().row(row)[h * c.k_dim] = -1.0f;
    kv_write(backend, cache.view(), 0, k.view(), v.view());
    TestMatrix out = filled(c.rows, 4 * c.v_dim);
    run_table(*GetParam().attention, c, cache.view(), q.view(), out.view(),
              sinks ? sink.data() : nullptr);
    for (int64_t row = 0; row < c.rows; ++row) {
      const float value = out.view().row(row)[0];
      EXPECT_TRUE(sinks ? value == 0.0f : std::isnan(value)) << row << ": " << value;
    }
  }
}

TEST_P(AttentionTable, AgreesWithThePlainLoops) {
  std::mt19937 random(11);
  for (const Case& c : kCases) {
    const int64_t entries = c.keys / c.page_rows + 1;
    const TestCache cache(c.dtype, entries, c.page_rows, c.kv_heads, c.k_dim, c.v_dim);
    Backend backend(1, "ref");
    const TestMatrix k =
        TestMatrix(c.keys, c.kv_heads * c.k_dim, c.kv_heads * c.k_dim).fill(random, 1.0f);
    const TestMatrix v =
        TestMatrix(c.keys, c.kv_heads * c.v_dim, c.kv_heads * c.v_dim).fill(random, 1.0f);
    kv_write(backend, cache.view(), 0, k.view(), v.view());
    const TestMatrix q =
        TestMatrix(c.rows, c.heads * c.k_dim, c.heads * c.k_dim + 3).fill(random, 2.0f);
    TestMatrix sinks = TestMatrix(1, c.heads, c.heads).fill(random, 2.0f);
    const float* sink = c.sinks ? sinks.view().data : nullptr;
    TestMatrix out(c.rows, c.heads * c.v_dim, c.heads * c.v_dim + 5), expected = out;
    run_table(*GetParam().attention, c, cache.view(), q.view(), out.view(), sink);
    run_table(ref::attention_kernels(), c, cache.view(), q.view(), expected.view(), sink);
    for (int64_t r = 0; r < c.rows; ++r) {
      for (int64_t i = 0; i < c.heads * c.v_dim; ++i) {
        ASSERT_NEAR(out.view().row(r)[i], expected.view().row(r)[i], 2e-6)
            << "rows " << c.rows << ", keys " << c.keys << ", k_dim " << c.k_dim << ", row " << r;
      }
      if (c.start + r - c.window >= c.keys - 1 && (c.window > 0 || c.keys == 0)) {
        EXPECT_EQ(out.view().row(r)[0], 0.0f);
      }
    }
    EXPECT_TRUE(out.gaps_untouched());
  }
}

TEST_P(AttentionTable, TilesCombinedEqualWhole) {
  const AttentionKernels& kernels = *GetParam().attention;
  if (kernels.attend_tile == nullptr) GTEST_SKIP() << "this table does not split keys";
  std::mt19937 random(12);
  for (const Case& c : kCases) {
    if (c.rows == 0 || c.keys == 0) continue;
    const TestCache cache(c.dtype, c.keys / c.page_rows + 1, c.page_rows, c.kv_heads, c.k_dim,
                          c.v_dim);
    Backend backend(1, "ref");
    const TestMatrix k =
        TestMatrix(c.keys, c.kv_heads * c.k_dim, c.kv_heads * c.k_dim).fill(random, 1.0f);
    const TestMatrix v =
        TestMatrix(c.keys, c.kv_heads * c.v_dim, c.kv_heads * c.v_dim).fill(random, 1.0f);
    kv_write(backend, cache.view(), 0, k.view(), v.view());
    const TestMatrix q =
        TestMatrix(c.rows, c.heads * c.k_dim, c.heads * c.k_dim).fill(random, 2.0f);
    TestMatrix whole(c.rows, c.heads * c.v_dim, c.heads * c.v_dim), tiled = whole;
    run_table(kernels, c, cache.view(), q.view(), whole.view(), nullptr);
    const int64_t rows = c.rows * c.heads / c.kv_heads;
    std::vector<char> memory(kernels.workspace_bytes(rows, c.keys, c.k_dim, c.v_dim) + 64);
    const int64_t step = kernels.partial_floats(rows, c.v_dim);
    for (int64_t h = 0; h < c.kv_heads; ++h) {
      const AttentionTask task = task_of(c, cache.view(), h, q.view(), tiled.view(), nullptr);
      const int64_t first = visible_keys(task, c.start).begin / kKeyTile;
      const int64_t end = visible_keys(task, c.start + c.rows - 1).end;
      const int64_t tiles = (end + kKeyTile - 1) / kKeyTile - first;
      std::vector<float> partials(static_cast<size_t>(tiles * step));
      for (int64_t t = tiles - 1; t >= 0; --t) {
        kernels.attend_tile(task, first + t, partials.data() + t * step, memory.data());
      }
      kernels.combine(task, tiles, partials.data(), memory.data());
    }
    for (int64_t r = 0; r < c.rows; ++r) {
      EXPECT_EQ(0, std::memcmp(whole.view().row(r), tiled.view().row(r),
                               static_cast<size_t>(c.heads * c.v_dim) * sizeof(float)));
    }
  }
}

// A sequence of `total` tokens run in chunks through a cache, as a decoder does.
struct Sequence {
  int64_t total, heads, kv_heads, dim;
  TestMatrix q, k, v;
  Sequence(int64_t n, int64_t h, int64_t kvh, int64_t d, unsigned seed)
      : total(n),
        heads(h),
        kv_heads(kvh),
        dim(d),
        q(n, h * d, h * d),
        k(n, kvh * d, kvh * d),
        v(n, kvh * d, kvh * d) {
    std::mt19937 random(seed);
    q.fill(random, 2.0f);
    k.fill(random, 1.0f);
    v.fill(random, 1.0f);
  }
  ConstMatrixView part(const TestMatrix& m, int64_t begin, int64_t n) const {
    const ConstMatrixView x = m.view();
    return {x.row(begin), n, x.cols, x.stride};
  }
};

std::vector<float> run_chunks(Backend& backend, const Sequence& s, int64_t chunk,
                              const TestCache& cache, const AttentionParams& params) {
  std::vector<float> out(static_cast<size_t>(s.total * s.heads * s.dim), NAN);
  for (int64_t begin = 0; begin < s.total; begin += chunk) {
    const int64_t n = std::min(chunk, s.total - begin);
    kv_write(backend, cache.view(), begin, s.part(s.k, begin, n), s.part(s.v, begin, n));
    const AttentionSegment segment{.first_row = 0,
                                   .num_rows = n,
                                   .start_position = begin,
                                   .num_keys = begin + n,
                                   .kv = cache.view()};
    attention_paged(backend, s.part(s.q, begin, n), {&segment, 1}, params,
                    matrix(out.data() + begin * s.heads * s.dim, n, s.heads * s.dim));
  }
  return out;
}

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

class AttentionBits : public testing::TestWithParam<std::string> {};
std::vector<std::string> supported_tables() {
  std::vector<std::string> names;
  for (const KernelTableInfo& info : list_kernel_tables()) {
    if (info.supported) names.push_back(info.name);
  }
  return names;
}
INSTANTIATE_TEST_SUITE_P(Tables, AttentionBits, testing::ValuesIn(supported_tables()),
                         [](const auto& test) { return test.param; });

TEST_P(AttentionBits, ChunksThreadsAndRingsAgree) {
  for (const DType dtype :
       {DType::kF32, DType::kF16, DType::kBF16, DType::kI8, DType::kF8E4M3, DType::kQ4_1}) {
    for (const int64_t dim : {int64_t{64}, int64_t{18}}) {
      if ((GetParam() == "ref" || dim == 18) && dtype != DType::kF16) continue;
      const Sequence s(330, 6, 2, dim, 21);
      const AttentionParams full{.num_heads = 6, .scale = 0.3f};
      AttentionParams windowed = full;
      windowed.window = 70;
      Backend one(1, GetParam());
      const TestCache whole_cache(dtype, 12, 32, 2, dim, dim);
      const auto whole = run_chunks(one, s, 330, whole_cache, full);
      const auto whole_window = run_chunks(one, s, 330, whole_cache, windowed);
      for (const int threads : {1, 2, 3}) {
        Backend backend(threads, GetParam());
        for (const int64_t chunk : {int64_t{1}, int64_t{7}, int64_t{64}, int64_t{330}}) {
          const TestCache cache(dtype, 6, 64, 2, dim, dim);
          EXPECT_TRUE(same_bits(run_chunks(backend, s, chunk, cache, full), whole));
          const TestCache ring(dtype, chunk == 330 ? 21 : 9, 16, 2, dim, dim, true);
          EXPECT_TRUE(same_bits(run_chunks(backend, s, chunk, ring, windowed), whole_window))
              << "chunk " << chunk << ", threads " << threads;
        }
      }
    }
  }
}

TEST_P(AttentionBits, BatchEqualsAlone) {
  const int64_t lengths[] = {1, 1500, 40, 257};
  const int64_t rows[] = {1, 1, 40, 3};
  std::vector<Sequence> sequences;
  std::vector<TestCache> caches;
  std::vector<AttentionSegment> segments;
  const AttentionParams params{.num_heads = 7, .scale = 0.2f};
  std::vector<float> q;
  int64_t first = 0;
  Backend one(1, GetParam());
  for (int i = 0; i < 4; ++i) {
    sequences.emplace_back(lengths[i], 7, 1, 64, 30u + static_cast<unsigned>(i));
    caches.emplace_back(DType::kF16, 32, 64, 1, 64, 64);
  }
  for (int i = 0; i < 4; ++i) {
    const Sequence& s = sequences[static_cast<size_t>(i)];
    const TestCache& cache = caches[static_cast<size_t>(i)];
    kv_write(one, cache.view(), 0, s.k.view(), s.v.view());
    const int64_t start = lengths[i] - rows[i];
    segments.push_back({first, rows[i], start, lengths[i], cache.view()});
    q.insert(q.end(), s.q.view().row(start), s.q.view().row(start) + rows[i] * 7 * 64);
    first += rows[i];
  }
  std::vector<float> alone(q.size());
  for (int i = 0; i < 4; ++i) {
    AttentionSegment segment = segments[static_cast<size_t>(i)];
    const int64_t offset = segment.first_row * 7 * 64;
    segment.first_row = 0;
    attention_paged(one, matrix(q.data() + offset, rows[i], int64_t{7 * 64}), {&segment, 1}, params,
                    matrix(alone.data() + offset, rows[i], int64_t{7 * 64}));
  }
  for (const int threads : {1, 2, 3}) {
    Backend backend(threads, GetParam());
    std::vector<float> together(q.size(), NAN);
    attention_paged(backend, matrix(q.data(), first, int64_t{7 * 64}), segments, params,
                    matrix(together.data(), first, int64_t{7 * 64}));
    EXPECT_TRUE(same_bits(together, alone)) << threads << " threads";
  }
}

TEST_P(AttentionBits, PackedSegmentsAreIndependent) {
  for (const int64_t dim : {int64_t{64}, int64_t{72}, int64_t{80}, int64_t{5}}) {
    const int64_t heads = 3, offsets[] = {0, 300, 300, 301, 390};
    const Sequence s(390, heads, heads, dim, 41);
    std::vector<float> expected(static_cast<size_t>(390 * heads * dim));
    Backend one(1, GetParam());
    Backend plain(1, "ref");
    std::vector<float> reference(expected.size());
    for (int i = 0; i < 4; ++i) {
      const int64_t begin = offsets[i], n = offsets[i + 1] - begin, alone[] = {0, n};
      attention_packed(one, s.part(s.q, begin, n), s.part(s.k, begin, n), s.part(s.v, begin, n),
                       alone, heads, 0.125f,
                       matrix(expected.data() + begin * heads * dim, n, heads * dim));
    }
    attention_packed(plain, s.q.view(), s.k.view(), s.v.view(), offsets, heads, 0.125f,
                     matrix(reference.data(), 390, heads * dim));
    for (size_t i = 0; i < expected.size(); ++i) ASSERT_NEAR(expected[i], reference[i], 2e-6f);
    for (const int threads : {1, 2, 3}) {
      Backend backend(threads, GetParam());
      std::vector<float> out(expected.size(), NAN);
      attention_packed(backend, s.q.view(), s.k.view(), s.v.view(), offsets, heads, 0.125f,
                       matrix(out.data(), 390, heads * dim));
      EXPECT_TRUE(same_bits(out, expected));
    }
  }
}

TEST(Attention, WindowAsLongAsTheTextIsFull) {
  const Sequence s(100, 2, 1, 32, 51);
  Backend backend(2, "");
  AttentionParams params{.num_heads = 2, .scale = 0.2f};
  const TestCache cache(DType::kF16, 4, 32, 1, 32, 32);
  const auto full = run_chunks(backend, s, 100, cache, params);
  params.window = 100;
  EXPECT_TRUE(same_bits(run_chunks(backend, s, 100, cache, params), full));
  params.window = 99;
  EXPECT_FALSE(same_bits(run_chunks(backend, s, 100, cache, params), full));
}

TEST(Attention, WrongShapesAreRefused) {
  Backend backend(1, "ref");
  const TestCache cache(DType::kF16, 2, 16, 2, 8, 8);
  std::vector<float> x(1024);
  const MatrixView q = matrix(x.data(), 2, int64_t{32});
  const AttentionParams params{.num_heads = 4};
  AttentionSegment segment{0, 2, 0, 2, cache.view()};
  EXPECT_NO_THROW(kv_write(backend, cache.view(), 0, matrix(x.data(), 32, int64_t{16}),
                           matrix(x.data(), 32, int64_t{16})));
  EXPECT_THROW(kv_write(backend, cache.view(), 1, matrix(x.data(), 32, int64_t{16}),
                        matrix(x.data(), 32, int64_t{16})),
               Error);
  EXPECT_THROW(kv_write(backend, cache.view(), 0, matrix(x.data(), 2, int64_t{15}),
                        matrix(x.data(), 2, int64_t{16})),
               Error);
  segment.num_rows = 3;
  EXPECT_THROW(attention_paged(backend, q, {&segment, 1}, params, q), Error);
  segment = {0, 2, 31, 33, cache.view()};  // past the last page
  EXPECT_THROW(attention_paged(backend, q, {&segment, 1}, params, q), Error);
  segment = {0, 2, 0, 2, cache.view()};
  EXPECT_THROW(attention_paged(backend, q, {&segment, 1}, {.num_heads = 3}, q), Error);
}

}  // namespace
}  // namespace onnuri
