// Decoding of block formats against the reference decoder, bit for bit.
#include <gtest/gtest.h>

#include <bit>
#include <cstring>
#include <fstream>
#include <string>
#include <vector>

#include "kernels/linear.h"
#include "onnuri/error.h"

namespace onnuri {
namespace {

std::vector<char> read_golden(const std::string& name) {
  std::ifstream file(std::string(ONNURI_TEST_DATA) + "/golden/quant/" + name + ".bin",
                     std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

class QuantGolden : public testing::TestWithParam<DType> {};

TEST_P(QuantGolden, DecodesBitForBit) {
  const std::vector<char> file = read_golden(std::string(dtype_name(GetParam())));
  ASSERT_GT(file.size(), 8u);
  int32_t num_bytes = 0, num_values = 0;
  std::memcpy(&num_bytes, file.data(), 4);
  std::memcpy(&num_values, file.data() + 4, 4);
  ASSERT_EQ(file.size(),
            8u + static_cast<size_t>(num_bytes) + 4u * static_cast<size_t>(num_values));
  std::vector<float> expected(static_cast<size_t>(num_values)), found(expected.size());
  std::memcpy(expected.data(), file.data() + 8 + num_bytes, expected.size() * 4);

  const TensorView view{file.data() + 8, GetParam(), {1, num_values}};
  ASSERT_EQ(view.num_bytes(), num_bytes);
  dequantize(view, found.data());
  for (size_t i = 0; i < expected.size(); ++i) {
    ASSERT_EQ(std::bit_cast<uint32_t>(expected[i]), std::bit_cast<uint32_t>(found[i])) << i;
  }

  Backend backend(2, "ref");
  const int32_t ids[] = {1, 0};
  std::vector<float> rows(expected.size());
  gather_rows(backend, view.reshaped({2, num_values / 2}), ids,
              matrix(rows.data(), 2, num_values / 2));
  for (size_t i = 0; i < rows.size(); ++i) {
    ASSERT_EQ(rows[i], expected[(i + rows.size() / 2) % rows.size()]) << i;
  }
}

INSTANTIATE_TEST_SUITE_P(Types, QuantGolden,
                         testing::Values(DType::kQ4_0, DType::kQ4_1, DType::kQ5_0, DType::kQ5_1,
                                         DType::kQ8_0, DType::kQ2_K, DType::kQ3_K, DType::kQ4_K,
                                         DType::kQ5_K, DType::kQ6_K, DType::kIQ4_NL, DType::kIQ4_XS,
                                         DType::kMXFP4, DType::kNVFP4, DType::kF16, DType::kBF16),
                         [](const auto& param) { return std::string(dtype_name(param.param)); });

TEST(Dequantize, SmallFloats) {
  const uint16_t halves[] = {0x3c00, 0xc000, 0x0001, 0x7bff, 0x0400, 0x7c00};
  float out[6];
  dequantize({halves, DType::kF16, {6}}, out);
  EXPECT_EQ(out[0], 1.0f);
  EXPECT_EQ(out[1], -2.0f);
  EXPECT_EQ(out[2], 0x1p-24f);
  EXPECT_EQ(out[3], 65504.0f);
  EXPECT_EQ(out[4], 0x1p-14f);
  EXPECT_EQ(out[5], std::numeric_limits<float>::infinity());
  const uint16_t brain[] = {0x3f80, 0xc000};
  dequantize({brain, DType::kBF16, {2}}, out);
  EXPECT_EQ(out[0], 1.0f);
  EXPECT_EQ(out[1], -2.0f);
  const uint8_t bytes[] = {0x38, 0xc0, 0x01, 0x7e, 0x08};
  dequantize({bytes, DType::kF8E4M3, {5}}, out);
  EXPECT_EQ(out[0], 1.0f);
  EXPECT_EQ(out[1], -2.0f);
  EXPECT_EQ(out[2], 0x1p-9f);
  EXPECT_EQ(out[3], 448.0f);
  EXPECT_EQ(out[4], 0x1p-6f);
  const uint8_t wide[] = {0x3c, 0xc0, 0x01, 0x7b, 0x7c};
  dequantize({wide, DType::kF8E5M2, {5}}, out);
  EXPECT_EQ(out[0], 1.0f);
  EXPECT_EQ(out[1], -2.0f);
  EXPECT_EQ(out[2], 0x1p-16f);
  EXPECT_EQ(out[3], 57344.0f);
  EXPECT_EQ(out[4], std::numeric_limits<float>::infinity());
}

TEST(GatherRows, RefusesIdsOutsideTheTable) {
  Backend backend(1, "ref");
  const float table[] = {1, 2, 3, 4};
  float out[2];
  const int32_t bad[] = {2};
  const int32_t negative[] = {-1};
  const TensorView view{table, DType::kF32, {2, 2}};
  EXPECT_THROW(gather_rows(backend, view, bad, matrix(out, 1, 2)), Error);
  EXPECT_THROW(gather_rows(backend, view, negative, matrix(out, 1, 2)), Error);
}

}  // namespace
}  // namespace onnuri
