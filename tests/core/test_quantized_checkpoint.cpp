// Quantised checkpoints that lie: every mismatch of parts is an error that names the tensor.
#include <gtest/gtest.h>

#include <cstring>
#include <deque>
#include <map>

#include "checkpoint_files.h"
#include "core/quantized_checkpoint.h"

namespace onnuri::testing {
namespace {

// Tensors in memory, zero filled.
class Parts : public Checkpoint {
 public:
  Parts& add(const std::string& name, DType dtype, const Shape& shape) {
    tensors_[name] = Tensor::zeros(dtype, shape);
    names_.clear();
    for (const auto& entry : tensors_) names_.push_back(entry.first);
    return *this;
  }
  Tensor& at(const std::string& name) { return tensors_.at(name); }
  void remove(const std::string& name) {
    tensors_.erase(name);
    names_.clear();
    for (const auto& entry : tensors_) names_.push_back(entry.first);
  }
  CheckpointFormat format() const override { return CheckpointFormat::kSafetensors; }
  TensorView find(std::string_view name) const override {
    const auto it = tensors_.find(std::string(name));
    return it == tensors_.end() ? TensorView() : it->second.view();
  }
  const std::vector<std::string>& names() const override { return names_; }
  const JsonValue& metadata() const override { return metadata_; }
  const std::string& path() const override { return path_; }

