// Every number in the config.json of every golden text checkpoint, set to what it cannot be: the
// config is refused, and the message names the key and what was found.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <set>

#include "core/json.h"
#include "core/mapped_file.h"
#include "engine/model_config.h"
#include "onnuri/error.h"
#include "tests/core/checkpoint_files.h"

namespace onnuri {
namespace {

namespace fs = std::filesystem;
using testing::TemporaryFolder;

/// Numbers of training, of other readers, and ids, which may be -1.
const std::set<std::string> kUnread = {
    "attention_dropout",    "initializer_range", "pretraining_tp",
    "router_aux_loss_coef", "bos_token_id",      "eos_token_id",
    "pad_token_id",         "image_token_id",    "video_token_id"};
/// Keys that a checkpoint carries and its own other keys switch off.
const std::map<std::string, std::set<std::string>> kSwitchedOff = {
    {"exaone4_5", {"sliding_window_pattern"}},
    {"exaone4_full", {"sliding_window_pattern"}},
    {"exaone4_hybrid", {"sliding_window_pattern"}},
    {"exaone_moe", {"sliding_window_pattern"}},
    {"exaone_moe2", {"num_nextn_predict_layers", "sliding_window"}},
    {"exaone_moe_mtp", {"num_nextn_predict_layers"}},
    {"exaone_moe_odd", {"first_k_dense_replace", "sliding_window_pattern"}},
    {"gemma3", {"_sliding_window_pattern"}},
    {"qwen2", {"max_window_layers"}},
    {"qwen3", {"max_window_layers"}},
    {"qwen3_windows", {"max_window_layers"}},
    {"qwen3_5_moe", {"intermediate_size"}},
    {"qwen3_next", {"intermediate_size"}},
    {"solar_open", {"intermediate_size"}},
};
const std::set<std::string> kMayBeZero = {
    "first_k_dense_replace",    "max_window_layers", "mscale", "mscale_all_dim", "n_shared_experts",
    "num_nextn_predict_layers", "num_shared_experts"};

std::vector<std::string> folders() {
  std::vector<std::string> out;
  for (const auto& entry : fs::directory_iterator(std::string(ONNURI_TEST_DATA) + "/golden/text"))
    out.push_back(entry.path().filename().string());
  std::sort(out.begin(), out.end());
  return out;
}

JsonValue config_of(const std::string& folder) {
  const std::string path =
      std::string(ONNURI_TEST_DATA) + "/golden/text/" + folder + "/config.json";
  return parse_json(read_text_file(path, 1 << 20), "config.json");
}

void add_numbers(const JsonValue& value, std::vector<std::string>& path,
                 std::vector<std::vector<std::string>>& out) {
  for (const auto& [key, member] : value.as_object("config")) {
    path.push_back(key);
    if (member.is_number() && !kUnread.contains(key)) out.push_back(path);
    const bool read = key != "vision_config" && key != "quantization_config";
    if (member.is_object() && read) add_numbers(member, path, out);
    path.pop_back();
  }
}

/// The object with another value at the end of the path.
JsonValue with(const JsonValue& object, std::span<const std::string> path, const JsonValue& value) {
  JsonValue out = object;
  const JsonValue* old = object.find(path[0]);
  out.set(path[0], path.size() == 1 ? value : with(*old, path.subspan(1), value));
  return out;
}

class NonsenseValue : public ::testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    config_ = config_of(GetParam());
    files_ = open_model_files(std::string(ONNURI_TEST_DATA) + "/golden/text/" + GetParam());
  }

  void expect_refused(std::span<const std::string> path, const JsonValue& value,
                      const std::string& found) {
    files_.config = with(config_, path, value);
    try {
      map_model(files_);
      ADD_FAILURE() << path.back() << " = " << found << " is accepted";
    } catch (const Error& error) {
      const std::string message = error.what();
      EXPECT_EQ(error.code(), ErrorCode::kCorruptData) << message;
      EXPECT_NE(message.find(path.back()), std::string::npos) << found << ": " << message;
      EXPECT_NE(message.find("found " + found), std::string::npos) << path.back() << message;
    }
  }

  JsonValue config_;
  ModelFiles files_;
};

TEST_P(NonsenseValue, IsNamed) {
  std::vector<std::vector<std::string>> numbers;
  std::vector<std::string> at;
  add_numbers(config_, at, numbers);
  EXPECT_GT(numbers.size(), 8u);
  const auto off = kSwitchedOff.find(GetParam());
  for (const std::vector<std::string>& path : numbers) {
    const std::string& key = path.back();
    if (off != kSwitchedOff.end() && off->second.contains(key)) continue;
    expect_refused(path, int64_t{-3}, "-3");
    if (!kMayBeZero.contains(key)) expect_refused(path, int64_t{0}, "0");
    expect_refused(path, 1e300, "1e+300");
    expect_refused(path, "three", "a string");
  }
}

// What fits its type and contradicts its neighbours.
TEST_P(NonsenseValue, IsWeighedAgainstOthers) {
  std::vector<std::vector<std::string>> numbers;
  std::vector<std::string> at;
  add_numbers(config_, at, numbers);
  const std::set<std::string> bounded = {"num_experts_per_tok", "n_group", "topk_group"};
  for (const std::vector<std::string>& path : numbers) {
    if (bounded.contains(path.back())) expect_refused(path, int64_t{10007}, "10007");
    if (path.back() == "high_freq_factor") expect_refused(path, 1e-3, "0.001");
  }
  for (const double share : {0.0, -0.5, 1.5}) {
    const std::string text = share == 0.0 ? "0" : share < 0 ? "-0.5" : "1.5";
    std::vector<std::string> path;
    if (config_.find("text_config") != nullptr) path.push_back("text_config");
    path.push_back("partial_rotary_factor");
    if (GetParam() != "vaetki") expect_refused(path, share, text);  // turns what it turns
  }
}

INSTANTIATE_TEST_SUITE_P(Folders, NonsenseValue, ::testing::ValuesIn(folders()),
                         [](const auto& param) { return param.param; });

}  // namespace
}  // namespace onnuri
