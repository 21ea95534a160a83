// What a config implies (parameters, frequencies) and what it may not say.
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>

#include "decoder/rope_angles.h"
#include "onnuri/error.h"
#include "tests/support/random_decoder.h"

namespace onnuri {
namespace {

DecoderConfig shape(int64_t layers, int64_t hidden, int64_t intermediate, int64_t heads,
                    int64_t kv_heads, int64_t head_dim, int64_t vocab) {
  DecoderConfig c;
  c.vocab_size = vocab;
  c.hidden_size = hidden;
  c.num_heads = heads;
  c.num_kv_heads = kv_heads;
  c.head_dim = c.v_dim = head_dim;
  LayerSpec layer;
  layer.intermediate_size = intermediate;
  c.layers.assign(static_cast<size_t>(layers), layer);
  return c;
}

// Published exact totals of released checkpoints.
TEST(DecoderConfig, CountsParameters) {
  DecoderConfig exaone = shape(64, 5120, 27392, 40, 8, 128, 102400);
  for (LayerSpec& layer : exaone.layers) layer.qk_norm = true;
  EXPECT_EQ(exaone.num_parameters(), 32003216384);

  DecoderConfig exaone_small = shape(30, 2048, 4096, 32, 8, 64, 102400);
  for (LayerSpec& layer : exaone_small.layers) layer.qk_norm = true;
  exaone_small.tied_head = true;
  EXPECT_EQ(exaone_small.num_parameters(), 1279391488);

  DecoderConfig hyperclova = shape(38, 6144, 14336, 48, 8, 128, 110592);
  for (LayerSpec& layer : hyperclova.layers) layer.post_mixer_norm = layer.post_ffn_norm = true;
  EXPECT_EQ(hyperclova.num_parameters(), 14748112896);

  DecoderConfig midm = shape(48, 1792, 4608, 32, 8, 128, 131392);
  midm.tied_head = true;
  EXPECT_EQ(midm.num_parameters(), 2305517312);

  DecoderConfig k_exaone = shape(48, 6144, 18432, 64, 8, 128, 153600);
  k_exaone.moe = {128, 8, 2048, 2048, false, {}};
  k_exaone.moe.router.correction_bias = true;
  for (size_t i = 0; i < k_exaone.layers.size(); ++i) {
    k_exaone.layers[i].qk_norm = true;
    if (i > 0) k_exaone.layers[i].ffn = FfnKind::kMoe;
  }
  EXPECT_EQ(k_exaone.num_parameters(), 236571156352);
  EXPECT_NEAR(static_cast<double>(k_exaone.num_active_parameters()), 23.7e9, 0.5e9);
}

TEST(DecoderConfig, CountsLatentAttention) {
  // A published total of 518,983,059,456 holds one norm of width 7168 that the dense layer stores
  // and nobody reads.
  DecoderConfig c = shape(61, 7168, 18432, 64, 64, 192, 163840);
  c.mla = {1536, 512, 128, 64, 128, 1e-6f, {}};
  c.moe = {192, 8, 2048, 2048, false, {}};
  for (size_t i = 0; i < c.layers.size(); ++i) {
    c.layers[i].mixer = MixerKind::kMla;
    if (i == 0) continue;
    c.layers[i].ffn = FfnKind::kMoe;
    c.layers[i].post_ffn_norm = true;
  }
  EXPECT_EQ(c.num_parameters(), 518983059456 - 7168);
}

// The sum over the shapes of the released differential checkpoints, by hand: per layer the products
// of q, k, v, o, gate, up and down, two norms, four lambdas, the norm of a head, and 4 numbers of
// the activation.
TEST(DecoderConfig, CountsDifferentialAttention) {
  DecoderConfig c = shape(32, 2048, 8192, 16, 16, 128, 219520);
  c.tied_head = true;
  c.differential.num_noise_heads = 8;
  for (LayerSpec& layer : c.layers) {
    layer.mixer = MixerKind::kDifferential;
    layer.activation.kind = GluKind::kPolyNorm;
  }
  const int64_t small = 4 * 2048 * 2048 + 3 * 2048 * 8192 + 2 * 2048 + 4 * 128 + 256 + 4;
  EXPECT_EQ(c.num_parameters(), int64_t{219520} * 2048 + 2048 + 32 * small);

  c = shape(40, 4096, 16384, 40, 16, 128, 219520);
  c.differential.num_noise_heads = 8;
  for (LayerSpec& layer : c.layers) {
    layer.mixer = MixerKind::kGroupedDifferential;
    layer.activation.kind = GluKind::kPolyNorm;
  }
  c.validate();
  const int64_t grouped = int64_t{4096} * (5120 + 2048 + 2048 + 8192) + 3 * int64_t{4096} * 16384 +
                          2 * 4096 + 4 * 128 + 256 + 4;
  EXPECT_EQ(c.num_parameters(), 2 * int64_t{219520} * 4096 + 4096 + 40 * grouped);
  EXPECT_NEAR(static_cast<double>(c.num_parameters()), 12.7e9, 0.05e9);
}

TEST(DecoderConfig, NamesWhatItRefuses) {
  struct Case {
    ErrorCode code;
    const char* part;
    std::function<void(DecoderConfig&)> change;
  };
  const auto corrupt = ErrorCode::kCorruptData;
  const auto unsupported = ErrorCode::kUnsupported;
  const Case cases[] = {
      {corrupt, "vocab_size", [](auto& c) { c.vocab_size = 0; }},
      {corrupt, "hidden_size", [](auto& c) { c.hidden_size = int64_t{1} << 40; }},
      {corrupt, "num_kv_heads", [](auto& c) { c.num_kv_heads = 3; }},
      {corrupt, "head_dim", [](auto& c) { c.head_dim = -4; }},
      {corrupt, "number of layers", [](auto& c) { c.layers.clear(); }},
      {corrupt, "norm_eps", [](auto& c) { c.norm_eps = std::nanf(""); }},
      {corrupt, "logit_scale",
       [](auto& c) { c.logit_scale = std::numeric_limits<float>::infinity(); }},
      {corrupt, "rope -1 or below 1 in layer 2", [](auto& c) { c.layers[2].rope = 1; }},
      {corrupt, "rotary_dim", [](auto& c) { c.rope_tables[0].rotary_dim = 18; }},
      {corrupt, "frequencies", [](auto& c) { c.rope_tables[0].inv_freq.pop_back(); }},
      {corrupt, "sum to 8",
       [](auto& c) {
         c.rope_tables[0].mrope_sections = {4, 4, 4};
       }},
      {corrupt, "sum to 8",
       [](auto& c) {
         c.rope_tables[0].mrope_sections = {0, 0, 8 - (int64_t{1} << 20)};
       }},
      {corrupt, "sum to 8",
       [](auto& c) {
         c.rope_tables[0].mrope_sections = {4, INT64_MAX, 4};
       }},
      {corrupt, "3 M-RoPE",
       [](auto& c) {
         c.rope_tables[0].mrope_sections = {4, 4};
       }},
      {corrupt, "window", [](auto& c) { c.layers[1].window = -1; }},
      {corrupt, "intermediate_size in layer 3", [](auto& c) { c.layers[3].intermediate_size = 0; }},
      {corrupt, "limit", [](auto& c) { c.layers[0].activation.kind = GluKind::kClampedSilu; }},
      {corrupt, "num_experts", [](auto& c) { c.layers[0].ffn = FfnKind::kMoe; }},
      {corrupt, "num_groups",
       [](auto& c) {
         c.layers[0].ffn = FfnKind::kMoe;
         c.moe = {8, 2, 16, 0, false, {}};
         c.moe.router.num_groups = 3;
       }},
      {corrupt, "within the kept groups",
       [](auto& c) {
         c.layers[0].ffn = FfnKind::kMoe;
         c.moe = {8, 3, 16, 0, false, {}};
         c.moe.router.num_groups = 4;
       }},
      {corrupt, "long skip",
       [](auto& c) {
         c.long_skips = {{2, 9, 0.5f}};
       }},
      {corrupt, "mla.kv_lora_rank", [](auto& c) { c.layers[0].mixer = MixerKind::kMla; }},
      {corrupt, "head_dim 24, v_dim 12 and one key head",
       [](auto& c) {
         c.layers[0].mixer = MixerKind::kMla;
         c.mla = {0, 32, 12, 12, 12, 1e-6f, {}};
       }},
      {corrupt, "num_noise_heads",
       [](auto& c) { c.layers[0].mixer = MixerKind::kGroupedDifferential; }},
      {corrupt, "in groups of signal heads",
       [](auto& c) {
         c.layers[0].mixer = MixerKind::kGroupedDifferential;
         c.differential.num_noise_heads = 3;
       }},
      {corrupt, "in groups of one signal head",
       [](auto& c) {
         c.layers[0].mixer = MixerKind::kDifferential;
         c.differential.num_noise_heads = 1;
       }},
      {corrupt, "pairs of key heads",
       [](auto& c) {
         c.layers[0].mixer = MixerKind::kDifferential;
         c.differential.num_noise_heads = 2;
         c.num_kv_heads = 1;
       }},
      {corrupt, "as wide as keys",
       [](auto& c) {
         c.layers[0].mixer = MixerKind::kDifferential;
         c.differential.num_noise_heads = 2;
         c.v_dim = 8;
       }},

      {unsupported, "layer 1: this build does not run output_gate",
       [](auto& c) {
         c.v_dim = 8;
         c.layers[1].output_gate = true;
       }},
      {corrupt, "delta.num_k_heads in [1, 16384], found 0",
       [](auto& c) { c.layers[1].mixer = MixerKind::kGatedDelta; }},
      {corrupt, "delta.num_k_heads to divide delta.num_v_heads = 5 in layer 1, found 2",
       [](auto& c) {
         c.delta = {2, 5, 8, 8, 4};
         c.layers[1].mixer = MixerKind::kGatedDelta;
       }},
      {unsupported, "layer 1: this build does not run windows of linear attention",
       [](auto& c) {
         c.delta = {2, 4, 8, 8, 4};
         c.layers[1].mixer = MixerKind::kGatedDelta;
         c.layers[1].window = 8;
       }},
      {unsupported, "sparse_index", [](auto& c) { c.layers[1].sparse_index = true; }},
      {corrupt, "norm_gate_rank", [](auto& c) { c.norm_form = NormForm::kGated; }},
      {corrupt, "gated norm in layer 2", [](auto& c) { c.layers[2].pre_ffn_norm_gate = true; }},
  };
  EXPECT_NO_THROW(tiny_decoder_config().validate());
  for (const Case& each : cases) {
    DecoderConfig config = tiny_decoder_config();
    each.change(config);
    try {
      config.validate();
      ADD_FAILURE() << "accepted: " << each.part;
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), each.code) << e.what();
      EXPECT_NE(std::string(e.what()).find(each.part), std::string::npos) << e.what();
    }
  }
}

