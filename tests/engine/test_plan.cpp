// The plan of a model against the engine that is loaded from it.
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>

#include "core/json.h"
#include "engine/memory_use.h"
#include "engine/model_config.h"
#include "onnuri/error.h"
#include "onnuri/plan.h"

namespace onnuri {
namespace {

namespace fs = std::filesystem;

const std::string kData = ONNURI_TEST_DATA;

PlanOptions small_options() {
  PlanOptions options;
  options.engine.num_threads = 2;
  options.engine.context_size = 96;
  options.engine.prefill_chunk = 40;
  options.image_width = options.image_height = 0;
  options.sound_s = 0;
  return options;
}

JsonValue plan_of(const std::string& path, const PlanOptions& options) {
  return parse_json(plan_model_json(path, options), "plan");
}

int64_t item(const JsonValue& plan, const std::string& name) {
  for (const JsonValue& entry : plan.at("items", "").as_array(""))
    if (entry.at("name", "").as_string("") == name) return entry.at("bytes", "").as_int("");
  return 0;
}

// The first `bytes` of every file of weights, everything else as it is.
class HeadersOnly {
 public:
  explicit HeadersOnly(const std::string& folder)
      : path_(fs::temp_directory_path() / ("onnuri_headers_" + std::to_string(::getpid()))) {
    fs::remove_all(path_);
    fs::copy(folder, path_);
    for (const fs::directory_entry& entry : fs::directory_iterator(path_)) {
      if (entry.path().extension() != ".safetensors") continue;
      uint64_t length = 0;
      std::ifstream(entry.path(), std::ios::binary)
          .read(reinterpret_cast<char*>(&length), sizeof(length));
      fs::resize_file(entry.path(), sizeof(length) + length);
    }
  }
  ~HeadersOnly() { fs::remove_all(path_); }
  std::string path() const { return path_.string(); }

