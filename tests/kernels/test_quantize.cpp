// Encoders: how near the decoded values come, and that exact values stay exact.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "kernels/linear.h"
#include "kernels/quantize.h"
#include "onnuri/error.h"
#include "tests/kernels/linear_cases.h"

namespace onnuri {
namespace {

std::vector<float> round_trip(DType dtype, const std::vector<float>& x) {
  const auto count = static_cast<int64_t>(x.size());
  std::vector<std::byte> bytes(static_cast<size_t>(dtype_bytes(dtype, count)));
  quantize_row(dtype, x.data(), count, bytes.data());
  std::vector<float> y(x.size());
  dequantize({bytes.data(), dtype, {count}}, y.data());
  return y;
}

double relative_error(const std::vector<float>& x, const std::vector<float>& y) {
  double error = 0, size = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    error += std::pow(static_cast<double>(x[i]) - static_cast<double>(y[i]), 2.0);
    size += std::pow(static_cast<double>(x[i]), 2.0);
  }
  return std::sqrt(error / size);
}

// Bounds a little above what is measured for normal values; plain rounding to the largest value
// leaves 0.085 for 4 bits.
TEST(Quantize, ErrorOfNormalValues) {
  const struct {
    DType dtype;
    double bound;
  } cases[] = {{DType::kF16, 3e-4},   {DType::kBF16, 2e-3},    {DType::kQ8_0, 0.0062},
               {DType::kQ4_0, 0.087}, {DType::kQ4_1, 0.078},   {DType::kQ5_0, 0.044},
               {DType::kQ5_1, 0.039}, {DType::kQ4_K, 0.080},   {DType::kQ5_K, 0.041},
               {DType::kQ6_K, 0.020}, {DType::kIQ4_NL, 0.080}, {DType::kMXFP4, 0.13},
               {DType::kQ2_K, 0.32},  {DType::kQ3_K, 0.17},    {DType::kIQ4_XS, 0.080}};
  std::vector<float> x = testing_linear::random_floats(256 * 64, 3);
  for (float& v : x) v *= 0.02f;
  for (const auto& t : cases) {
    EXPECT_TRUE(is_encodable(t.dtype));
    const double error = relative_error(x, round_trip(t.dtype, x));
    EXPECT_LT(error, t.bound) << dtype_name(t.dtype);
    EXPECT_GT(error, t.bound / 3) << dtype_name(t.dtype);
  }
}

TEST(Quantize, ValuesOnTheGridStayWhatTheyAre) {
  std::vector<float> x(256);
  for (size_t i = 0; i < x.size(); ++i)
    x[i] = 0.25f * static_cast<float>(static_cast<int>(i * 5 % 16) - 8);
  for (const DType d : {DType::kQ4_0, DType::kQ4_1, DType::kQ5_0, DType::kQ5_1}) {
    const std::vector<float> y = round_trip(d, x);
    for (size_t i = 0; i < x.size(); ++i) ASSERT_NEAR(x[i], y[i], 2e-3f) << dtype_name(d) << i;
  }
  const float levels[] = {0, 0.5f, 1, 1.5f, 2, 3, 4, 6};
  for (size_t i = 0; i < x.size(); ++i) x[i] = levels[i % 8] * (i % 3 == 0 ? -1.0f : 1.0f);
  EXPECT_EQ(round_trip(DType::kMXFP4, x), x);
}

TEST(Quantize, ZerosConstantsAndExtremes) {
  for (const DType d : {DType::kQ4_0, DType::kQ4_1, DType::kQ5_0, DType::kQ5_1, DType::kQ8_0,
                        DType::kQ2_K, DType::kQ3_K, DType::kQ4_K, DType::kQ5_K, DType::kQ6_K,
                        DType::kIQ4_NL, DType::kIQ4_XS, DType::kMXFP4}) {
    const std::vector<float> zeros(256, 0.0f);
    EXPECT_EQ(round_trip(d, zeros), zeros) << dtype_name(d);
    for (const float value : {1.0f, -1.0f, 1e-30f, -3e3f}) {
      const std::vector<float> same(256, value);
      for (const float v : round_trip(d, same)) {
        ASSERT_TRUE(std::isfinite(v));
        // Halves cannot hold a scale below 2^-24.
        if (std::fabs(value) > 1e-6f) {
          ASSERT_NEAR(v, value, std::fabs(value) * 0.26f) << dtype_name(d);
        }
      }
    }
    std::vector<float> spike(256, 1e-3f);
    spike[100] = 9.0f;
    EXPECT_NEAR(round_trip(d, spike)[100], 9.0f, 1.2f) << dtype_name(d);
  }
}

TEST(Quantize, OtherTypesAreErrors) {
  const std::vector<float> x(256);
  std::vector<std::byte> out(1024);
  EXPECT_FALSE(is_encodable(DType::kI8));
  EXPECT_THROW(quantize_row(DType::kI8, x.data(), 256, out.data()), Error);
}

TEST(FitSymmetric, FindsTheGrid) {
  const std::vector<float> x = {-0.7f, 0.3f, 0.0f, 0.6f, -0.1f};
  int8_t codes[5];
  const float scale = fit_symmetric(x.data(), 5, -8, 7, codes);
  for (int i = 0; i < 5; ++i)
    EXPECT_NEAR(scale * static_cast<float>(codes[i]), x[static_cast<size_t>(i)], 0.011f);
}

// Values off centre: a zero point saves the codes that one sign would waste.
TEST(FitAffineCodes, UsesAllCodes) {
  std::vector<float> x = testing_linear::random_floats(32 * 64, 5);
  for (float& v : x) v = 0.02f * v + 0.03f;
  double affine = 0, symmetric = 0;
  for (size_t begin = 0; begin < x.size(); begin += 32) {
    const float* part = x.data() + begin;
    const AffineFit fit = fit_affine_codes(part, 32, 15);
    ASSERT_GE(fit.zero, 0);
    ASSERT_LE(fit.zero, 15);
    int8_t codes[32];
    const float scale = fit_symmetric(part, 32, -8, 7, codes);
    for (size_t i = 0; i < 32; ++i) {
      const float code =
          std::clamp(std::nearbyint(part[i] / fit.scale), static_cast<float>(-fit.zero),
                     static_cast<float>(15 - fit.zero));
      affine += std::pow(part[i] - fit.scale * code, 2.0);
      symmetric += std::pow(part[i] - scale * static_cast<float>(codes[i]), 2.0);
    }
  }
  EXPECT_LT(affine, 0.6 * symmetric);
}

TEST(FitAffineCodes, ExactGridsAndConstants) {
  std::vector<float> x(32);
  for (int zero = 0; zero <= 15; ++zero) {
    for (int i = 0; i < 32; ++i) {
      x[static_cast<size_t>(i)] = 0.125f * static_cast<float>(i % 16 - zero);
    }
    const AffineFit fit = fit_affine_codes(x.data(), 32, 15);
    EXPECT_EQ(fit.zero, zero);
    EXPECT_NEAR(fit.scale, 0.125f, 1e-6f);
  }
  const std::vector<float> zeros(32, 0.0f);
  EXPECT_EQ(fit_affine_codes(zeros.data(), 32, 15).scale, 0.0f);
  for (const float value : {0.5f, -0.5f}) {
    const std::vector<float> same(32, value);
    const AffineFit fit = fit_affine_codes(same.data(), 32, 15);
    const float code = std::clamp(std::nearbyint(value / fit.scale), static_cast<float>(-fit.zero),
                                  static_cast<float>(15 - fit.zero));
    EXPECT_NEAR(fit.scale * code, value, 1e-3f);
  }
}

}  // namespace
}  // namespace onnuri