void expect_frequencies(const RopeTable& table, const std::vector<float>& expected) {
  ASSERT_EQ(table.inv_freq.size(), expected.size());
  for (size_t i = 0; i < expected.size(); ++i) {
    EXPECT_NEAR(table.inv_freq[i] / expected[i], 1.0f, 1e-6f) << i;
  }
}

// Expected values: transformers 5.23.0, modeling_rope_utils, ROPE_INIT_FUNCTIONS.
TEST(RopeTable, Linear) {
  RopeScaling s;
  s.kind = RopeScaling::Kind::kLinear;
  s.factor = 8.0;
  const RopeTable table = make_rope_table(1e6, 16, RopeLayout::kHalf, s);
  EXPECT_EQ(table.attention_factor, 1.0f);
  expect_frequencies(table, {0.125f, 0.0222284924f, 0.00395284733f, 0.000702926656f,
                             0.000125000006f, 2.22284925e-05f, 3.95284678e-06f, 7.02926684e-07f});
}

TEST(RopeTable, BlendsBetweenLongAndShortWaves) {
  RopeScaling s;
  s.kind = RopeScaling::Kind::kByWavelength;
  s.factor = 16.0;
  s.original_max_position = 8192;
  const RopeTable table = make_rope_table(1e6, 32, RopeLayout::kHalf, s);
  EXPECT_EQ(table.attention_factor, 1.0f);
  expect_frequencies(
      table, {1.0f, 0.421696514f, 0.177827939f, 0.0749894157f, 0.0316227786f, 0.0133352149f,
              0.00562341325f, 0.00169834134f, 0.000157436691f, 2.63560305e-05f, 1.11142463e-05f,
              4.68683902e-06f, 1.97642339e-06f, 8.33450883e-07f, 3.51463342e-07f, 1.48210859e-07f});
}

