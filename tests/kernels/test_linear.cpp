// Matrix products through the public contract, on every table this CPU can run.
#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "kernels/linear.h"
#include "onnuri/error.h"
#include "tests/kernels/linear_cases.h"

namespace onnuri {
namespace {

using testing_linear::exact_product;
using testing_linear::random_floats;
using testing_linear::random_weights;
using testing_linear::Weights;

std::vector<std::string> tables() {
  std::vector<std::string> names;
  for (const KernelTableInfo& info : list_kernel_tables()) {
    if (info.supported) names.push_back(info.name);
  }
  return names;
}

class Linear : public testing::TestWithParam<std::string> {};

INSTANTIATE_TEST_SUITE_P(Tables, Linear, testing::ValuesIn(tables()),
                         [](const auto& param) { return param.param; });

std::vector<float> multiply(Backend& backend, const Weights& w, ComputeType compute,
                            const std::vector<float>& x, int64_t num_rows) {
  const PackedMatrix packed = pack_matrix(backend, w.view(), compute);
  std::vector<float> y(static_cast<size_t>(num_rows * w.rows), -1.0f);
  linear(backend, matrix(x.data(), num_rows, w.cols), packed, nullptr,
         matrix(y.data(), num_rows, w.rows));
  return y;
}

const DType kTypes[] = {DType::kF32,    DType::kF16,   DType::kBF16, DType::kF8E4M3, DType::kQ4_0,
                        DType::kQ4_1,   DType::kQ5_0,  DType::kQ5_1, DType::kQ8_0,   DType::kQ2_K,
                        DType::kQ3_K,   DType::kQ4_K,  DType::kQ5_K, DType::kQ6_K,   DType::kIQ4_NL,
                        DType::kIQ4_XS, DType::kMXFP4, DType::kNVFP4};

int64_t cols_for(DType dtype, int64_t blocks) {
  return dtype_info(dtype).block_elements == 1 ? blocks * 31
                                               : blocks * dtype_info(dtype).block_elements;
}

TEST_P(Linear, Float32FollowsTheDecodedWeights) {
  Backend backend(2, GetParam());
  for (const DType dtype : kTypes) {
    const int64_t cols = cols_for(dtype, 3), m = 5;
    const Weights w = random_weights(dtype, 33, cols, 1);
    const std::vector<float> x = random_floats(m * cols, 2);
    const auto y = multiply(backend, w, ComputeType::kFloat32, x, m);
    const auto exact = exact_product(x, w, m);
    for (size_t i = 0; i < y.size(); ++i) {
      ASSERT_NEAR(y[i], exact.y[i], exact.size[i] * 2e-6) << dtype_name(dtype) << " " << i;
    }
  }
}

TEST_P(Linear, RowsAndThreadsDoNotChangeTheBits) {
  for (const DType dtype : kTypes) {
    const int64_t cols = cols_for(dtype, 5), m = 37, n = 200;
    const Weights w = random_weights(dtype, n, cols, 3);
    const std::vector<float> x = random_floats(m * cols, 4);
    Backend one(1, GetParam());
    const auto all = multiply(one, w, ComputeType::kAuto, x, m);
    for (int threads : {2, 3}) {
      Backend backend(threads, GetParam());
      ASSERT_EQ(all, multiply(backend, w, ComputeType::kAuto, x, m)) << dtype_name(dtype);
    }
    for (const int64_t row : {int64_t{0}, int64_t{17}, m - 1}) {
      const std::vector<float> single(x.begin() + row * cols, x.begin() + (row + 1) * cols);
      const auto y = multiply(one, w, ComputeType::kAuto, single, 1);
      for (int64_t i = 0; i < n; ++i) {
        ASSERT_EQ(y[static_cast<size_t>(i)], all[static_cast<size_t>(row * n + i)])
            << dtype_name(dtype) << " row " << row << " output " << i;
      }
    }
  }
}

TEST_P(Linear, ManyRowsAreSplitCorrectly) {
  Backend backend(2, GetParam());
  const int64_t cols = 64, m = 300, n = 40;
  const Weights w = random_weights(DType::kQ4_0, n, cols, 5);
  const std::vector<float> x = random_floats(m * cols, 6);
  const auto all = multiply(backend, w, ComputeType::kAuto, x, m);
  const std::vector<float> last(x.end() - cols, x.end());
  const auto y = multiply(backend, w, ComputeType::kAuto, last, 1);
  EXPECT_TRUE(std::equal(y.begin(), y.end(), all.end() - n));
}

TEST_P(Linear, StackedPartsKeepTheirFormats) {
  Backend backend(2, GetParam());
  const int64_t cols = 256, m = 3;
  const Weights a = random_weights(DType::kQ4_K, 20, cols, 7);
  const Weights b = random_weights(DType::kQ6_K, 5, cols, 8);
  const std::vector<float> x = random_floats(m * cols, 9);
  const TensorView parts[] = {a.view(), b.view()};
  const PackedMatrix packed = pack_matrices(backend, parts, ComputeType::kAuto);
  ASSERT_EQ(packed.rows(), 25);
  std::vector<float> y(static_cast<size_t>(m * 25));
  linear(backend, matrix(x.data(), m, cols), packed, nullptr, matrix(y.data(), m, 25));
  const auto ya = multiply(backend, a, ComputeType::kAuto, x, m);
  const auto yb = multiply(backend, b, ComputeType::kAuto, x, m);
  for (size_t r = 0; r < 3; ++r) {
    for (size_t i = 0; i < 20; ++i) ASSERT_EQ(y[r * 25 + i], ya[r * 20 + i]);
    for (size_t i = 0; i < 5; ++i) ASSERT_EQ(y[r * 25 + 20 + i], yb[r * 5 + i]);
  }
}

TEST_P(Linear, NotANumberStaysOneInEightBits) {
  Backend backend(1, GetParam());
  std::vector<uint8_t> bytes(32, 0x38);
  bytes[17] = 0xff;
  const PackedMatrix packed =
      pack_matrix(backend, {bytes.data(), DType::kF8E4M3, {2, 16}}, ComputeType::kAuto);
  const std::vector<float> x(16, 1.0f);
  float y[2];
  linear(backend, matrix(x.data(), 1, 16), packed, nullptr, matrix(y, 1, 2));
  EXPECT_EQ(y[0], 16.0f);
  EXPECT_TRUE(std::isnan(y[1]));
}

// Rounding a row to eight bits keeps what is not a number in it, and only there.
TEST_P(Linear, NotANumberInTheInputStaysOne) {
  Backend backend(1, GetParam());
  for (const DType dtype : {DType::kQ8_0, DType::kQ4_0, DType::kBF16}) {
    const int64_t cols = 96, n = 5;
    const Weights w = random_weights(dtype, n, cols, 3);
    for (const int64_t at : {0, 9, 40, 63, 95}) {
      std::vector<float> x = random_floats(2 * cols, 4);
      x[static_cast<size_t>(at)] = std::nanf("");
      const auto y = multiply(backend, w, ComputeType::kAuto, x, 2);
      for (size_t i = 0; i < 5; ++i) {
        EXPECT_TRUE(std::isnan(y[i])) << dtype_name(dtype) << " " << at;
        EXPECT_FALSE(std::isnan(y[5 + i])) << dtype_name(dtype) << " " << at;
      }
    }
  }
}

TEST_P(Linear, BiasAndAccumulate) {
  Backend backend(2, GetParam());
  for (const DType dtype : {DType::kF32, DType::kQ8_0, DType::kBF16}) {
    for (const int64_t m : {1, 4}) {
      const int64_t cols = 64, n = 19;
      const Weights w = random_weights(dtype, n, cols, 10);
      const std::vector<float> x = random_floats(m * cols, 11), bias = random_floats(n, 12);
      const std::vector<float> plain = multiply(backend, w, ComputeType::kAuto, x, m);
      std::vector<float> y = random_floats(m * n, 13);
      const std::vector<float> before = y;
      const PackedMatrix packed = pack_matrix(backend, w.view(), ComputeType::kAuto);
      const LinearTask task{&packed, bias.data(), matrix(y.data(), m, n), true};
      linear(backend, matrix(x.data(), m, cols), {&task, 1});
      for (size_t i = 0; i < y.size(); ++i) {
        ASSERT_EQ(y[i], before[i] + (plain[i] + bias[i % static_cast<size_t>(n)]));
      }
    }
  }
}

TEST_P(Linear, StridedViewsLeaveTheirGapsAlone) {
  Backend backend(1, GetParam());
  const int64_t cols = 32, m = 3, n = 17;
  const Weights w = random_weights(DType::kQ5_0, n, cols, 14);
  const std::vector<float> wide = random_floats(m * 50, 15);
  std::vector<float> packed_x;
  for (int64_t r = 0; r < m; ++r) {
    packed_x.insert(packed_x.end(), wide.begin() + r * 50, wide.begin() + r * 50 + cols);
  }
  const PackedMatrix packed = pack_matrix(backend, w.view(), ComputeType::kAuto);
  std::vector<float> y(static_cast<size_t>(m * 30), 7.0f);
  linear(backend, ConstMatrixView(wide.data(), m, cols, 50), packed, nullptr,
         MatrixView{y.data(), m, n, 30});
  const auto dense = multiply(backend, w, ComputeType::kAuto, packed_x, m);
  for (int64_t r = 0; r < m; ++r) {
    for (int64_t i = 0; i < 30; ++i) {
      ASSERT_EQ(y[static_cast<size_t>(r * 30 + i)],
                i < n ? dense[static_cast<size_t>(r * n + i)] : 7.0f);
    }
  }
}

TEST_P(Linear, GroupsUseTheirOwnWeightsAndMayBeEmpty) {
  Backend backend(2, GetParam());
  const int64_t cols = 64, n = 24, m = 7;
  std::vector<Weights> weights;
  std::vector<PackedMatrix> packed;
  for (uint32_t g = 0; g < 4; ++g) {
    weights.push_back(random_weights(DType::kQ4_1, n, cols, 20 + g));
    packed.push_back(pack_matrix(backend, weights.back().view(), ComputeType::kAuto));
  }
  const std::vector<const PackedMatrix*> pointers = {&packed[0], &packed[1], &packed[2],
                                                     &packed[3]};
  const int64_t offsets[] = {0, 2, 2, 3, 7};
  const std::vector<float> x = random_floats(m * cols, 30);
  std::vector<float> y(static_cast<size_t>(m * n));
  linear_grouped(backend, matrix(x.data(), m, cols), offsets, pointers, {}, matrix(y.data(), m, n));
  for (size_t g = 0; g < 4; ++g) {
    for (int64_t r = offsets[g]; r < offsets[g + 1]; ++r) {
      const std::vector<float> row(x.begin() + r * cols, x.begin() + (r + 1) * cols);
      const auto expected = multiply(backend, weights[g], ComputeType::kAuto, row, 1);
      for (int64_t i = 0; i < n; ++i) {
        ASSERT_EQ(y[static_cast<size_t>(r * n + i)], expected[static_cast<size_t>(i)]);
      }
    }
  }
}

TEST_P(Linear, ConvolutionOverFrames) {
  Backend backend(2, GetParam());
  const int64_t frames = 11, cin = 5, cout = 6, kernel = 3, stride = 2, padding = 1;
  const std::vector<float> x = random_floats(frames * cin, 40),
                           w = random_floats(cout * cin * kernel, 41);
  const std::vector<float> bias = random_floats(cout, 42);
  const Tensor as_matrix = conv1d_weight_as_matrix({w.data(), DType::kF32, {cout, cin, kernel}});
  const PackedMatrix packed = pack_matrix(backend, as_matrix.view(), ComputeType::kFloat32);
  const int64_t rows = (frames + 2 * padding - kernel) / stride + 1;
  std::vector<float> y(static_cast<size_t>(rows * cout));
  conv1d(backend, matrix(x.data(), frames, cin), packed, bias.data(), kernel, stride, padding,
         matrix(y.data(), rows, cout));
  for (int64_t t = 0; t < rows; ++t) {
    for (int64_t o = 0; o < cout; ++o) {
      double sum = static_cast<double>(bias[static_cast<size_t>(o)]);
      for (int64_t k = 0; k < kernel; ++k) {
        const int64_t frame = t * stride + k - padding;
        if (frame < 0 || frame >= frames) continue;
        for (int64_t c = 0; c < cin; ++c) {
          sum += static_cast<double>(x[static_cast<size_t>(frame * cin + c)]) *
                 static_cast<double>(w[static_cast<size_t>((o * cin + c) * kernel + k)]);
        }
      }
      ASSERT_NEAR(y[static_cast<size_t>(t * cout + o)], sum, 1e-5);
    }
  }
}

TEST_P(Linear, WrongShapesAndTypesAreErrors) {
  Backend backend(1, GetParam());
  const Weights w = random_weights(DType::kF32, 4, 8, 50);
  const PackedMatrix packed = pack_matrix(backend, w.view(), ComputeType::kAuto);
  std::vector<float> x(64), y(64);
  EXPECT_THROW(linear(backend, matrix(x.data(), 2, 7), packed, nullptr, matrix(y.data(), 2, 4)),
               Error);
  EXPECT_THROW(linear(backend, matrix(x.data(), 2, 8), packed, nullptr, matrix(y.data(), 2, 5)),
               Error);
  EXPECT_THROW(linear(backend, matrix(x.data(), 2, 8), packed, nullptr, matrix(y.data(), 1, 4)),
               Error);
  EXPECT_THROW(
      linear(backend, matrix(x.data(), 2, 8), PackedMatrix(), nullptr, matrix(y.data(), 2, 4)),
      Error);
  const int32_t integers[4] = {};
  EXPECT_THROW(pack_matrix(backend, {integers, DType::kI32, {2, 2}}, ComputeType::kAuto), Error);
  EXPECT_THROW(pack_matrix(backend, {x.data(), DType::kF32, {8}}, ComputeType::kAuto), Error);
  linear(backend, matrix(x.data(), 0, 8), packed, nullptr, matrix(y.data(), 0, 4));
}

}  // namespace
}  // namespace onnuri
