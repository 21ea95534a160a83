// Families from their config alone: published totals, keys that are missing or wrong, layer rules.
#include <gtest/gtest.h>

#include <cstring>
#include <fstream>
#include <iterator>

#include "core/mapped_file.h"
#include "engine/model_config.h"
#include "onnuri/error.h"
#include "tests/core/checkpoint_files.h"

namespace onnuri {
namespace {

using testing::TemporaryFolder;

JsonValue stored_config(const std::string& name) {
  const std::string path = std::string(ONNURI_TEST_DATA) + "/golden/configs/" + name + ".json";
  return parse_json(read_text_file(path, 1 << 20), "config.json");
}

/// Files of a folder whose checkpoint holds nothing but one small tensor of this name.
ModelFiles files_of(const TemporaryFolder& folder, JsonValue config, const std::string& tensor) {
  const Tensor values = Tensor::zeros(DType::kF32, {1});
  write_safetensors(folder.path() + "/model.safetensors", {{tensor, values.view()}});
  ModelFiles files;
  files.path = folder.path();
  files.checkpoint = Checkpoint::open(folder.path() + "/model.safetensors");
  files.config = std::move(config);
  return files;
}

DecoderConfig map_config(JsonValue config, const std::string& tensor = "any") {
  const TemporaryFolder folder;
  return map_model(files_of(folder, std::move(config), tensor)).decoder;
}

std::string error_of(JsonValue config) {
  try {
    map_config(std::move(config));
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

TEST(FamilyConfigs, PublishedParameterTotals) {
  EXPECT_EQ(map_config(stored_config("exaone4_32b")).num_parameters(), 32003216384);
  EXPECT_EQ(map_config(stored_config("exaone4_1.2b")).num_parameters(), 1279391488);
  EXPECT_EQ(map_config(stored_config("midm_2.3b")).num_parameters(), 2305517312);
  EXPECT_EQ(map_config(stored_config("k_exaone_236b")).num_parameters(), 236571156352);
  EXPECT_EQ(map_config(stored_config("hyperclovax_14b"), "model.layers.0.post_norm1.weight")
                .num_parameters(),
            14748112896);
}

TEST(FamilyConfigs, PublishedRoundedTotals) {
  const DecoderConfig solar = map_config(stored_config("solar_open_100b"));
  EXPECT_NEAR(static_cast<double>(solar.num_parameters()), 102.65e9, 5e6);
  EXPECT_NEAR(static_cast<double>(solar.num_active_parameters()), 12.05e9, 5e6);
  const DecoderConfig oss = map_config(stored_config("gpt_oss_120b"));
  EXPECT_NEAR(static_cast<double>(oss.num_parameters()), 116.83e9, 5e6);
}

// The window is told apart from positions: full layers lose theirs wherever a width is given.
TEST(FamilyConfigs, FullLayersBesideAWindowHaveNoPositions) {
  for (const char* name : {"exaone4_32b", "k_exaone_236b"}) {
    SCOPED_TRACE(name);
    JsonValue config = stored_config(name);
    const DecoderConfig hybrid = map_config(config);
    for (size_t i = 0; i < hybrid.layers.size(); ++i) {
      EXPECT_EQ(hybrid.layers[i].rope, i % 4 == 3 ? -1 : 0);
      EXPECT_EQ(hybrid.layers[i].window > 0, i % 4 != 3);
    }
    JsonValue::Array types;
    for (size_t i = 0; i < hybrid.layers.size(); ++i) types.emplace_back("full_attention");
    config.set("layer_types", std::move(types));
    for (const LayerSpec& layer : map_config(config).layers) {
      EXPECT_EQ(layer.window, 0);
      EXPECT_EQ(layer.rope, -1);
    }
    config.set("sliding_window", JsonValue());
    for (const LayerSpec& layer : map_config(config).layers) EXPECT_EQ(layer.rope, 0);
  }
}

TEST(FamilyConfigs, WindowsAndClampsOfEachLayer) {
  JsonValue config = stored_config("k_exaone_236b");
  config.set("num_hidden_layers", int64_t{4});
  const JsonValue lists =
      parse_json(R"({"windows": [128, null, 64, 0], "limits": [0, 7.5, null, 2]})", "lists");
  config.set("sliding_windows", *lists.find("windows"));
  config.set("swiglu_limits", *lists.find("limits"));
  const DecoderConfig decoder = map_config(config);
  const int64_t windows[] = {128, 0, 64, 0};
  const float limits[] = {0.0f, 7.5f, 0.0f, 2.0f};
  for (size_t i = 0; i < 4; ++i) {
    SCOPED_TRACE(i);
    EXPECT_EQ(decoder.layers[i].window, windows[i]);
    EXPECT_EQ(decoder.layers[i].rope, windows[i] > 0 ? 0 : -1);
    EXPECT_EQ(decoder.layers[i].activation.kind,
              limits[i] > 0 ? GluKind::kClampedSilu : GluKind::kSilu);
    EXPECT_EQ(decoder.layers[i].activation.limit, limits[i]);
  }
  config.set("num_hidden_layers", int64_t{5});
  EXPECT_NE(error_of(config).find("sliding_windows"), std::string::npos);
  config.set("sliding_windows", JsonValue());
  EXPECT_NE(error_of(config).find("swiglu_limits"), std::string::npos);
}

TEST(FamilyConfigs, MissingKeysAreNamed) {
  const std::pair<const char*, std::vector<const char*>> cases[] = {
      {"midm_2.3b", {"hidden_size", "vocab_size", "rms_norm_eps", "max_position_embeddings"}},
      {"exaone4_32b", {"rope_theta", "intermediate_size"}},
      {"hyperclovax_14b", {"embedding_multiplier", "residual_multiplier", "logits_scaling"}},
      {"k_exaone_236b",
       {"num_experts", "num_experts_per_tok", "moe_intermediate_size", "num_shared_experts",
        "norm_topk_prob", "routed_scaling_factor", "first_last_k_dense_replace"}},
      {"solar_open_100b", {"n_routed_experts", "norm_topk_prob", "routed_scaling_factor"}},
      {"gpt_oss_120b", {"num_local_experts", "sliding_window", "num_experts_per_tok"}}};
  for (const auto& [name, keys] : cases) {
    for (const char* key : keys) {
      JsonValue config = stored_config(name);
      config.set(key, JsonValue());
      const std::string message = error_of(config);
      EXPECT_NE(message.find("missing key at config.json: "), std::string::npos) << message;
      EXPECT_NE(message.find(key), std::string::npos) << name << ": " << message;
    }
  }
}

JsonValue without(const JsonValue& config, const std::string& key) {
  JsonValue::Object members = config.as_object("config.json");
  std::erase_if(members, [&](const JsonValue::Member& member) { return member.first == key; });
  return members;
}

// The reference classes assume a width where the key is absent, and none where it is null.
TEST(FamilyConfigs, AbsentIsNotNull) {
  for (const char* name : {"exaone4_32b", "exaone4_1.2b", "k_exaone_236b"}) {
    JsonValue config = stored_config(name);
    EXPECT_EQ(error_of(without(config, "sliding_window")),
              "missing key at config.json: sliding_window");
    config.set("sliding_window", JsonValue());
    for (const LayerSpec& layer : map_config(config).layers) {
      EXPECT_EQ(layer.window, 0);
      EXPECT_EQ(layer.rope, 0);
    }
  }
  const JsonValue exaone = stored_config("exaone4_32b");
  EXPECT_NE(error_of(without(exaone, "num_key_value_heads")).find("num_key_value_heads"),
            std::string::npos);
  const JsonValue llama = stored_config("midm_2.3b");
  EXPECT_EQ(map_config(without(llama, "num_key_value_heads")).num_kv_heads, 32);
  const JsonValue oss = without(stored_config("gpt_oss_120b"), "rope_scaling");
  EXPECT_EQ(error_of(oss), "missing key at config.json: rope_scaling");
}

TEST(FamilyConfigs, WindowsOfMistralHoldForEveryLayer) {
  JsonValue config = stored_config("midm_2.3b");
  config.set("model_type", "mistral");
  EXPECT_NE(error_of(config).find("missing key at config.json: sliding_window"), std::string::npos);
  config.set("sliding_window", int64_t{4096});
  for (const LayerSpec& layer : map_config(config).layers) EXPECT_EQ(layer.window, 4096);
  config.set("sliding_window", JsonValue());
  EXPECT_EQ(map_config(config).num_parameters(), 2305517312);
}

TEST(FamilyConfigs, SlidingLayersNeedAWindow) {
  JsonValue config = stored_config("midm_2.3b");
  config.set("model_type", "qwen2");
  JsonValue::Array types(48, "full_attention");
  config.set("layer_types", types);
  EXPECT_EQ(error_of(config), "no error");
  types[5] = "sliding_attention";
  config.set("layer_types", types);
  EXPECT_NE(error_of(config).find("use_sliding_window"), std::string::npos);
}

TEST(FamilyConfigs, HostileCountsAreRefused) {
  JsonValue config = stored_config("k_exaone_236b");
  config.set("num_shared_experts", int64_t{1} << 40);
  EXPECT_NE(error_of(config).find("num_shared_experts"), std::string::npos);
  config = stored_config("k_exaone_236b");
  config.set("num_shared_experts", int64_t{-1});
  EXPECT_NE(error_of(config).find("num_shared_experts"), std::string::npos);
  config = stored_config("solar_open_100b");
  config.set("num_experts_per_tok", int64_t{129});
  EXPECT_NE(error_of(config).find("num_experts_per_tok"), std::string::npos);
}

/// What a GGUF file answers when one 32-bit count of its keys is another.
std::string error_of_gguf(const std::string& key, uint32_t value) {
  const std::string path = std::string(ONNURI_TEST_DATA) + "/golden/gguf/exaone_moe.gguf";
  std::ifstream in(path, std::ios::binary);
  std::string bytes((std::istreambuf_iterator<char>(in)), std::istreambuf_iterator<char>());
  const size_t at = bytes.find(key);
  if (at == std::string::npos) return "no such key";
  std::memcpy(bytes.data() + at + key.size() + sizeof(uint32_t), &value, sizeof(value));
  const TemporaryFolder folder;
  try {
    map_model(open_model_files(folder.write("model.gguf", bytes)));
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

TEST(FamilyConfigs, HostileCountsOfGgufFilesAreRefused) {
  EXPECT_EQ(error_of_gguf("exaone-moe.nextn_predict_layers", 1), "no error");
  for (const uint32_t count : {5u, 6u, 5000u, 0xffffffffu}) {
    const std::string message = error_of_gguf("exaone-moe.nextn_predict_layers", count);
    EXPECT_TRUE(message.find("nextn_predict_layers") != std::string::npos ||
                message.find("block_count") != std::string::npos)
        << count << ": " << message;
  }
  for (const char* key : {"exaone-moe.expert_shared_count", "exaone-moe.leading_dense_block_count",
                          "exaone-moe.expert_feed_forward_length"}) {
    const std::string message = error_of_gguf(key, 0x7fffffffu);
    EXPECT_NE(message.find("found 2147483647"), std::string::npos) << key << ": " << message;
  }
}

TEST(FamilyConfigs, ScalingsThatNobodyRunsAreRefused) {
  JsonValue config = stored_config("midm_2.3b");
  JsonValue scaling;
  scaling.set("rope_type", "longrope");
  config.set("rope_scaling", std::move(scaling));
  EXPECT_NE(error_of(config).find("rope scaling \"longrope\""), std::string::npos);
}

TEST(FamilyConfigs, UnknownFamiliesListTheKnownOnes) {
  JsonValue config;
  config.set("model_type", "nobody");
  const std::string message = error_of(config);
  for (const char* name : {"nobody", "llama", "qwen3_moe", "gpt_oss", "solar_open", "hyperclovax"})
    EXPECT_NE(message.find(name), std::string::npos) << message;
}

}  // namespace
}  // namespace onnuri