TEST(RopeTable, YarnDerivesItsFactor) {
  RopeScaling s;
  s.kind = RopeScaling::Kind::kYarn;
  s.factor = 2.0;
  s.original_max_position = 65536;
  const RopeTable table = make_rope_table(1e6, 32, RopeLayout::kHalf, s);
  EXPECT_FLOAT_EQ(table.attention_factor, 1.0693147180559945f);
  expect_frequencies(
      table, {1.0f, 0.421696514f, 0.177827939f, 0.0749894157f, 0.0316227786f, 0.0133352149f,
              0.00562341325f, 0.00213423651f, 0.000800000038f, 0.000295187521f, 0.000106696767f,
              3.74947122e-05f, 1.58113871e-05f, 6.66760707e-06f, 2.81170674e-06f, 1.18568687e-06f});
  s.attention_factor = 1.25;
  EXPECT_EQ(make_rope_table(1e6, 32, RopeLayout::kHalf, s).attention_factor, 1.25f);
}

TEST(RopeTable, YarnWithoutTruncation) {
  RopeScaling s;
  s.kind = RopeScaling::Kind::kYarn;
  s.factor = 32.0;
  s.original_max_position = 4096;
  s.truncate = false;
  const RopeTable table = make_rope_table(1.5e5, 32, RopeLayout::kHalf, s);
  EXPECT_FLOAT_EQ(table.attention_factor, 1.3465735902799727f);
  expect_frequencies(
      table, {1.0f, 0.47478205f, 0.225418001f, 0.107024424f, 0.0508132726f, 0.0193349998f,
              0.00679495931f, 0.00209379266f, 0.000456483918f, 3.83088118e-05f, 1.8188337e-05f,
              8.63549576e-06f, 4.09997847e-06f, 1.94659629e-06f, 9.24208962e-07f, 4.38797855e-07f});
}

