// Quantised matrices of every scheme against independent decoders, bit for bit
// (tests/golden/make_storage_goldens.py).
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <random>

#include "core/encoding_parts.h"
#include "core/quantized_checkpoint.h"
#include "core/weight_encoding.h"
#include "kernels/linear.h"

namespace onnuri {
namespace {

constexpr const char* kSchemes[] = {"fp8_block",
                                    "fp8_small_block",
                                    "fp8_tensor",
                                    "fbgemm",
                                    "gptq",
                                    "gptq_sym",
                                    "gptq_v2",
                                    "gptq_act_order",
                                    "gptq_int8",
                                    "awq",
                                    "awq_no_zero",
                                    "packed_int4",
                                    "packed_int4_zeros",
                                    "packed_int8",
                                    "int_quantized",
                                    "float_quantized",
                                    "float_block",
                                    "nvfp4",
                                    "mxfp4",
                                    "modelopt_nvfp4",
                                    "gpt_oss"};

std::shared_ptr<const Checkpoint> open_parts(const std::string& scheme) {
  auto stored = Checkpoint::open(std::string(ONNURI_TEST_DATA) + "/golden/storage/parts/" + scheme +
                                 ".safetensors");
  JsonValue config;
  config.set(
      "quantization_config",
      parse_json(stored->metadata().at("quantization_config", scheme).as_string(scheme), scheme));
  return open_quantized(stored, read_quantization_config(config, scheme));
}

// The quantised matrix of a file and the float32 values that it stands for.
struct Golden {
  std::shared_ptr<const Checkpoint> checkpoint;
  TensorView weight;
  TensorView expected;

