// Every golden text checkpoint without one key of its config.json after the other: what is left is
// refused in a message that names the key, or answers as before, or the key is one of those below,
// for which the reference class has a default of its own (docs/families.md;
// tests/golden/compare_random_checkpoints.py --keys compares these answers with the reference).
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <map>
#include <set>

#include "core/checkpoint.h"
#include "core/json.h"
#include "core/mapped_file.h"
#include "onnuri/engine.h"
#include "onnuri/error.h"
#include "tests/core/checkpoint_files.h"

namespace onnuri {
namespace {

namespace fs = std::filesystem;
using testing::TemporaryFolder;

constexpr int64_t kTokens = 24;  // beyond the windows and the original rope lengths

// Keys without which the checkpoint reads as the reference class assumes, and so otherwise.
const std::map<std::string, std::set<std::string>> kDefaults = {
    {"axk1", {"rope_parameters.original_max_position_embeddings"}},
    {"axk2", {"rope_parameters.original_max_position_embeddings"}},
    {"deepseek_v3",
     {"rope_scaling", "rope_scaling.mscale", "rope_scaling.mscale_all_dim",
      "rope_scaling.original_max_position_embeddings"}},
    {"exaone4_5", {"text_config.rope_parameters.original_max_position_embeddings"}},
    {"exaone4_full", {"rope_scaling", "rope_scaling.original_max_position_embeddings"}},
    {"exaone4_hybrid", {"rope_parameters.original_max_position_embeddings"}},
    {"exaone_moe2", {"sliding_windows", "swiglu_limits"}},
    {"gemma3",
     {"query_pre_attn_scalar", "rope_parameters", "rope_parameters.full_attention",
      "sliding_window"}},
    {"gpt_oss", {"rope_parameters.original_max_position_embeddings", "rope_parameters.rope_theta"}},
    {"gpt_oss_mxfp4",
     {"rope_parameters.original_max_position_embeddings", "rope_parameters.rope_theta"}},
    {"hyperclovax", {"attention_multiplier", "rope_parameters", "rope_parameters.rope_theta"}},
    {"hyperclovax_plain", {"attention_multiplier"}},
    {"kanana2", {"rope_interleave"}},
    {"llama", {"rope_scaling", "rope_scaling.original_max_position_embeddings"}},
    {"motif", {"attn_rms_norm_eps", "use_sliding_window"}},
    {"qwen2_windows",
     {"rope_scaling", "rope_scaling.original_max_position_embeddings", "use_sliding_window"}},
    {"qwen3_moe_sparse", {"use_sliding_window"}},
    {"qwen3_windows", {"layer_types"}},
    {"solar_open",
     {"rope_parameters", "rope_parameters.original_max_position_embeddings",
      "rope_parameters.rope_theta"}},
};

std::vector<std::string> folders() {
  std::vector<std::string> out;
  for (const auto& entry : fs::directory_iterator(std::string(ONNURI_TEST_DATA) + "/golden/text"))
    out.push_back(entry.path().filename().string());
  std::sort(out.begin(), out.end());
  return out;
}

/// The object without what the path leads to.
JsonValue without(const JsonValue& value, std::span<const std::string> path) {
  JsonValue::Object members = value.as_object("config");
  const auto at = std::find_if(members.begin(), members.end(),
                               [&](const JsonValue::Member& m) { return m.first == path[0]; });
  if (path.size() == 1)
    members.erase(at);
  else
    at->second = without(at->second, path.subspan(1));
  return members;
}

void add_paths(const JsonValue& value, std::vector<std::string>& path,
               std::vector<std::vector<std::string>>& out) {
  for (const auto& [key, member] : value.as_object("config")) {
    path.push_back(key);
    out.push_back(path);
    const bool read = key != "vision_config" && key != "quantization_config";
    if (member.is_object() && read) add_paths(member, path, out);
    path.pop_back();
  }
}

/// Of a message that names the key, another key that would do, or the tensors it gives a size.
bool names(const std::string& message, const std::string& key) {
  for (const std::string& word : {key, std::string("missing key at"), std::string("shape"),
                                  std::string("tensor"), std::string("known family")})
    if (message.find(word) != std::string::npos) return true;
  return false;
}

class MissingKey : public ::testing::TestWithParam<std::string> {};

TEST_P(MissingKey, IsNamedOrReadAsTheReferenceReadsIt) {
  const std::string from = std::string(ONNURI_TEST_DATA) + "/golden/text/" + GetParam();
  const auto golden = Checkpoint::open(from + "/golden.safetensors");
  const TensorView stored_ids = golden->find("input_ids");
  const TensorView logits = golden->find("logits");
  std::vector<int32_t> ids;
  for (int64_t i = 0; i < kTokens; ++i)
    ids.push_back(static_cast<int32_t>(stored_ids.as<int64_t>()[i]));
  const float largest =
      *std::max_element(logits.as<float>(), logits.as<float>() + logits.num_elements());
  const JsonValue config =
      parse_json(read_text_file(from + "/config.json", 1 << 20), "config.json");
  const TemporaryFolder folder;
  fs::create_symlink(from + "/model.safetensors", folder.path() + "/model.safetensors");
  EngineOptions options;
  options.compute_dtype = "float32";
  options.num_threads = 1;
  std::vector<std::vector<std::string>> paths;
  std::vector<std::string> path;
  add_paths(config, path, paths);
  std::set<std::string> different;
  for (const std::vector<std::string>& missing : paths) {
    std::string place;
    for (const std::string& part : missing) place += (place.empty() ? "" : ".") + part;
    folder.write("config.json", without(config, missing).dump());
    FloatMatrix found;
    try {
      found = Engine::load(folder.path(), options)->logits(ids, {}, {});
    } catch (const Error& error) {
      EXPECT_TRUE(names(error.what(), missing.back())) << place << ": " << error.what();
      continue;
    }
    bool equal = found.cols == logits.shape[1];
    for (int64_t i = 0; equal && i < kTokens * found.cols; ++i)
      equal =
          std::abs(found.values[static_cast<size_t>(i)] - logits.as<float>()[i]) < 1e-4f * largest;
    if (!equal) different.insert(place);
  }
  const auto known = kDefaults.find(GetParam());
  EXPECT_EQ(different, known == kDefaults.end() ? std::set<std::string>{} : known->second);
}

INSTANTIATE_TEST_SUITE_P(Folders, MissingKey, ::testing::ValuesIn(folders()),
                         [](const auto& param) { return param.param; });

}  // namespace
}  // namespace onnuri
