// Row kernels: every table against formulas in double, and the ops against their kernels.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <functional>

#include "kernels/backend.h"
#include "kernels/ops.h"
#include "onnuri/error.h"
#include "tests/kernels/test_ops_tables.h"
#include "tests/support/worst.h"

namespace onnuri {
namespace {

class OpsTable : public testing::TestWithParam<TestTable> {
 protected:
  const VectorKernels& kernels() const { return *GetParam().vector; }
  std::mt19937 random{7};
};
INSTANTIATE_TEST_SUITE_P(Tables, OpsTable, testing::ValuesIn(test_tables()),
                         [](const auto& test) { return test.param.name; });

constexpr int64_t kCols[] = {1, 2, 7, 8, 9, 15, 16, 18, 31, 33, 64, 72, 80, 257, 2048};

// |found - expected| within `relative` of the larger of |expected| and `floor`.
void expect_close(double found, double expected, double relative, double floor) {
  EXPECT_LE(std::fabs(found - expected), relative * std::max(std::fabs(expected), floor))
      << "found " << found << ", expected " << expected;
}

TEST_P(OpsTable, RmsNorm) {
  for (const int64_t cols : kCols) {
    for (const int64_t rows : {0, 1, 3}) {
      const TestMatrix x = TestMatrix(rows, cols, cols + 3).fill(random, 2.0f);
      TestMatrix weight = TestMatrix(1, cols, cols).fill(random, 1.0f);
      TestMatrix y(rows, cols, cols + 5);
      for (const bool weighted : {false, true}) {
        kernels().rms_norm(x.view(), weighted ? weight.view().data : nullptr, 1.0f, 1e-5f,
                           y.view());
        for (int64_t r = 0; r < rows; ++r) {
          double sum = 0;
          for (int64_t c = 0; c < cols; ++c) sum += std::pow(double{x.view().row(r)[c]}, 2);
          for (int64_t c = 0; c < cols; ++c) {
            const double unit =
                double{x.view().row(r)[c]} / std::sqrt(sum / static_cast<double>(cols) + 1e-5);
            const double w = weighted ? 1.0 + double{weight.view().data[c]} : 1.0;
            expect_close(double{y.view().row(r)[c]}, unit * w, 1e-6, 1e-3);
          }
        }
        EXPECT_TRUE(y.gaps_untouched());
      }
    }
  }
}

TEST_P(OpsTable, LayerNorm) {
  for (const int64_t cols : kCols) {
    TestMatrix x = TestMatrix(2, cols, cols + 1).fill(random, 1.0f);
    for (int64_t c = 0; c < cols; ++c) x.view().row(1)[c] += 100.0f;  // a mean far from zero
    TestMatrix weight = TestMatrix(1, cols, cols).fill(random, 1.0f);
    TestMatrix bias = TestMatrix(1, cols, cols).fill(random, 1.0f);
    TestMatrix y(2, cols, cols + 2);
    for (const bool biased : {false, true}) {
      kernels().layer_norm(x.view(), weight.view().data, biased ? bias.view().data : nullptr, 1e-5f,
                           y.view());
      for (int64_t r = 0; r < 2; ++r) {
        double sum = 0, squares = 0;
        for (int64_t c = 0; c < cols; ++c) sum += double{x.view().row(r)[c]};
        const double mean = sum / static_cast<double>(cols);
        for (int64_t c = 0; c < cols; ++c)
          squares += std::pow(double{x.view().row(r)[c]} - mean, 2);
        const double inverse = 1 / std::sqrt(squares / static_cast<double>(cols) + 1e-5);
        for (int64_t c = 0; c < cols; ++c) {
          const double expected =
              (double{x.view().row(r)[c]} - mean) * inverse * double{weight.view().data[c]} +
              (biased ? double{bias.view().data[c]} : 0.0);
          // The row around 100 loses digits in its float mean; one column is all cancellation.
          const double slack = r == 0 ? 2e-6 : (cols == 1 ? 1e-2 : 4e-5);
          expect_close(double{y.view().row(r)[c]}, expected, slack, 1.0);
        }
      }
      EXPECT_TRUE(y.gaps_untouched());
    }
  }
}

double activation_in_double(Activation kind, double x) {
  switch (kind) {
    case Activation::kSilu: return x / (1 + std::exp(-x));
    case Activation::kGeluErf: return 0.5 * x * std::erfc(-x / std::sqrt(2.0));
    case Activation::kGeluTanh: {
      const double u = std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x);
      return x / (1 + std::exp(-2 * u));
    }
    case Activation::kQuickGelu: return x / (1 + std::exp(-1.702 * x));
    case Activation::kRelu: return std::max(x, 0.0);
  }
  return 0;
}

TEST_P(OpsTable, ActivationsOverTheirRange) {
  const int64_t cols = 20001;
  TestMatrix x(1, cols, cols), y(1, cols, cols);
  for (int64_t c = 0; c < cols; ++c) {
    x.view().data[c] = -20.0f + 40.0f * static_cast<float>(c) / static_cast<float>(cols - 1);
  }
  for (const Activation kind : {Activation::kSilu, Activation::kGeluErf, Activation::kGeluTanh,
                                Activation::kQuickGelu, Activation::kRelu}) {
    kernels().activate(kind, x.view(), y.view());
    double worst = 0;
    for (int64_t c = 0; c < cols; ++c) {
      const double expected = activation_in_double(kind, double{x.view().data[c]});
      worst = larger(worst, std::fabs(double{y.view().data[c]} - expected) /
                                std::max(1.0, std::fabs(expected)));
    }
    EXPECT_LT(worst, 4e-7) << "activation " << static_cast<int>(kind);
  }
}

TEST_P(OpsTable, ActivationsAtTheEdges) {
  const float edges[] = {0.0f, -0.0f, 88.0f, -88.0f, 200.0f, -200.0f, 1e30f, -1e30f, 1e-30f};
  TestMatrix x(1, 9, 9), y(1, 9, 9);
  std::memcpy(x.view().data, edges, sizeof(edges));
  for (const Activation kind : {Activation::kSilu, Activation::kGeluErf, Activation::kGeluTanh,
                                Activation::kQuickGelu, Activation::kRelu}) {
    kernels().activate(kind, x.view(), y.view());
    for (int i = 0; i < 9; ++i) {
      const float expected = edges[i] > 0.0f ? edges[i] : 0.0f;
      expect_close(double{y.view().data[i]},
                   double{i == 8 && kind != Activation::kRelu ? 0.5f * edges[i] : expected}, 1e-6,
                   1e-6);
    }
  }
  x.view().data[4] = NAN;
  kernels().activate(Activation::kSilu, x.view(), y.view());
  EXPECT_TRUE(std::isnan(y.view().data[4]));
}

TEST_P(OpsTable, Glu) {
  const VectorKernels& plain = ref::vector_kernels();
  for (const int64_t cols : kCols) {
    const TestMatrix x = TestMatrix(3, 2 * cols, 2 * cols + 1).fill(random, 4.0f);
    const ConstMatrixView gate(x.view().data, 3, cols, 2 * cols + 1);
    const ConstMatrixView up(x.view().data + cols, 3, cols, 2 * cols + 1);
    for (const GluKind kind : {GluKind::kSilu, GluKind::kGeluTanh, GluKind::kGeluErf,
                               GluKind::kClampedSilu, GluKind::kSwigluPlus1, GluKind::kPolyNorm}) {
      const float poly[4] = {0.4f, -0.7f, 0.9f, 0.2f};
      const GluParams params{.kind = kind, .limit = 3.0f, .alpha = 1.702f, .poly = poly};
      TestMatrix y(3, cols, cols + 3), expected(3, cols, cols + 3);
      kernels().glu(params, gate, up, y.view());
      plain.glu(params, gate, up, expected.view());
      for (int64_t r = 0; r < 3; ++r) {
        for (int64_t c = 0; c < cols; ++c) {
          expect_close(double{y.view().row(r)[c]}, double{expected.view().row(r)[c]}, 2e-6, 1.0);
        }
      }
      EXPECT_TRUE(y.gaps_untouched());
    }
  }
}

// mean(g^6) = (1 + 64) / 2, mean(g^4) = (1 + 16) / 2, mean(g^2) = (1 + 4) / 2.
TEST_P(OpsTable, PolyNormNormsEveryPowerOverTheRow) {
  const float g[2] = {1.0f, -2.0f}, u[2] = {3.0f, 0.5f}, p[4] = {0.5f, 0.25f, -2.0f, 0.125f};
  float y[2];
  kernels().glu({.kind = GluKind::kPolyNorm, .poly = p}, {g, 1, 2, 2}, {u, 1, 2, 2}, {y, 1, 2, 2});
  const double cube = std::sqrt(32.5 + 1e-6), square = std::sqrt(8.5 + 1e-6);
  const double plain = std::sqrt(2.5 + 1e-6);
  expect_close(double{y[0]}, 3.0 * (0.5 / cube + 0.25 / square - 2.0 / plain + 0.125), 1e-6, 1.0);
  expect_close(double{y[1]}, 0.5 * (-4.0 / cube + 1.0 / square + 4.0 / plain + 0.125), 1e-6, 1.0);
}

TEST_P(OpsTable, PolyNormOfZeroIsItsBias) {
  const float g[3] = {0.0f, 0.0f, 0.0f}, u[3] = {1.0f, 2.0f, 3.0f}, p[4] = {9.0f, 9.0f, 9.0f, 0.5f};
  float y[3];
  kernels().glu({.kind = GluKind::kPolyNorm, .poly = p}, {g, 1, 3, 3}, {u, 1, 3, 3}, {y, 1, 3, 3});
  for (int i = 0; i < 3; ++i) EXPECT_EQ(y[i], 0.5f * u[i]);
}

TEST_P(OpsTable, ClampedGluHoldsItsLimits) {
  TestMatrix x(1, 2, 2), y(1, 1, 1);
  x.view().data[0] = 50.0f;
  x.view().data[1] = -50.0f;
  const ConstMatrixView gate(x.view().data, 1, 1, 2), up(x.view().data + 1, 1, 1, 2);
  kernels().glu({.kind = GluKind::kClampedSilu, .limit = 2.0f}, gate, up, y.view());
  expect_close(double{y.view().data[0]}, 2.0 / (1 + std::exp(-2.0)) * -2.0, 1e-6, 1.0);
  kernels().glu({.kind = GluKind::kSwigluPlus1, .limit = 2.0f, .alpha = 1.5f}, gate, up, y.view());
  expect_close(double{y.view().data[0]}, 2.0 / (1 + std::exp(-3.0)) * -1.0, 1e-6, 1.0);
}

TEST_P(OpsTable, AddAndScale) {
  for (const int64_t cols : kCols) {
    const TestMatrix x = TestMatrix(2, cols, cols + 1).fill(random, 1.0f);
    TestMatrix y = TestMatrix(2, cols, cols + 2).fill(random, 1.0f);
    const TestMatrix before = y;
    kernels().add_scaled(x.view(), 0.5f, y.view());
    kernels().scale_rows(3.0f, y.view());
    for (int64_t r = 0; r < 2; ++r) {
      for (int64_t c = 0; c < cols; ++c) {
        const double sum = double{before.view().row(r)[c]} + 0.5 * double{x.view().row(r)[c]};
        expect_close(double{y.view().row(r)[c]}, 3.0 * sum, 3e-7, 1.0);
      }
    }
    EXPECT_TRUE(y.gaps_untouched());
  }
}

TEST_P(OpsTable, Rope) {
  for (const RopeLayout layout : {RopeLayout::kHalf, RopeLayout::kPairs}) {
    for (const auto& [dim, rotary] : {std::pair<int64_t, int64_t>{64, 64},
                                      {64, 32},
                                      {18, 18},
                                      {18, 10},
                                      {80, 80},
                                      {72, 72},
                                      {5, 2},
                                      {8, 0}}) {
      const int64_t heads = 3, half = rotary / 2;
      TestMatrix x = TestMatrix(4, heads * dim, heads * dim + 2).fill(random, 1.0f);
      const TestMatrix before = x;
      std::vector<float> cos(static_cast<size_t>(4 * half)), sin(cos.size());
      for (size_t i = 0; i < cos.size(); ++i) {
        cos[i] = std::cos(0.37f * static_cast<float>(i));
        sin[i] = std::sin(0.37f * static_cast<float>(i));
      }
      kernels().apply_rope(layout, heads, dim, rotary, cos.data(), sin.data(), x.view());
      TestMatrix expected = before;
      for (int64_t r = 0; r < 4; ++r) {
        for (int64_t h = 0; h < heads; ++h) {
          for (int64_t i = 0; i < half; ++i) {
            const int64_t ia = h * dim + (layout == RopeLayout::kHalf ? i : 2 * i);
            const int64_t ib = h * dim + (layout == RopeLayout::kHalf ? i + half : 2 * i + 1);
            const float a = before.view().row(r)[ia], b = before.view().row(r)[ib];
            const float c = cos[static_cast<size_t>(r * half + i)];
            const float s = sin[static_cast<size_t>(r * half + i)];
            expected.view().row(r)[ia] = a * c - b * s;
            expected.view().row(r)[ib] = b * c + a * s;
          }
        }
        for (int64_t c = 0; c < heads * dim; ++c) {
          expect_close(double{x.view().row(r)[c]}, double{expected.view().row(r)[c]}, 1e-6, 0.5);
        }
      }
      EXPECT_TRUE(x.gaps_untouched());
    }
  }
}

TEST_P(OpsTable, QkNormRopeIsNormThenRope) {
  const int64_t heads = 5, dim = 24, rotary = 16;
  TestMatrix fused = TestMatrix(3, heads * dim, heads * dim + 1).fill(random, 3.0f);
  TestMatrix apart = fused;
  TestMatrix weight = TestMatrix(1, dim, dim).fill(random, 1.0f);
  std::vector<float> cos(3 * rotary / 2, 0.8f), sin(3 * rotary / 2, 0.6f);
  const QkNormRope params{.norm_weight = weight.view().data,
                          .norm_weight_offset = 1.0f,
                          .eps = 1e-6f,
                          .cos = cos.data(),
                          .sin = sin.data(),
                          .layout = RopeLayout::kHalf,
                          .rotary_dim = rotary};
  kernels().qk_norm_rope(params, heads, dim, fused.view());
  for (int64_t r = 0; r < 3; ++r) {
    const MatrixView row{apart.view().row(r), heads, dim, dim};
    kernels().rms_norm(row, weight.view().data, 1.0f, 1e-6f, row);
  }
  kernels().apply_rope(RopeLayout::kHalf, heads, dim, rotary, cos.data(), sin.data(), apart.view());
  for (int64_t r = 0; r < 3; ++r) {
    EXPECT_EQ(0, std::memcmp(fused.view().row(r), apart.view().row(r),
                             sizeof(float) * static_cast<size_t>(heads * dim)));
  }
}

TEST_P(OpsTable, SoftmaxRows) {
  for (const int64_t cols : kCols) {
    TestMatrix x = TestMatrix(2, cols, cols + 3).fill(random, 10.0f);
    const TestMatrix before = x;
    kernels().softmax_rows(x.view());
    for (int64_t r = 0; r < 2; ++r) {
      double max = -1e9, sum = 0;
      for (int64_t c = 0; c < cols; ++c) max = std::max(max, double{before.view().row(r)[c]});
      for (int64_t c = 0; c < cols; ++c) sum += std::exp(double{before.view().row(r)[c]} - max);
      for (int64_t c = 0; c < cols; ++c) {
        const double expected = std::exp(double{before.view().row(r)[c]} - max) / sum;
        expect_close(double{x.view().row(r)[c]}, expected, 4e-6, 1e-12);
      }
    }
    EXPECT_TRUE(x.gaps_untouched());
  }
}

TEST_P(OpsTable, ConvertRowRoundsAsTheReference) {
  std::uniform_int_distribution<uint32_t> bits;
  for (const DType dtype : {DType::kF32, DType::kF16, DType::kBF16}) {
    for (const int64_t n : {int64_t{0}, int64_t{1}, int64_t{13}, int64_t{4096}}) {
      std::vector<float> source(static_cast<size_t>(n));
      for (size_t i = 0; i < source.size(); ++i) {
        const uint32_t b = bits(random);
        std::memcpy(&source[i], &b, sizeof(float));
        if (i % 3 == 0)
          source[i] = std::ldexp(static_cast<float>(b % 4096), -26);  // f16 subnormals
        if (i % 5 == 0) source[i] = 60000.0f + static_cast<float>(b % 8192);
        if (std::isnan(source[i])) source[i] = 1.0f;
      }
      const auto bytes = static_cast<size_t>(n) * (dtype == DType::kF32 ? 4 : 2);
      std::vector<char> found(bytes + 4, 77), expected(bytes + 4, 77);
      kernels().convert_row(dtype, source.data(), n, found.data());
      ref::vector_kernels().convert_row(dtype, source.data(), n, expected.data());
      EXPECT_EQ(found, expected);
    }
  }
  const float nan = NAN;
  uint16_t half = 0, brain = 0;
  kernels().convert_row(DType::kF16, &nan, 1, &half);
  kernels().convert_row(DType::kBF16, &nan, 1, &brain);
  EXPECT_GT(half & 0x7fff, 0x7c00);
  EXPECT_GT(brain & 0x7fff, 0x7f80);
}

TEST_P(OpsTable, NormMayWorkInPlace) {
  TestMatrix x = TestMatrix(2, 100, 100).fill(random, 1.0f);
  TestMatrix y(2, 100, 100);
  kernels().rms_norm(x.view(), nullptr, 0.0f, 1e-6f, y.view());
  kernels().rms_norm(x.view(), nullptr, 0.0f, 1e-6f, x.view());
  EXPECT_EQ(0, std::memcmp(x.view().data, y.view().data, 200 * sizeof(float)));
}

// Runs `op` with 1, 2 and 3 threads; the bits must agree.
void expect_same_for_threads(const std::function<void(Backend&, MatrixView)>& op) {
  std::mt19937 random(3);
  const TestMatrix x = TestMatrix(301, 256, 256).fill(random, 1.0f);
  std::vector<TestMatrix> results;
  for (const int threads : {1, 2, 3}) {
    Backend backend(threads, "");
    results.push_back(x);
    op(backend, results.back().view());
  }
  for (size_t i = 1; i < results.size(); ++i) {
    EXPECT_EQ(0, std::memcmp(results[i].view().data, results[0].view().data, 301 * 256 * 4));
  }
  EXPECT_NE(0, std::memcmp(x.view().data, results[0].view().data, 301 * 256 * 4));
}

TEST(Ops, ThreadsDoNotChangeBits) {
  std::vector<float> w(256, 1.5f), cos(301 * 32), sin(301 * 32);
  for (size_t i = 0; i < cos.size(); ++i) {
    cos[i] = std::cos(static_cast<float>(i));
    sin[i] = std::sin(static_cast<float>(i));
  }
  expect_same_for_threads(
      [&](Backend& b, MatrixView x) { rms_norm(b, x, w.data(), 0.0f, 1e-6f, x); });
  expect_same_for_threads(
      [&](Backend& b, MatrixView x) { layer_norm(b, x, w.data(), nullptr, 1e-6f, x); });
  expect_same_for_threads(
      [&](Backend& b, MatrixView x) { activate(b, Activation::kGeluErf, x, x); });
  expect_same_for_threads([&](Backend& b, MatrixView x) { add_scaled(b, x, 0.3f, x); });
  expect_same_for_threads([&](Backend& b, MatrixView x) { scale_rows(b, 0.3f, x); });
  expect_same_for_threads([&](Backend& b, MatrixView x) { softmax_rows(b, x); });
  expect_same_for_threads([&](Backend& b, MatrixView x) {
    apply_rope(b, RopeLayout::kPairs, 4, 64, 64, cos.data(), sin.data(), x);
  });
  expect_same_for_threads([&](Backend& b, MatrixView x) {
    qk_norm_rope(b,
                 {.norm_weight = w.data(), .cos = cos.data(), .sin = sin.data(), .rotary_dim = 64},
                 4, 64, x);
  });
  expect_same_for_threads([&](Backend& b, MatrixView x) {
    glu(b, {}, x, MatrixView{x.data, x.rows, 128, 256});  // over its own gate half
  });
}

TEST(Ops, WrongShapesAreRefused) {
  Backend backend(1, "ref");
  TestMatrix a(2, 8, 8), b(2, 9, 9);
  EXPECT_THROW(rms_norm(backend, a.view(), nullptr, 0, 1e-6f, b.view()), Error);
  EXPECT_THROW(add_scaled(backend, a.view(), 1, b.view()), Error);
  EXPECT_THROW(glu(backend, {}, b.view(), a.view()), Error);
  EXPECT_THROW(apply_rope(backend, RopeLayout::kHalf, 3, 4, 4, nullptr, nullptr, a.view()), Error);
  EXPECT_THROW(
      apply_rope(backend, RopeLayout::kHalf, 1, 8, 3, a.view().data, a.view().data, a.view()),
      Error);
}

}  // namespace
}  // namespace onnuri
