// A number that is not one, wherever it enters, reaches the logits: nothing between may replace it
// by something plausible. Golden checkpoints with one poisoned weight that every row depends on.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>

#include "core/checkpoint.h"
#include "core/json.h"
#include "core/mapped_file.h"
#include "onnuri/engine.h"
#include "tests/core/checkpoint_files.h"

namespace onnuri {
namespace {

using testing::TemporaryFolder;

std::string golden_folder(const std::string& family) {
  return std::string(ONNURI_TEST_DATA) + "/golden/text/" + family;
}

std::string read_bytes(const std::string& path) { return read_text_file(path, 1 << 24); }

/// The file with element `index` of `name` not a number.
std::string poisoned(std::string bytes, const std::string& name, size_t index) {
  uint64_t header_bytes = 0;
  std::memcpy(&header_bytes, bytes.data(), sizeof(header_bytes));
  const JsonValue header = parse_json(bytes.substr(8, header_bytes), "header");
  const JsonValue* tensor = header.find(name);
  if (tensor == nullptr) ADD_FAILURE() << "no tensor " << name;
  if (tensor == nullptr) return bytes;
  const std::string dtype = tensor->at("dtype", "header").as_string("dtype");
  const auto& offsets = tensor->at("data_offsets", "header").as_array("data_offsets");
  const size_t begin = 8 + header_bytes + static_cast<size_t>(offsets[0].as_int("offset"));
  if (dtype == "F32") {
    const float nan = std::numeric_limits<float>::quiet_NaN();
    std::memcpy(bytes.data() + begin + 4 * index, &nan, sizeof(nan));
  } else {
    const uint16_t nan = dtype == "BF16" ? 0x7fc0 : 0x7e00;
    std::memcpy(bytes.data() + begin + 2 * index, &nan, sizeof(nan));
  }
  return bytes;
}

struct Poison {
  const char* family;
  const char* tensor;
  int64_t first_row = 0;  // rows before it do not depend on the tensor
};

// Of the last layer wherever it can be: nothing after it would spread a lost number again.
const Poison kPoisons[] = {
    {"llama", "model.layers.2.input_layernorm.weight"},
    {"llama", "model.layers.2.self_attn.q_proj.weight"},
    {"llama", "model.layers.2.self_attn.k_proj.weight"},
    {"llama", "model.layers.2.self_attn.v_proj.weight"},
    {"llama", "model.layers.2.mlp.gate_proj.weight"},
    {"gemma3", "model.layers.5.self_attn.k_norm.weight"},
    {"gpt_oss", "model.layers.2.self_attn.sinks"},
    {"gpt_oss", "model.layers.2.mlp.router.bias"},
    {"gpt_oss", "model.layers.2.mlp.router.weight"},
    {"qwen3_moe", "model.layers.2.mlp.gate.weight"},
    {"deepseek_v3", "model.layers.2.input_layernorm.weight"},
    {"deepseek_v3", "model.layers.2.self_attn.q_a_proj.weight"},
    {"deepseek_v3", "model.layers.2.self_attn.kv_a_proj_with_mqa.weight"},
    {"deepseek_v3", "model.layers.2.self_attn.kv_b_proj.weight"},
    {"deepseek_v3", "model.layers.2.mlp.gate.weight"},
    {"deepseek_v3", "model.layers.2.mlp.gate.e_score_correction_bias"},
    {"axk2", "model.layers.2.input_layernorm.W_down.weight"},
    {"axk2", "model.layers.2.mlp.gate.e_score_correction_bias"},
    // The indexer chooses nothing before there are more keys than it may keep.
    {"axk2", "model.layers.2.self_attn.indexer.wq_b.weight", 8},
    {"axk2", "model.layers.2.self_attn.indexer.wk.weight", 8},
    {"axk2", "model.layers.2.self_attn.indexer.k_norm.bias", 8},
    {"axk2", "model.layers.2.self_attn.indexer.weights_proj.weight", 8},
    {"motif", "model.layers.2.self_attn.subln.weight"},
    {"motif", "model.layers.2.mlp.act_fn.weight"},
};

class NotANumber : public ::testing::TestWithParam<Poison> {};

TEST_P(NotANumber, ReachesTheLogits) {
  const Poison poison = GetParam();
  const std::string from = golden_folder(poison.family);
  const TemporaryFolder to;
  to.write("config.json", read_bytes(from + "/config.json"));
  to.write("model.safetensors",
           poisoned(read_bytes(from + "/model.safetensors"), poison.tensor, 5));
  const auto golden = Checkpoint::open(from + "/golden.safetensors");
  const TensorView view = golden->find("input_ids");
  std::vector<int32_t> ids;
  for (int64_t i = 0; i < view.num_elements(); ++i)
    ids.push_back(static_cast<int32_t>(view.as<int64_t>()[i]));
  for (const char* compute : {"float32", "auto"}) {
    for (const char* isa : {"", "ref"}) {
      for (const int64_t chunk : {512, 7, 1}) {
        SCOPED_TRACE(std::string(compute) + " " + isa + " " + std::to_string(chunk));
        EngineOptions options;
        options.compute_dtype = compute;
        options.isa = isa;
        options.prefill_chunk = chunk;
        options.num_threads = 1;
        const FloatMatrix found = Engine::load(to.path(), options)->logits(ids, {}, {});
        int64_t numbers = 0;
        for (int64_t i = poison.first_row * found.cols; i < found.rows * found.cols; ++i)
          numbers += !std::isnan(found.values[static_cast<size_t>(i)]);
        EXPECT_EQ(numbers, 0);
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Weights, NotANumber, ::testing::ValuesIn(kPoisons), [](const auto& param) {
  std::string name = std::string(param.param.family) + "_" + param.param.tensor;
  for (char& c : name)
    if (!std::isalnum(static_cast<unsigned char>(c))) c = '_';
  return name;
});

}  // namespace
}  // namespace onnuri