TEST(RopeTable, YarnTakesTheRatioOfTwoScales) {
  RopeScaling s;
  s.kind = RopeScaling::Kind::kYarn;
  s.factor = 40.0;
  s.original_max_position = 4096;
  s.mscale = 1.0;
  s.mscale_all_dim = 0.5;
  const RopeTable table = make_rope_table(1e4, 32, RopeLayout::kPairs, s);
  EXPECT_FLOAT_EQ(table.attention_factor, 1.1557219901962608f);
  expect_frequencies(
      table, {1.0f, 0.562341332f, 0.316227764f, 0.177827939f, 0.100000001f, 0.0562341288f,
              0.0272181761f, 0.0128290169f, 0.00582142826f, 0.00249036867f, 0.000959977158f,
              0.000292145909f, 2.49999994e-05f, 1.40585325e-05f, 7.90569447e-06f, 4.44569832e-06f});
}

TEST(RopeTable, RefusesNonsense) {
  RopeScaling s;
  s.kind = RopeScaling::Kind::kYarn;
  s.factor = 4.0;
  EXPECT_THROW(make_rope_table(1e4, 16, RopeLayout::kHalf, s), Error);  // no original length
  EXPECT_THROW(make_rope_table(0.0, 16, RopeLayout::kHalf, {}), Error);
  EXPECT_THROW(make_rope_table(1e4, 15, RopeLayout::kHalf, {}), Error);
  s.kind = RopeScaling::Kind::kLinear;
  s.factor = 0.0;
  EXPECT_THROW(make_rope_table(1e4, 16, RopeLayout::kHalf, s), Error);
}

TEST(RopeAngles, EachFrequencyFollowsItsAxis) {
  RopeTable table = make_rope_table(1e4, 128, RopeLayout::kHalf, {});
  EXPECT_EQ(rope_axis(table, 63), 0);
  table.mrope_sections = {16, 24, 24};
  EXPECT_EQ(rope_axis(table, 15), 0);
  EXPECT_EQ(rope_axis(table, 16), 1);
  EXPECT_EQ(rope_axis(table, 39), 1);
  EXPECT_EQ(rope_axis(table, 40), 2);
  table.mrope_sections = {24, 20, 20};
  table.mrope_interleaved = true;
  EXPECT_EQ(rope_axis(table, 0), 0);
  EXPECT_EQ(rope_axis(table, 1), 1);
  EXPECT_EQ(rope_axis(table, 2), 2);
  EXPECT_EQ(rope_axis(table, 58), 1);
  EXPECT_EQ(rope_axis(table, 59), 2);
  EXPECT_EQ(rope_axis(table, 61), 0);
}

TEST(RopeAngles, MultiplyByTheAttentionFactor) {
  RopeTable table = make_rope_table(1e4, 4, RopeLayout::kHalf, {});
  table.mrope_sections = {1, 1, 0};
  table.attention_factor = 2.0f;
  const std::vector<float> positions = {3, 4, 30, 40, 0, 0};
  RopeAngles angles;
  Backend backend(1, "ref");
  compute_rope_angles(backend, table, positions, 2, angles);
  EXPECT_FLOAT_EQ(angles.cos[0], 2.0f * std::cos(3.0f));
  EXPECT_FLOAT_EQ(angles.sin[1], 2.0f * std::sin(0.3f));
  EXPECT_FLOAT_EQ(angles.sin[2], 2.0f * std::sin(4.0f));
  EXPECT_FLOAT_EQ(angles.cos[3], 2.0f * std::cos(0.4f));
}

}  // namespace
}  // namespace onnuri
