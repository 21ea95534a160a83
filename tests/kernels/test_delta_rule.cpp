// The gated delta rule and its convolution: every table against formulas in double, and cuts that
// change no bit.
#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "kernels/backend.h"
#include "kernels/delta_rule.h"
#include "tests/kernels/test_ops_tables.h"

namespace onnuri {
namespace {

class DeltaTable : public testing::TestWithParam<TestTable> {
 protected:
  const VectorKernels& kernels() const { return *GetParam().vector; }
  std::vector<float> noise(int64_t count, float scale) {
    std::normal_distribution<float> normal(0.0f, scale);
    std::vector<float> out(static_cast<size_t>(count));
    for (float& value : out) value = normal(random);
    return out;
  }
  std::mt19937 random{19};
};
INSTANTIATE_TEST_SUITE_P(Tables, DeltaTable, testing::ValuesIn(test_tables()),
                         [](const auto& test) { return test.param.name; });

TEST_P(DeltaTable, Convolution) {
  for (const int64_t cols : {1, 7, 16, 33, 80}) {
    for (const int64_t taps : {1, 2, 4, 5}) {
      const TestMatrix x = TestMatrix(3 + taps - 1, cols, cols + 3).fill(random, 1.0f);
      const std::vector<float> weight = noise(taps * cols, 0.7f);
      std::vector<const float*> rows;
      for (int64_t r = 0; r < x.view().rows; ++r) rows.push_back(x.view().row(r));
      TestMatrix y(3, cols, cols + 2);
      kernels().conv_silu(rows.data(), weight.data(), taps, y.view());
      for (int64_t r = 0; r < 3; ++r) {
        for (int64_t c = 0; c < cols; ++c) {
          double sum = 0;
          for (int64_t j = 0; j < taps; ++j)
            sum +=
                double{weight[static_cast<size_t>(j * cols + c)]} * double{x.view().row(r + j)[c]};
          EXPECT_NEAR(double{y.view().row(r)[c]}, sum / (1 + std::exp(-sum)), 2e-6);
        }
      }
      EXPECT_TRUE(y.gaps_untouched());
    }
  }
}

/// Random rows of one head, and what the kernel makes of them.
struct Head {
  int64_t rows, k_dim, cols, stride;
  std::vector<float> q, k, v, decay, beta, state;