 private:
  fs::path path_;
};

std::vector<std::string> golden_folders() {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(kData + "/golden/text"))
    if (entry.is_directory()) names.push_back(entry.path().filename().string());
  std::sort(names.begin(), names.end());
  return names;
}

class PlanGolden : public ::testing::TestWithParam<std::string> {};

TEST_P(PlanGolden, SizesAreThoseOfTheLoadedEngine) {
  const std::string path = kData + "/golden/text/" + GetParam();
  const PlanOptions options = small_options();
  const JsonValue plan = plan_of(path, options);

  const ModelFiles files = open_model_files(path);
  const std::unique_ptr<Engine> engine =
      find_family(files).make_engine(files, map_model(files), options.engine);
  const auto& measured = dynamic_cast<const MeasuredEngine&>(*engine);
  GenerateRequest request;
  request.input_ids.assign(static_cast<size_t>(options.engine.context_size - 1), 1);
  request.max_new_tokens = 1;
  request.ignore_eos = true;
  engine->generate(request, nullptr);
  const MemoryUse use = measured.memory_use();

  EXPECT_EQ(item(plan, "weights"), use.weights);
  EXPECT_EQ(item(plan, "full layers' keys and values"), use.kv_full);
  EXPECT_EQ(item(plan, "window layers' keys and values"), use.kv_window);
  const int64_t total = use.weights + use.kv_full + use.kv_window + use.scratch;
  const int64_t planned_scratch = item(plan, "working memory of a pass");
  EXPECT_NEAR(static_cast<double>(planned_scratch), static_cast<double>(use.scratch),
              0.03 * static_cast<double>(total));
}

TEST_P(PlanGolden, HeadersAreEnough) {
  const std::string path = kData + "/golden/text/" + GetParam();
  const HeadersOnly headers(path);
  EXPECT_THROW(open_model_files(headers.path()), Error);
  const JsonValue whole = plan_of(path, small_options());
  const JsonValue cut = plan_of(headers.path(), small_options());
  for (const char* name : {"weights", "full layers' keys and values",
                           "window layers' keys and values", "working memory of a pass"})
    EXPECT_EQ(item(cut, name), item(whole, name)) << name;
}

INSTANTIATE_TEST_SUITE_P(Folders, PlanGolden, ::testing::ValuesIn(golden_folders()));

TEST(Plan, ModelOf236BFromItsConfigAlone) {
  PlanOptions options;
  options.engine.context_size = 262144;
  options.engine.kv_dtype = "bf16";
  options.memory_bytes = int64_t{600} << 30;
  const JsonValue plan = plan_of(kData + "/golden/configs/k_exaone_236b.json", options);
  constexpr double kGiB = 1073741824.0;
  // 12 full layers: 262,144 tokens x 2 x 8 heads x 128 x 2 bytes; 36 rings of 128 rows beside them.
  const double kv = static_cast<double>(item(plan, "full layers' keys and values") +
                                        item(plan, "window layers' keys and values")) /
                    kGiB;
  EXPECT_GE(kv, 12.0);
  EXPECT_LE(kv, 1.02 * 12.02);
  // 16-bit weights of 236 billion parameters, all but the table of embeddings.
  EXPECT_NEAR(static_cast<double>(item(plan, "weights")), 2 * 236e9, 4e9);
  EXPECT_TRUE(plan.at("fits", "").as_bool(""));
  EXPECT_EQ(plan.at("largest_context", "").as_int(""), 262144);

  options.memory_bytes = int64_t{445} << 30;  // the weights, and little more
  const JsonValue tight = plan_of(kData + "/golden/configs/k_exaone_236b.json", options);
  EXPECT_FALSE(tight.at("fits", "").as_bool(""));
  EXPECT_EQ(tight.at("limit", "").as_string(""), "keys and values");
  const int64_t largest = tight.at("largest_context", "").as_int("");
  EXPECT_GT(largest, 0);
  EXPECT_LT(largest, 262144);
  options.engine.context_size = largest;
  EXPECT_TRUE(
      plan_of(kData + "/golden/configs/k_exaone_236b.json", options).at("fits", "").as_bool(""));

  options.memory_bytes = int64_t{64} << 30;
  const JsonValue small = plan_of(kData + "/golden/configs/k_exaone_236b.json", options);
  EXPECT_EQ(small.at("limit", "").as_string(""), "weights");
  EXPECT_EQ(small.at("largest_context", "").as_int(""), 0);
}

TEST(Plan, DevicesShareAModel) {
  PlanOptions options;
  options.engine.context_size = 262144;
  options.engine.kv_dtype = "bf16";
  options.device = "h100-80gb";
  const std::string path = kData + "/golden/configs/k_exaone_236b.json";
  const JsonValue one = plan_of(path, options);
  EXPECT_FALSE(one.at("fits", "").as_bool(""));
  EXPECT_EQ(one.at("limit", "").as_string(""), "weights");
  options.tensor_parallel = 8;
  const JsonValue eight = plan_of(path, options);
  EXPECT_TRUE(eight.at("fits", "").as_bool(""));
  EXPECT_EQ(eight.at("available_bytes", "").as_int(""), 80'000'000'000);
  const char* kFull = "full layers' keys and values";
  EXPECT_EQ(8 * item(eight, kFull), item(one, kFull));  // 8 heads: one for each
  // Routers and little else are on every device.
  EXPECT_GT(8 * item(eight, "weights"), item(one, "weights"));
  EXPECT_LT(8 * item(eight, "weights"), 101 * item(one, "weights") / 100);
  EXPECT_EQ(eight.at("needed_bytes_of_all", "").as_int(""),
            8 * eight.at("needed_bytes", "").as_int(""));
  options.tensor_parallel = 16;  // two devices hold the same head
  const JsonValue sixteen = plan_of(path, options);
  EXPECT_EQ(item(sixteen, kFull), item(eight, kFull));
  EXPECT_LT(item(sixteen, "weights"), item(eight, "weights"));
  options.tensor_parallel = 7;
  try {
    plan_of(path, options);
    ADD_FAILURE() << "expected 7 devices to be refused";
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::kInvalidArgument);
    EXPECT_NE(std::string(e.what()).find("(1, 2, 4, 8, 16, 32, 64)"), std::string::npos)
        << e.what();
  }
  options.tensor_parallel = 1;
  options.device = "h1000";
  EXPECT_THROW(plan_of(path, options), Error);
  options.device = "l40s-48gb";
  EXPECT_THROW(check_plan_json(path, options), Error);
}

TEST(Plan, KeysOnDiskTakeTheirCap) {
  PlanOptions options;
  options.engine.context_size = 262144;
  options.engine.kv_dtype = "bf16";
  options.memory_bytes = int64_t{600} << 30;
  options.engine.kv_disk = ".";
  options.engine.kv_ram_bytes = int64_t{3} << 30;
  const std::string path = kData + "/golden/configs/k_exaone_236b.json";
  const char* kFull = "full layers' keys and values";
  const JsonValue one = plan_of(path, options);
  EXPECT_LE(item(one, kFull), int64_t{3} << 30);
  EXPECT_GE(item(one, kFull), int64_t{2} << 30);  // a layer is one of them
  options.concurrency = 2;
  EXPECT_LE(item(plan_of(path, options), kFull), int64_t{3} << 30);
}

// Latents are on every device, the heads that read them are not.
TEST(Plan, LatentsAreNotShared) {
  PlanOptions options = small_options();
  const std::string path = kData + "/golden/text/deepseek_v3";
  const JsonValue one = plan_of(path, options);
  options.tensor_parallel = 2;
  const JsonValue two = plan_of(path, options);
  EXPECT_EQ(item(two, "full layers' keys and values"), item(one, "full layers' keys and values"));
  EXPECT_LT(item(two, "weights"), item(one, "weights"));
  EXPECT_GT(2 * item(two, "weights"), item(one, "weights"));
}

TEST(Plan, ConcurrencyMultipliesTheCaches) {
  const std::string path = kData + "/golden/text/gemma3";
  PlanOptions options = small_options();
  const JsonValue one = plan_of(path, options);
  options.concurrency = 7;
  const JsonValue seven = plan_of(path, options);
  for (const char* name : {"full layers' keys and values", "window layers' keys and values"})
    EXPECT_EQ(item(seven, name), 7 * item(one, name)) << name;
  EXPECT_EQ(item(seven, "weights"), item(one, "weights"));
}

TEST(Plan, EncodersAreInIt) {
  PlanOptions options = small_options();
  const std::string path = kData + "/golden/vision/qwen2_5_vl";
  EXPECT_EQ(item(plan_of(path, options), "working memory of encoders"), 0);
  options.image_width = 112;
  options.image_height = 84;
  const int64_t small = item(plan_of(path, options), "working memory of encoders");
  EXPECT_GT(small, 0);
  options.image_width = 224;
  EXPECT_GT(item(plan_of(path, options), "working memory of encoders"), small);
}

TEST(Plan, RefusesWhatItCannotPlan) {
  const std::string path = kData + "/golden/text/qwen2";
  PlanOptions options = small_options();
  options.concurrency = 0;
  EXPECT_THROW(plan_model_json(path, options), Error);
  options = small_options();
  options.engine.kv_dtype = "int3";
  EXPECT_THROW(plan_model_json(path, options), Error);
  options = small_options();
  options.sound_s = -1;
  EXPECT_THROW(plan_model_json(path, options), Error);
  EXPECT_THROW(plan_model_json(path + "/nothing", small_options()), Error);
}

}  // namespace
}  // namespace onnuri
