// What the families with latent attention make of a config alone, and how they refuse a bad one.
#include <gtest/gtest.h>

#include <cmath>
#include <functional>

#include "core/checkpoint_table.h"
#include "decoder/kv_cache.h"
#include "engine/model_config.h"
#include "onnuri/error.h"

namespace onnuri {
namespace {

ModelFiles files_of(const std::string& config) {
  ModelFiles files;
  files.path = "model";
  files.checkpoint =
      std::make_shared<CheckpointTable>(CheckpointFormat::kSafetensors, "no weights");
  files.config = parse_json(config, "config.json");
  return files;
}

const std::string kCommon = R"("q_lora_rank": 1536, "kv_lora_rank": 512, "qk_nope_head_dim": 128,
  "qk_rope_head_dim": 64, "v_head_dim": 128, "hidden_act": "silu", "norm_topk_prob": true,
  "routed_scaling_factor": 2.5, "num_experts_per_tok": 8, "n_shared_experts": 1,
  "moe_intermediate_size": 2048, "intermediate_size": 18432, "rms_norm_eps": 1e-6,
  "tie_word_embeddings": false, )";

const std::string kAxk1 = R"({"model_type": "axk1", )" + kCommon + R"("vocab_size": 163840,
  "hidden_size": 7168, "num_hidden_layers": 61, "num_attention_heads": 64,
  "num_key_value_heads": 64, "n_routed_experts": 192, "n_group": 8, "topk_group": 4,
  "first_k_dense_replace": 1, "max_position_embeddings": 131072, "rope_theta": 10000,
  "rope_scaling": {"type": "yarn", "factor": 4, "original_max_position_embeddings": 32768,
                   "beta_fast": 32, "beta_slow": 1, "mscale": 1.0, "mscale_all_dim": 0.0}})";

const std::string kDeepseek =
    R"({"model_type": "deepseek_v3", )" + kCommon + R"("vocab_size": 129280,
  "hidden_size": 7168, "num_hidden_layers": 61, "num_attention_heads": 128,
  "num_key_value_heads": 128, "n_routed_experts": 256, "n_group": 8, "topk_group": 4,
  "first_k_dense_replace": 3, "num_nextn_predict_layers": 1, "max_position_embeddings": 163840,
  "rope_theta": 10000, "rope_scaling": {"type": "yarn", "factor": 40,
    "original_max_position_embeddings": 4096, "mscale": 1.0, "mscale_all_dim": 1.0}})";

const std::string kVaetki = R"({"model_type": "vaetki", )" + kCommon + R"("vocab_size": 137216,
  "hidden_size": 3072, "num_hidden_layers": 6, "num_attention_heads": 24, "n_routed_experts": 128,
  "first_k_dense_replace": 3, "max_position_embeddings": 32768, "rope_theta": 10000,
  "rope_theta_global": 1000000, "sliding_window": 512, "layer_types": ["sliding_attention",
  "sliding_attention", "sliding_attention", "sliding_attention", "sliding_attention",
  "full_attention"]})";

TEST(LatentFamilies, ParametersAndCacheOfAxk1) {
  const DecoderConfig c = map_model(files_of(kAxk1)).decoder;
  EXPECT_EQ(c.num_parameters(), 518983059456);
  EXPECT_NEAR(static_cast<double>(c.num_active_parameters()), 32.7e9, 0.5e9);
  EXPECT_EQ(KvCache::bytes_per_token(c, DType::kF16), 70272);
  // mscale_all_dim 0: the softmax scale stays, cosines and sines grow.
  EXPECT_FLOAT_EQ(c.attention_scale, 1.0f / std::sqrt(192.0f));
  EXPECT_NEAR(c.rope_tables[0].attention_factor, 1.1386f, 1e-4f);
  EXPECT_FALSE(c.layers[0].post_ffn_norm);
  EXPECT_TRUE(c.layers[1].post_ffn_norm);
  EXPECT_FALSE(c.moe.router.correction_bias);
}

TEST(LatentFamilies, ScaleOfDeepseek) {
  const ModelConfig model = map_model(files_of(kDeepseek));
  const double mscale = 0.1 * std::log(40.0) + 1.0;
  EXPECT_NEAR(model.decoder.attention_scale, mscale * mscale / std::sqrt(192.0), 1e-7);
  EXPECT_FLOAT_EQ(model.decoder.rope_tables[0].attention_factor, 1.0f);
  EXPECT_EQ(model.mtp_prefixes, std::vector<std::string>{"model.layers.61."});
  EXPECT_TRUE(model.ignored_prefixes.empty());
  EXPECT_EQ(KvCache::bytes_per_token(model.decoder, DType::kF16), 70272);
  EXPECT_NEAR(static_cast<double>(model.decoder.num_parameters()), 671.0e9, 0.1e9);
}

TEST(LatentFamilies, WindowsOfVaetkiFreeTheirRows) {
  const DecoderConfig c = map_model(files_of(kVaetki)).decoder;
  EXPECT_EQ(KvCache::bytes_per_token(c, DType::kF16), 1152);  // one full layer of six
  EXPECT_EQ(c.layers[4].window, 512);
  EXPECT_EQ(c.layers[5].window, 0);
  EXPECT_FLOAT_EQ(c.rope_tables[1].inv_freq[0], 1.0f / 8.0f);
  EXPECT_TRUE(c.float32_head);
}