  struct Result {
    std::vector<float> out;   // (rows - first_out, cols)
    std::vector<float> next;  // (k_dim, stride)
  };
  Result run(const VectorKernels& kernels, int64_t first, int64_t count, int64_t first_out,
             int64_t kept, const std::vector<float>& from) const {
    Result result;
    result.out.assign(static_cast<size_t>(std::max<int64_t>(1, (count - first_out) * cols)), 9.0f);
    result.next.assign(from.size(), 8.0f);
    std::vector<float> scratch(static_cast<size_t>(k_dim * kDeltaColumns));
    DeltaTask task;
    task.q = q.data() + first * k_dim;
    task.k = k.data() + first * k_dim;
    task.v = v.data() + first * cols;
    task.decay = decay.data() + first;
    task.beta = beta.data() + first;
    task.qk_stride = k_dim;
    task.v_stride = cols;
    task.gate_stride = 1;
    task.rows = count;
    task.first_out = first_out;
    task.kept_rows = kept;
    task.k_dim = k_dim;
    task.cols = cols;
    task.state = from.data();
    task.next = result.next.data();
    task.state_stride = stride;
    task.scratch = scratch.data();
    task.out = result.out.data();
    task.out_stride = cols;
    kernels.delta_rule(task);
    return result;
  }
};

TEST_P(DeltaTable, AgreesWithTheRecurrence) {
  for (const int64_t k_dim : {1, 3, 16, 33, 128}) {
    for (const int64_t cols : {1, 5, 16, 31, 47, 64}) {
      Head head{9, k_dim, cols, cols + 4, {}, {}, {}, {}, {}, {}};
      const float unit = 1.0f / std::sqrt(static_cast<float>(k_dim));
      head.q = noise(9 * k_dim, unit);
      head.k = noise(9 * k_dim, unit);
      head.v = noise(9 * cols, 1.0f);
      for (int i = 0; i < 9; ++i) {
        head.decay.push_back(0.5f + 0.05f * static_cast<float>(i));
        head.beta.push_back(0.9f - 0.07f * static_cast<float>(i));
      }
      head.state = noise(k_dim * head.stride, 0.5f);
      const Head::Result found = head.run(kernels(), 0, 9, 2, 5, head.state);
      std::vector<double> s(head.state.begin(), head.state.end());
      const auto at = [&](int64_t i, int64_t c) -> double& {
        return s[static_cast<size_t>(i * head.stride + c)];
      };
      for (int64_t r = 0; r < 9; ++r) {
        const float* q = head.q.data() + r * k_dim;
        const float* k = head.k.data() + r * k_dim;
        for (int64_t c = 0; c < cols; ++c) {
          if (r == 5) {
            for (int64_t i = 0; i < k_dim; ++i)
              EXPECT_NEAR(double{found.next[static_cast<size_t>(i * head.stride + c)]}, at(i, c),
                          1e-5);
          }
          double known = 0, out = 0;
          for (int64_t i = 0; i < k_dim; ++i)
            known += (at(i, c) *= double{head.decay[static_cast<size_t>(r)]}) * double{k[i]};
          const double d = double{head.beta[static_cast<size_t>(r)]} *
                           (double{head.v[static_cast<size_t>(r * cols + c)]} - known);
          for (int64_t i = 0; i < k_dim; ++i) out += (at(i, c) += double{k[i]} * d) * double{q[i]};
          if (r < 2) continue;
          EXPECT_NEAR(double{found.out[static_cast<size_t>((r - 2) * cols + c)]}, out, 2e-5)
              << k_dim << " x " << cols << " row " << r;
        }
      }
      for (int64_t i = 0; i < k_dim; ++i)
        for (int64_t c = cols; c < head.stride; ++c)
          EXPECT_EQ(found.next[static_cast<size_t>(i * head.stride + c)], 8.0f)
              << "a neighbour's column";

      // Any cut of the rows has the same bits.
      for (const int64_t cut : {1, 4, 8}) {
        const Head::Result first = head.run(kernels(), 0, cut + 1, 0, cut, head.state);
        const Head::Result rest = head.run(kernels(), cut, 9 - cut, 0, 0, first.next);
        const Head::Result whole = head.run(kernels(), 0, 9, 0, 8, head.state);
        std::vector<float> joined(first.out.begin(), first.out.begin() + cut * cols);
        joined.insert(joined.end(), rest.out.begin(), rest.out.end());
        EXPECT_EQ(joined, whole.out) << "cut at " << cut;
      }
      const Head::Result none = head.run(kernels(), 0, 9, 9, 8, head.state);  // nothing is answered
      EXPECT_EQ(none.out[0], 9.0f);
      EXPECT_EQ(none.next, head.run(kernels(), 0, 9, 0, 8, head.state).next);
    }
  }
}

// The op shares sequences, heads and columns among threads.
TEST(DeltaRule, ThreadsAndNeighboursChangeNoBit) {
  const DeltaShape shape{2, 6, 24, 100};
  std::mt19937 random(4);
  const TestMatrix qk = TestMatrix(21, 2 * 2 * 24, 100).fill(random, 0.2f);
  const TestMatrix v = TestMatrix(21, 600, 600).fill(random, 1.0f);
  TestMatrix gates = TestMatrix(21, 12, 12).fill(random, 0.1f);
  for (int64_t r = 0; r < 21; ++r)
    for (int64_t c = 0; c < 12; ++c) gates.view().row(r)[c] += 0.6f;
  const TestMatrix states = TestMatrix(2, 6 * 24 * 100, 6 * 24 * 100).fill(random, 0.3f);
  const auto part = [](const ConstMatrixView& m, int64_t begin, int64_t count) {
    return ConstMatrixView(m.data + begin, m.rows, count, m.stride);
  };
  const auto run = [&](int threads, bool together) {
    Backend backend(threads, "");
    TestMatrix out(19, 600, 601), next(2, 6 * 24 * 100, 6 * 24 * 100);
    const std::vector<DeltaSequence> both = {
        {0, 8, 2, 0, 3, states.view().row(0), next.view().row(0)},
        {8, 13, 0, 6, 12, states.view().row(1), next.view().row(1)}};
    for (size_t i = 0; i < 2; ++i) {
      const auto sequences = together ? std::span(both) : std::span(both).subspan(i, 1);
      delta_rule(backend, part(qk.view(), 0, 48), part(qk.view(), 48, 48), v.view(),
                 part(gates.view(), 0, 6), part(gates.view(), 6, 6), sequences, shape, out.view());
      if (together) break;
    }
    EXPECT_TRUE(out.gaps_untouched());
    std::vector<float> all;
    for (int64_t r = 0; r < 19; ++r)
      all.insert(all.end(), out.view().row(r), out.view().row(r) + 600);
    all.insert(all.end(), next.view().row(0), next.view().row(0) + 2 * 6 * 24 * 100);
    return all;
  };
  const std::vector<float> expected = run(1, true);
  EXPECT_EQ(run(2, true), expected);
  EXPECT_EQ(run(3, false), expected);
}

}  // namespace
}  // namespace onnuri