  explicit Golden(const std::string& scheme) : checkpoint(open_parts(scheme)) {
    for (const std::string& name : checkpoint->names()) {
      if (!name.starts_with("expected.")) continue;
      expected = checkpoint->find(name);
      weight = checkpoint->find(name.substr(std::strlen("expected.")));
    }
  }
  int64_t cols() const { return expected.shape[-1]; }
  int64_t rows() const { return expected.num_elements() / cols(); }
};

class EncodedWeight : public testing::TestWithParam<const char*> {};

TEST_P(EncodedWeight, DecodesToTheSameBits) {
  const Golden golden(GetParam());
  ASSERT_FALSE(golden.weight.empty());
  ASSERT_NE(golden.weight.encoding, nullptr);
  ASSERT_EQ(golden.weight.shape, golden.expected.shape);
  std::vector<float> found(static_cast<size_t>(golden.expected.num_elements()));
  dequantize(golden.weight, found.data());
  const float* expected = golden.expected.as<float>();
  for (size_t i = 0; i < found.size(); ++i) {
    uint32_t a, b;
    std::memcpy(&a, &found[i], 4);
    std::memcpy(&b, &expected[i], 4);
    ASSERT_EQ(a, b) << "element " << i << ": " << found[i] << " for " << expected[i];
  }
}

TEST_P(EncodedWeight, OnlyTheMatrixIsSeen) {
  const Golden golden(GetParam());
  EXPECT_EQ(golden.checkpoint->names().size(), 2u);
  EXPECT_GT(stored_bytes(golden.weight), golden.expected.num_elements() / 4);
  EXPECT_NE(stored_type(golden.weight), "encoded");
}

TEST_P(EncodedWeight, RowsAndSlices) {
  const Golden golden(GetParam());
  const int64_t cols = golden.cols();
  TensorView weight = golden.weight, expected = golden.expected;
  if (weight.shape.rank() == 3) {
    weight = weight.slice(1);
    expected = expected.slice(1);
  }
  const TensorView part = weight.rows(3, 7);
  std::vector<float> found(static_cast<size_t>(7 * cols));
  dequantize(part, found.data());
  EXPECT_EQ(std::memcmp(found.data(), expected.as<float>() + 3 * cols, found.size() * 4), 0);

  Backend backend(1, "");
  std::vector<float> gathered(static_cast<size_t>(2 * cols));
  const std::vector<int32_t> ids = {5, 0};
  gather_rows(backend, weight, ids, matrix(gathered.data(), 2, cols));
  EXPECT_EQ(
      std::memcmp(gathered.data(), expected.as<float>() + 5 * cols, static_cast<size_t>(cols) * 4),
      0);

  TensorView odd = weight.rows(1, 4);  // every second row: 1, 3, 5, 7
  odd.row_step = 2;
  found.resize(static_cast<size_t>(4 * cols));
  dequantize(odd, found.data());
  for (int64_t r = 0; r < 4; ++r) {
    EXPECT_EQ(std::memcmp(found.data() + r * cols, expected.as<float>() + (1 + 2 * r) * cols,
                          static_cast<size_t>(cols) * 4),
              0);
  }
}

// Products in both compute types against the product of the expected values.
TEST_P(EncodedWeight, Products) {
  const Golden golden(GetParam());
  const int64_t cols = golden.cols(), rows = golden.rows();
  const TensorView weight = golden.weight.reshaped({rows, cols});
  std::mt19937 random(1);
  std::normal_distribution<float> normal;
  constexpr int64_t kInputs = 5;
  std::vector<float> x(static_cast<size_t>(kInputs * cols));
  for (float& v : x) v = normal(random);
  for (const std::string isa : {"ref", ""}) {
    Backend backend(1, isa);
    for (const ComputeType compute : {ComputeType::kFloat32, ComputeType::kAuto}) {
      SCOPED_TRACE(isa + (compute == ComputeType::kAuto ? " auto" : " float32"));
      const PackedMatrix packed = pack_matrix(backend, weight, compute);
      std::vector<float> y(static_cast<size_t>(kInputs * rows));
      linear(backend, matrix(static_cast<const float*>(x.data()), kInputs, cols), packed, nullptr,
             matrix(y.data(), kInputs, rows));
      double error = 0, power = 0;
      for (int64_t m = 0; m < kInputs; ++m) {
        for (int64_t n = 0; n < rows; ++n) {
          double sum = 0;
          for (int64_t k = 0; k < cols; ++k) {
            sum += static_cast<double>(x[static_cast<size_t>(m * cols + k)]) *
                   golden.expected.as<float>()[n * cols + k];
          }
          const double difference = y[static_cast<size_t>(m * rows + n)] - sum;
          error += difference * difference;
          power += sum * sum;
        }
      }
      EXPECT_LT(std::sqrt(error / power), compute == ComputeType::kAuto ? 2e-2 : 1e-6);
    }
  }
}

// Codes stay codes, beside a scale for 16, 32 or more of them.
TEST_P(EncodedWeight, StaysNarrow) {
  const Golden golden(GetParam());
  const std::string scheme = GetParam();
  const WeightEncoding& e = *golden.weight.encoding;
  const bool act_order = !e.group_of_column.empty();
  EXPECT_EQ(act_order, scheme == "gptq_act_order");
  const TensorView weight = golden.weight.reshaped({golden.rows(), golden.cols()});
  Backend backend(1, "");
  const PackedMatrix packed = pack_matrix(backend, weight, ComputeType::kAuto);
  const int64_t padded = (golden.rows() + 15) / 16 * 16 * ((golden.cols() + 63) / 64 * 64);
  // Small blocks fit no record; a byte with a zero of its own has a minimum beside its scale.
  const bool codes = scheme != "fp8_small_block" && scheme != "float_block";
  const int64_t bits = !codes ? 16 : (scheme == "gptq_int8" ? 10 : e.bits == 8 ? 9 : 6);
  EXPECT_LE(packed.resident_bytes() * 8, padded * bits);
}

INSTANTIATE_TEST_SUITE_P(Schemes, EncodedWeight, testing::ValuesIn(kSchemes),
                         [](const auto& param) { return std::string(param.param); });

// The first GPTQ format stores a zero point less one; a stored 15 stands for 0, as in AutoGPTQ,
// which masks the sum to four bits. (Adding one to whole words would carry into the neighbour.)
TEST(Gptq, TheLargestStoredZeroWrapsAround) {
  const std::vector<int32_t> words(8 * 8, 0x76543210);  // (64 / 8, 8): column k has code k % 8
  const std::vector<int32_t> zeros = {static_cast<int32_t>(0xf0f7f0ef), 0x0f1e2d3c};
  const std::vector<uint16_t> scales(16, 0x3c00);
  EncodingParts parts;
  parts.where = "test";
  parts.codes = {words.data(), DType::kI32, {8, 8}};
  parts.zeros = {zeros.data(), DType::kI32, {2, 1}};
  parts.scales = {scales.data(), DType::kF16, {2, 8}};
  for (const bool less_one : {true, false}) {
    QuantizationConfig config;
    config.bits = 4;
    config.group_sizes = {32};
    config.zero_is_stored_less_one = less_one;
    const onnuri::EncodedWeight weight = encode_gptq(parts, config);
    TensorView view{words.data(), DType::kEncoded, weight.shape};
    view.encoding = &weight.encoding;
    std::vector<float> found(8 * 64);
    dequantize(view, found.data());
    for (int n = 0; n < 8; ++n) {
      for (int k = 0; k < 64; ++k) {
        const auto word = static_cast<uint32_t>(zeros[static_cast<size_t>(k / 32)]);
        const int stored = static_cast<int>(word >> (4 * n) & 15);
        const int zero = less_one ? (stored + 1) % 16 : stored;
        ASSERT_EQ(found[static_cast<size_t>(n * 64 + k)], static_cast<float>(k % 8 - zero));
      }
    }
  }
}

}  // namespace
}  // namespace onnuri