 private:
  std::map<std::string, Tensor> tensors_;
  std::vector<std::string> names_;
  JsonValue metadata_;
  std::string path_ = "memory";
};

QuantizationConfig config_of(const std::string& text) {
  return read_quantization_config(parse_json("{\"quantization_config\": " + text + "}", "config"),
                                  "config.json");
}

template <typename F>
std::string error_of(F&& f) {
  try {
    f();
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

void expect_error(const std::shared_ptr<Parts>& parts, const std::string& config,
                  const std::string& text) {
  const std::string found = error_of([&] { open_quantized(parts, config_of(config)); });
  EXPECT_NE(found.find(text), std::string::npos) << found;
}

constexpr const char* kGptq =
    R"({"quant_method": "gptq", "bits": 4, "group_size": 32, "desc_act": false})";
constexpr const char* kFp8 = R"({"quant_method": "fp8", "weight_block_size": [128, 128]})";
constexpr const char* kPacked =
    R"({"quant_method": "compressed-tensors", "format": "pack-quantized",
  "config_groups": {"a": {"weights": {"num_bits": 4, "group_size": 32, "symmetric": true}}}})";

std::shared_ptr<Parts> gptq_parts() {  // (16, 64)
  auto parts = std::make_shared<Parts>();
  parts->add("m.qweight", DType::kI32, {8, 16}).add("m.qzeros", DType::kI32, {2, 2});
  parts->add("m.scales", DType::kF16, {2, 16}).add("m.g_idx", DType::kI32, {64});
  parts->add("m.bias", DType::kF16, {16});
  for (int i = 0; i < 64; ++i) reinterpret_cast<int32_t*>(parts->at("m.g_idx").bytes())[i] = i / 32;
  return parts;
}

std::shared_ptr<Parts> packed_parts() {  // (16, 64)
  auto parts = std::make_shared<Parts>();
  parts->add("m.weight_packed", DType::kI32, {16, 8}).add("m.weight_scale", DType::kBF16, {16, 2});
  parts->add("m.weight_shape", DType::kI64, {2});
  const int64_t shape[2] = {16, 64};
  std::memcpy(parts->at("m.weight_shape").bytes(), shape, sizeof(shape));
  return parts;
}

TEST(QuantizedCheckpoint, OneWeightStandsForItsParts) {
  auto parts = gptq_parts();
  parts->add("m.k_scale", DType::kF32, {1}).add("norm.weight", DType::kBF16, {16});
  const auto checkpoint = open_quantized(parts, config_of(kGptq));
  EXPECT_EQ(checkpoint->names(), (std::vector<std::string>{"m.bias", "m.weight", "norm.weight"}));
  const TensorView weight = checkpoint->find("m.weight");
  EXPECT_EQ(weight.shape, (Shape{16, 64}));
  EXPECT_EQ(stored_bytes(weight), 8 * 16 * 4 + 2 * 2 * 4 + 2 * 16 * 2 + 64 * 4);
  EXPECT_TRUE(checkpoint->find("m.qweight").empty());
}

TEST(QuantizedCheckpoint, GptqPartsMustFit) {
  for (const char* part : {"m.qzeros", "m.scales"}) {
    auto parts = gptq_parts();
    parts->remove(part);
    expect_error(parts, kGptq, part + 2);
  }
  auto parts = gptq_parts();
  parts->add("m.scales", DType::kF16, {2, 15});
  expect_error(parts, kGptq, "scales");
  parts->add("m.scales", DType::kF16, {3, 16});
  expect_error(parts, kGptq, "3 groups for 64 columns");
  parts->add("m.scales", DType::kF16, {0, 16});
  expect_error(parts, kGptq, "0 groups");
  parts->add("m.scales", DType::kI32, {2, 16});
  expect_error(parts, kGptq, "f16");
  parts = gptq_parts();
  parts->add("m.qzeros", DType::kI32, {2, 1});
  expect_error(parts, kGptq, "qzeros");
  parts = gptq_parts();
  parts->add("m.qweight", DType::kI32, {0, 16});
  expect_error(parts, kGptq, "qweight");
  parts = gptq_parts();
  parts->add("m.qweight", DType::kI32, {8, 16, 1});
  expect_error(parts, kGptq, "qweight");
}

TEST(QuantizedCheckpoint, GroupIndicesStayInRange) {
  for (const int32_t bad : {2, -1, INT32_MAX, INT32_MIN}) {
    auto parts = gptq_parts();
    reinterpret_cast<int32_t*>(parts->at("m.g_idx").bytes())[7] = bad;
    expect_error(parts, kGptq, "expected groups below 2");
  }
  auto parts = gptq_parts();
  parts->remove("m.g_idx");
  EXPECT_NO_THROW(open_quantized(parts, config_of(kGptq)));
  expect_error(parts, R"({"quant_method": "gptq", "bits": 4, "group_size": 32, "desc_act": true})",
               "g_idx");
}

TEST(QuantizedCheckpoint, PackedPartsMustFit) {
  EXPECT_NO_THROW(open_quantized(packed_parts(), config_of(kPacked)));
  auto parts = packed_parts();
  for (const int64_t bad : {int64_t{65}, int64_t{0}, int64_t{-8}, INT64_MAX, INT64_MIN}) {
    reinterpret_cast<int64_t*>(parts->at("m.weight_shape").bytes())[1] = bad;
    expect_error(parts, kPacked, "weight_packed");
  }
  parts = packed_parts();
  reinterpret_cast<int64_t*>(parts->at("m.weight_shape").bytes())[0] = INT64_MAX;
  expect_error(parts, kPacked, "weight_packed");
  parts = packed_parts();
  parts->remove("m.weight_shape");
  expect_error(parts, kPacked, "weight_shape");
  parts = packed_parts();
  parts->remove("m.weight_scale");
  expect_error(parts, kPacked, "weight_scale");
  parts = packed_parts();
  parts->add("m.weight_scale", DType::kBF16, {16, 4});
  expect_error(parts, kPacked, "4 groups");
  parts = packed_parts();
  parts->add("m.weight_zero_point", DType::kI32, {1, 2});
  expect_error(parts, kPacked, "weight_zero_point");
}

TEST(QuantizedCheckpoint, Float8NeedsItsScales) {
  auto parts = std::make_shared<Parts>();
  parts->add("m.weight", DType::kF8E4M3, {130, 256});
  expect_error(parts, kFp8, "m.weight_scale_inv");
  parts->add("m.weight_scale_inv", DType::kF32, {1, 2});
  expect_error(parts, kFp8, "blocks of 128 x 128");
  parts->add("m.weight_scale_inv", DType::kF32, {2, 2});
  EXPECT_EQ(open_quantized(parts, config_of(kFp8))->find("m.weight").shape, (Shape{130, 256}));
  parts->add("m.weight_scale_inv", DType::kI32, {2, 2});
  expect_error(parts, kFp8, "scale");
  parts->remove("m.weight");
  expect_error(parts, kFp8, "m.weight_scale_inv");
}

TEST(QuantizedCheckpoint, Float4NeedsItsScales) {
  auto parts = std::make_shared<Parts>();
  const char* config = R"({"quant_method": "modelopt", "quant_algo": "NVFP4"})";
  parts->add("m.weight", DType::kU8, {4, 24}).add("m.weight_scale", DType::kF8E4M3, {4, 3});
  expect_error(parts, config, "weight_scale_2");
  parts->add("m.weight_scale_2", DType::kF32, {1});
  EXPECT_NO_THROW(open_quantized(parts, config_of(config)));
  parts->add("m.weight_scale", DType::kF8E4M3, {4, 4});
  expect_error(parts, config, "weight_scale");
  parts->add("m.weight_scale", DType::kF8E4M3, {4, 3});
  parts->add("x_blocks", DType::kU8, {2, 3, 2, 16});
  expect_error(parts, config, "x_blocks");
}

TEST(QuantizationConfig, UnknownSchemesListTheKnownOnes) {
  const auto error = [](const std::string& text) { return error_of([&] { config_of(text); }); };
  const std::string unknown = error(R"({"quant_method": "bitsandbytes"})");
  EXPECT_NE(unknown.find("compressed-tensors"), std::string::npos) << unknown;
  EXPECT_NE(unknown.find("bitsandbytes"), std::string::npos) << unknown;
  const std::pair<const char*, const char*> cases[] = {
      {R"({"bits": 4})", "quant_method"},
      {R"({"quant_method": "gptq", "bits": 3, "group_size": 128})", "bits"},
      {R"({"quant_method": "gptq", "bits": 4})", "group_size"},
      {R"({"quant_method": "gptq", "bits": 4, "group_size": 0})", "group_size"},
      {R"({"quant_method": "gptq", "bits": 4, "group_size": -7})", "group_size"},
      {R"({"quant_method": "gptq", "bits": 4, "group_size": 128, "checkpoint_format": "marlin"})",
       "checkpoint_format"},
      {R"({"quant_method": "awq", "bits": 4, "group_size": 128, "version": "gemv"})", "version"},
      {R"({"quant_method": "fp8", "weight_block_size": [128]})", "weight_block_size"},
      {R"({"quant_method": "fp8", "weight_block_size": [0, 128]})", "weight_block_size"},
      {R"({"quant_method": "fp8", "fmt": "e5m2"})", "fmt"},
      {R"({"quant_method": "modelopt", "quant_algo": "W4A8_AWQ"})", "quant_algo"},
      {R"({"quant_method": "compressed-tensors", "format": "marlin-24"})", "format"},
      {R"({"quant_method": "compressed-tensors", "format": "dense",
           "sparsity_config": {"format": "sparse-24-bitmask"}})",
       "sparsity_config"}};
  for (const auto& [text, field] : cases) {
    const std::string found = error(text);
    EXPECT_NE(found.find(field), std::string::npos) << text << ": " << found;
  }
}

}  // namespace
}  // namespace onnuri::testing
