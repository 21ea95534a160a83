// Tiny decoders that together use every field of LayerSpec that this build runs.
#pragma once

#include <string>
#include <vector>

#include "tests/support/random_decoder.h"

namespace onnuri {

struct NamedShape {
  std::string name;
  DecoderConfig config;
};

inline std::vector<NamedShape> decoder_shapes() {
  std::vector<NamedShape> shapes;
  const auto add = [&](const std::string& name) -> DecoderConfig& {
    shapes.push_back({name, tiny_decoder_config()});
    return shapes.back().config;
  };
  {
    DecoderConfig& c = add("plain");
    c.num_heads = 6;
    c.head_dim = 8;
    c.v_dim = 8;
    c.rope_tables[0] = make_rope_table(1e4, 8, RopeLayout::kPairs, {});
  }
  {
    DecoderConfig& c = add("biases_tied_partial_rope");
    c.tied_head = true;
    c.v_dim = 24;
    c.rope_tables[0] = make_rope_table(1e4, 8, RopeLayout::kHalf, {});
    for (LayerSpec& l : c.layers) l.q_bias = l.k_bias = l.v_bias = true;
    c.layers[1].o_bias = true;
    c.layers[2].k_bias = false;
  }
  {
    DecoderConfig& c = add("post_norm_window_without_positions");
    for (size_t i = 0; i < c.layers.size(); ++i) {
      LayerSpec& l = c.layers[i];
      l.pre_mixer_norm = l.pre_ffn_norm = false;
      l.post_mixer_norm = l.post_ffn_norm = true;
      l.qk_norm = true;
      if (i == 3)
        l.rope = -1;
      else
        l.window = 8;
    }
  }
  {
    DecoderConfig& c = add("peri_norm_scalars_one_plus");
    c.norm_form = NormForm::kOnePlusWeight;
    c.embed_scale = 8.0f;
    c.residual_scale = 0.5f;
    c.attention_scale = 1.0f / 32.0f;
    c.logit_scale = 0.125f;
    RopeScaling linear;
    linear.kind = RopeScaling::Kind::kLinear;
    linear.factor = 8.0;
    c.rope_tables.push_back(make_rope_table(1e6, 16, RopeLayout::kHalf, linear));
    for (size_t i = 0; i < c.layers.size(); ++i) {
      LayerSpec& l = c.layers[i];
      l.post_mixer_norm = l.post_ffn_norm = true;
      l.qk_norm = true;
      l.activation.kind = GluKind::kGeluTanh;
      if (i == 1)
        l.rope = 1;
      else
        l.window = i == 0 ? 5 : 12;
    }
  }
  {
    DecoderConfig& c = add("experts_sigmoid_groups_yarn");
    RopeScaling yarn;
    yarn.kind = RopeScaling::Kind::kYarn;
    yarn.factor = 4.0;
    yarn.original_max_position = 16;
    c.rope_tables[0] = make_rope_table(1e4, 16, RopeLayout::kHalf, yarn);
    c.moe = {8, 3, 24, 40, false, {}};
    c.moe.router = {RouterScore::kSigmoid,  true,  false, 4,   2,
                    GroupScore::kSumOfTop2, false, true,  2.5f};
    for (size_t i = 1; i < c.layers.size(); ++i) c.layers[i].ffn = FfnKind::kMoe;
  }
  {
    DecoderConfig& c = add("experts_softmax_renormalised");
    c.moe = {8, 2, 32, 0, false, {}};
    for (LayerSpec& l : c.layers) {
      l.ffn = FfnKind::kMoe;
      l.qk_norm = true;
    }
  }
  {
    DecoderConfig& c = add("experts_after_topk_sinks_clamped");
    c.moe = {6, 2, 32, 0, true, {}};
    c.moe.router.score = RouterScore::kSoftmaxAfterTopk;
    c.moe.router.logit_bias = true;
    for (size_t i = 0; i < c.layers.size(); ++i) {
      LayerSpec& l = c.layers[i];
      l.ffn = FfnKind::kMoe;
      l.sinks = l.q_bias = l.k_bias = l.v_bias = l.o_bias = true;
      l.activation = {GluKind::kSwigluPlus1, 1.0f, 1.702f};
      if (i % 2 == 0) l.window = 8;
    }
  }
  {
    DecoderConfig& c = add("experts_masked_with_zero_not_renormalised");
    c.moe = {8, 2, 32, 16, false, {}};
    c.moe.router = {RouterScore::kSoftmax, true, false, 2, 1, GroupScore::kMax, true, false, 1.5f};
    c.layers[1].ffn = c.layers[3].ffn = FfnKind::kMoe;
    c.layers[3].post_ffn_norm = true;
    c.residual_scale = 0.7f;
    c.layers[0].activation = {GluKind::kClampedSilu, 0.5f, 0.0f};
    c.layers[2].activation.kind = GluKind::kGeluErf;
  }
  {
    DecoderConfig& c = add("dense_biases");
    for (LayerSpec& l : c.layers) l.ffn_bias = l.q_bias = l.o_bias = true;
  }
  {
    DecoderConfig& c = add("long_skips");
    c.layers.resize(6, c.layers[0]);
    c.long_skips = {{1, 4, 0.3f}, {2, 5, 0.7f}};
  }
  {
    DecoderConfig& c = add("latent_windows_one_plus_biases");
    c.mla = {0, 24, 12, 8, 10};
    c.mla.norm_eps = 1e-5f;
    c.mla.prompt_block = 32;
    c.num_kv_heads = 1;
    c.num_heads = 3;
    c.head_dim = 20;
    c.v_dim = 10;
    c.norm_form = NormForm::kOnePlusWeight;
    c.rope_tables = {make_rope_table(1e4, 8, RopeLayout::kPairs, {}),
                     make_rope_table(1e6, 8, RopeLayout::kHalf, {})};
    for (size_t i = 0; i < c.layers.size(); ++i) {
      LayerSpec& l = c.layers[i];
      l.mixer = MixerKind::kMla;
      l.window = i % 2 == 0 ? 7 : 0;
      l.rope = i == 3 ? -1 : static_cast<int>(i % 2);
      l.k_bias = l.o_bias = i == 1;
      l.post_mixer_norm = l.post_ffn_norm = true;
    }
  }
  for (const bool chosen : {false, true}) {
    DecoderConfig& c = add(chosen ? "latent_gates_and_index" : "latent_query_rank");
    c.mla = {20, 16, 8, 6, 12};
    c.mla.prompt_block = 32;
    c.num_kv_heads = 1;
    c.head_dim = 14;
    c.v_dim = 12;
    c.rope_tables = {make_rope_table(1e4, 6, RopeLayout::kPairs, {})};
    for (LayerSpec& l : c.layers) {
      l.mixer = MixerKind::kMla;
      l.q_bias = !chosen;
      l.output_gate = l.sparse_index = l.pre_mixer_norm_gate = chosen;
    }
    if (!chosen) continue;
    c.norm_form = NormForm::kGated;
    c.norm_gate_rank = 5;
    c.mla.index = {8, 10, 9};
    c.layers[2].pre_ffn_norm_gate = true;
    c.layers[3].sparse_index = false;
  }
  {
    DecoderConfig& c = add("differential");
    c.num_heads = 8;
    c.num_kv_heads = 4;
    c.differential = {4, 1e-3f};
    for (size_t i = 0; i < c.layers.size(); ++i) {
      LayerSpec& l = c.layers[i];
      l.mixer = MixerKind::kDifferential;
      l.lambda_init = 0.2f + 0.1f * static_cast<float>(i);
      l.activation.kind = GluKind::kPolyNorm;
      if (i % 2 == 0) l.window = 9;
    }
  }
  {
    // Groups of two signal heads and a noise head; two groups share a pair of key heads. One layer
    // of the common kind beside them.
    DecoderConfig& c = add("differential_groups_with_biases");
    c.num_heads = 12;
    c.num_kv_heads = 4;
    c.head_dim = c.v_dim = 6;
    c.rope_tables[0] = make_rope_table(1e4, 6, RopeLayout::kHalf, {});
    c.differential = {4, 1e-5f};
    for (size_t i = 0; i < c.layers.size(); ++i) {
      LayerSpec& l = c.layers[i];
      l.lambda_init = 0.3f;
      if (i == 1) continue;
      l.mixer = MixerKind::kGroupedDifferential;
      l.q_bias = l.k_bias = l.o_bias = true;
      l.v_bias = i == 2;
      if (i == 3) l.rope = -1;
      if (i == 0) l.window = 5;
    }
  }
  {
    // Linear layers, and full ones whose output is gated; experts with a gate on the shared one.
    DecoderConfig& c = add("linear_and_gated_experts");
    c.norm_form = NormForm::kOnePlusWeight;
    c.delta = {2, 4, 12, 20, 4};
    c.rope_tables[0] = make_rope_table(1e4, 4, RopeLayout::kHalf, {});
    c.moe = {6, 2, 24, 40, false, {}, true};
    for (size_t i = 0; i < c.layers.size(); ++i) {
      LayerSpec& l = c.layers[i];
      l.ffn = i == 2 ? FfnKind::kDense : FfnKind::kMoe;
      if (i == 1) {
        l.output_gate = l.qk_norm = true;
        l.q_bias = l.k_bias = true;
      } else {
        l.mixer = MixerKind::kGatedDelta;
        l.rope = -1;
      }
    }
  }
  {
    // Linear layers beside windows, none that is full; the last one answers for some rows only.
    DecoderConfig& c = add("linear_and_windows");
    c.delta = {3, 3, 16, 8, 2};
    for (size_t i = 0; i < c.layers.size(); ++i) {
      LayerSpec& l = c.layers[i];
      if (i % 2 == 0) {
        l.window = 7;
      } else {
        l.mixer = MixerKind::kGatedDelta;
        l.rope = -1;
      }
    }
  }
  for (const bool interleaved : {false, true}) {
    DecoderConfig& c = add(interleaved ? "three_axes_interleaved" : "three_axes_sections");
    RopeTable& table = c.rope_tables[0];
    table.mrope_sections =
        interleaved ? std::vector<int64_t>{4, 2, 2} : std::vector<int64_t>{2, 3, 3};
    table.mrope_interleaved = interleaved;
  }
  return shapes;
}

}  // namespace onnuri
