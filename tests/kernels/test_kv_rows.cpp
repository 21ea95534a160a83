// Rows of a cache that are bytes with scales: what they hold, against brute force.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <random>
#include <vector>

#include "kernels/kv_rows.h"

namespace onnuri {
namespace {

const DType kCoded[] = {DType::kI8, DType::kF8E4M3, DType::kQ4_1};

std::vector<float> random_row(std::mt19937& random, int64_t n, float spread) {
  std::normal_distribution<float> normal(0.1f, spread);
  std::vector<float> row(static_cast<size_t>(n));
  for (float& x : row) x = normal(random);
  return row;
}

std::vector<float> round_trip(DType dtype, const std::vector<float>& row) {
  const auto n = static_cast<int64_t>(row.size());
  std::vector<uint8_t> bytes(static_cast<size_t>(kv_row_bytes(dtype, n)) + 8, 0xee);
  ref::encode_kv_row(dtype, row.data(), n, bytes.data());
  for (size_t i = bytes.size() - 8; i < bytes.size(); ++i) EXPECT_EQ(bytes[i], 0xee);
  std::vector<float> out(row.size());
  ref::decode_kv_row(dtype, bytes.data(), n, out.data());
  return out;
}

// The 127 magnitudes of e4m3, by definition.
float float8_magnitude(int code) {
  const int exponent = code >> 3, mantissa = code & 7;
  return exponent == 0 ? static_cast<float>(mantissa) / 8.0f * std::exp2(-6.0f)
                       : (1.0f + static_cast<float>(mantissa) / 8.0f) *
                             std::exp2(static_cast<float>(exponent - 7));
}

TEST(KvRows, BytesOfARow) {
  EXPECT_EQ(kv_row_bytes(DType::kF16, 128), 256);
  EXPECT_EQ(kv_row_bytes(DType::kI8, 128), 132);
  EXPECT_EQ(kv_row_bytes(DType::kF8E4M3, 5), 12);
  EXPECT_EQ(kv_row_bytes(DType::kQ4_1, 128), 80);
  EXPECT_EQ(kv_row_bytes(DType::kQ4_1, 33), 40);
  for (const DType dtype : kCoded) EXPECT_EQ(kv_row_bytes(dtype, 0), 0);
}

TEST(KvRows, Int8IsWithinHalfAStep) {
  std::mt19937 random(3);
  for (const int64_t n : {1, 3, 16, 72, 128, 256}) {
    const std::vector<float> row = random_row(random, n, 2.0f);
    float largest = 0;
    for (const float x : row) largest = std::max(largest, std::fabs(x));
    const std::vector<float> out = round_trip(DType::kI8, row);
    for (size_t i = 0; i < row.size(); ++i)
      EXPECT_LE(std::fabs(out[i] - row[i]), largest / 127 * 0.50001f) << n << " " << i;
  }
}

TEST(KvRows, Float8TakesTheNearest) {
  std::mt19937 random(4);
  for (const int64_t n : {1, 7, 64, 200}) {
    std::vector<float> row = random_row(random, n, 1.0f);
    for (size_t i = 0; i < row.size(); i += 5) row[i] *= 1e-3f;  // subnormal beside the largest
    float largest = 0;
    for (const float x : row) largest = std::max(largest, std::fabs(x));
    const float scale = largest / 448.0f;
    const std::vector<float> out = round_trip(DType::kF8E4M3, row);
    for (size_t i = 0; i < row.size(); ++i) {
      float nearest = INFINITY;
      for (int code = 0; code < 127; ++code)
        nearest = std::min(nearest, std::fabs(float8_magnitude(code) * scale - std::fabs(row[i])));
      EXPECT_LE(std::fabs(out[i] - row[i]), nearest * 1.0001f + 1e-9f) << n << " " << i;
    }
  }
}

TEST(KvRows, Int4IsWithinHalfAStepOfItsGroup) {
  std::mt19937 random(5);
  for (const int64_t n : {1, 16, 31, 32, 33, 72, 128}) {
    const std::vector<float> row = random_row(random, n, 3.0f);
    const std::vector<float> out = round_trip(DType::kQ4_1, row);
    for (int64_t i = 0; i < n; ++i) {
      const auto begin = row.begin() + i / 32 * 32;
      const auto end = row.begin() + std::min(n, i / 32 * 32 + 32);
      const auto [least, most] = std::minmax_element(begin, end);
      // Half a step, and what rounding scale and floor to 16 bits adds.
      const float allowed = (*most - *least) / 30 + 1e-3f * (std::fabs(*least) + *most - *least);
      EXPECT_LE(std::fabs(out[static_cast<size_t>(i)] - row[static_cast<size_t>(i)]), allowed);
    }
  }
}

TEST(KvRows, ZerosStayZeros) {
  for (const DType dtype : kCoded)
    for (const float x : round_trip(dtype, std::vector<float>(40, 0.0f))) EXPECT_EQ(x, 0.0f);
}

TEST(KvRows, WhatIsNotFiniteReadsAsNotANumber) {
  for (const DType dtype : kCoded)
    for (const float bad : {NAN, INFINITY, -INFINITY}) {
      std::vector<float> row(32, 1.0f);
      row[9] = bad;
      for (const float x : round_trip(dtype, row)) EXPECT_TRUE(std::isnan(x));
    }
}

}  // namespace
}  // namespace onnuri