std::string without(std::string config, const std::string& key) {
  const size_t at = config.find("\"" + key + "\"");
  return config.replace(at + 1, key.size(), key + "_gone");
}

TEST(LatentFamilies, MissingKeysAreNamed) {
  const std::vector<std::string> shared = {"kv_lora_rank",
                                           "qk_nope_head_dim",
                                           "qk_rope_head_dim",
                                           "v_head_dim",
                                           "norm_topk_prob",
                                           "routed_scaling_factor",
                                           "num_experts_per_tok",
                                           "n_shared_experts",
                                           "moe_intermediate_size",
                                           "intermediate_size",
                                           "rms_norm_eps",
                                           "vocab_size",
                                           "hidden_size",
                                           "num_hidden_layers",
                                           "num_attention_heads",
                                           "n_routed_experts",
                                           "first_k_dense_replace",
                                           "rope_theta",
                                           "max_position_embeddings"};
  const auto expect_named = [](const std::string& config, const std::string& key) {
    try {
      map_model(files_of(without(config, key)));
      ADD_FAILURE() << "accepted without " << key;
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find(key), std::string::npos) << error.what();
    }
  };
  for (const std::string& key : shared) {
    for (const std::string* config : {&kAxk1, &kDeepseek, &kVaetki}) expect_named(*config, key);
  }
  for (const std::string key : {"n_group", "topk_group"}) {
    expect_named(kAxk1, key);
    expect_named(kDeepseek, key);
  }
  expect_named(kAxk1, "q_lora_rank");
  for (const std::string key : {"rope_theta_global", "sliding_window", "layer_types"})
    expect_named(kVaetki, key);
}

const std::string kAxk2 =
    R"({"model_type": "axk2", )" + kCommon + R"("vocab_size": 163840, "hidden_size": 2048,
  "num_hidden_layers": 2, "num_attention_heads": 32, "n_routed_experts": 128, "head_dim": 64,
  "first_k_dense_replace": 1, "max_position_embeddings": 131072, "rope_theta": 10000,
  "qk_head_dim": 192, "index_topk": 2048, "index_n_heads": 16, "index_head_dim": 128,
  "gated_norm_rank": 16, "layer_types": ["indexed_attention", "indexed_attention"]})";

// Keys that the class derives itself: a file that says otherwise is not read past them.
TEST(LatentFamilies, DerivedKeysMayNotContradict) {
  EXPECT_EQ(map_model(files_of(kAxk2)).decoder.head_dim, 192);
  const auto refused = [](std::string config, const std::string& from, const std::string& to,
                          const std::string& key) {
    config.replace(config.find(from), from.size(), to);
    try {
      map_model(files_of(config));
      ADD_FAILURE() << "accepted " << to;
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find(key), std::string::npos) << error.what();
    }
  };
  refused(kAxk2, "\"qk_head_dim\": 192", "\"qk_head_dim\": 128", "qk_head_dim");
  refused(kAxk2, "\"head_dim\": 64", "\"head_dim\": 100", "head_dim");
  refused(kAxk2, "[\"indexed_attention\", ", "[\"full_attention\", ", "layer_types");
  refused(kAxk2, "[\"indexed_attention\", ", "[", "layer_types");
  refused(kAxk2, "\"head_dim\": 64", "\"rope_interleave\": false", "rope_interleave");
  refused(kDeepseek, "\"n_group\": 8", "\"n_group\": 8, \"topk_method\": \"greedy\"",
          "topk_method");
  refused(kDeepseek, "\"n_group\": 8", "\"n_group\": 8, \"layer_types\": [\"sliding_attention\"]",
          "layer_types");
}

TEST(LatentFamilies, ImpossibleSizesAreRefused) {
  const auto with = [](std::string config, const std::string& from, const std::string& to) {
    return config.replace(config.find(from), from.size(), to);
  };
  for (const std::string& bad :
       {with(kDeepseek, "\"num_key_value_heads\": 128", "\"num_key_value_heads\": 8"),
        with(kDeepseek, "\"qk_rope_head_dim\": 64", "\"qk_rope_head_dim\": 63"),
        with(kDeepseek, "\"kv_lora_rank\": 512", "\"kv_lora_rank\": 2000000000"),
        with(kDeepseek, "\"n_group\": 8", "\"n_group\": 7"),
        with(kDeepseek, "\"num_hidden_layers\": 61", "\"num_hidden_layers\": 900000"),
        with(kDeepseek, "\"n_shared_experts\": 1", "\"n_shared_experts\": -1"),
        with(kDeepseek, "\"hidden_act\": \"silu\"", "\"hidden_act\": \"gelu\""),
        with(kDeepseek, "\"num_nextn_predict_layers\": 1", "\"scoring_func\": \"softmax\"")}) {
    EXPECT_THROW(map_model(files_of(bad)), Error) << bad;
  }
}

}  // namespace
}  // namespace onnuri
