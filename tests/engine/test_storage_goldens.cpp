// Tiny checkpoints in every quantised scheme against what transformers answers for the decoded
// weights (tests/golden/make_storage_goldens.py).
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "core/checkpoint.h"
#include "decoder/sampler.h"
#include "onnuri/engine.h"
#include "tests/support/worst.h"

namespace onnuri {
namespace {

constexpr const char* kSchemes[] = {"fp8_block",
                                    "fp8_tensor",
                                    "fbgemm",
                                    "fp8_experts",
                                    "gptq",
                                    "gptq_sym",
                                    "gptq_v2",
                                    "gptq_act_order",
                                    "gptq_int8",
                                    "awq",
                                    "awq_no_zero",
                                    "packed_int4",
                                    "packed_int4_zeros",
                                    "packed_int4_experts",
                                    "packed_int8",
                                    "int_quantized",
                                    "float_quantized",
                                    "float_block",
                                    "nvfp4",
                                    "mxfp4",
                                    "modelopt_nvfp4"};

struct Distance {
  double worst;  // largest difference over the standard deviation
  double mean;   // root mean square over the standard deviation
  int64_t other_winners;
};

Distance distance(const std::string& scheme, const std::string& compute, const std::string& isa) {
  const std::string folder = std::string(ONNURI_TEST_DATA) + "/golden/storage/models/" + scheme;
  const auto golden = Checkpoint::open(folder + "/golden.safetensors");
  const TensorView ids = golden->find("input_ids");
  const TensorView logits = golden->find("logits");
  std::vector<int32_t> input;
  for (int64_t i = 0; i < ids.num_elements(); ++i)
    input.push_back(static_cast<int32_t>(ids.as<int64_t>()[i]));
  EngineOptions options;
  options.compute_dtype = compute;
  options.num_threads = 1;
  options.isa = isa;
  const FloatMatrix found = Engine::load(folder, options)->logits(input, {}, {});
  const float* expected = logits.as<float>();
  const auto n = static_cast<double>(found.values.size());
  double sum = 0, squares = 0, worst = 0, error = 0;
  for (size_t i = 0; i < found.values.size(); ++i) {
    const double difference = std::abs(static_cast<double>(found.values[i]) - expected[i]);
    worst = larger(worst, difference);
    error += difference * difference;
    sum += expected[i];
    squares += static_cast<double>(expected[i]) * expected[i];
  }
  const double deviation = std::sqrt(squares / n - sum / n * sum / n);
  Distance out{worst / deviation, std::sqrt(error / n) / deviation, 0};
  const auto width = static_cast<size_t>(found.cols);
  for (size_t row = 0; row < static_cast<size_t>(found.rows); ++row) {
    if (argmax(std::span(found.values).subspan(row * width, width)) !=
        argmax(std::span(expected + row * width, width)))
      ++out.other_winners;
  }
  return out;
}

class StorageGolden : public testing::TestWithParam<const char*> {};

TEST_P(StorageGolden, Float32LogitsAreThoseOfTheDecodedModel) {
  for (const char* isa : {"", "ref"}) {
    const Distance found = distance(GetParam(), "float32", isa);
    EXPECT_LT(found.worst, 1e-3);
    EXPECT_EQ(found.other_winners, 0);
  }
}

// Int8 activations cost about a hundredth of the deviation per product; these models are untrained,
// so nothing damps it.
TEST_P(StorageGolden, AutoIsClose) {
  const Distance found = distance(GetParam(), "auto", "");
  EXPECT_LT(found.mean, 0.05);
}

INSTANTIATE_TEST_SUITE_P(Schemes, StorageGolden, testing::ValuesIn(kSchemes),
                         [](const auto& param) { return std::string(param.param); });

}  // namespace
}  // namespace onnuri
