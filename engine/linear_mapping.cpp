// Key names: transformers 5.23, models/qwen3_next and models/qwen3_5.
#include "engine/linear_mapping.h"

#include "core/check.h"
#include "engine/vision_mapping.h"

namespace onnuri {
namespace {

std::vector<bool> linear_layers(const ConfigReader& text, int64_t num_layers) {
  std::vector<bool> out;
  if (!text.has("layer_types")) {
    const int64_t interval = text.size_or("full_attention_interval", 4);
    for (int64_t i = 0; i < num_layers; ++i) out.push_back((i + 1) % interval != 0);
    return out;
  }
  for (const std::string& type : text.strings("layer_types")) {
    if (type != "linear_attention" && type != "full_attention")
      fail(ErrorCode::kUnsupported, "layer type \"", type, "\" at ", text.place("layer_types"),
           "; known: linear_attention, full_attention");
    out.push_back(type == "linear_attention");
  }
  if (static_cast<int64_t>(out.size()) != num_layers)
    fail(ErrorCode::kCorruptData, "expected ", num_layers, " entries at ",
         text.place("layer_types"), ", found ", out.size());
  return out;
}

}  // namespace

DecoderConfig read_linear_decoder(const ConfigReader& text, const ConfigDefaults& defaults) {
  require_activation(text, "hidden_act", "silu");
  DecoderConfig out = read_decoder(text, defaults);
  out.norm_form = NormForm::kOnePlusWeight;
  DeltaSpec& delta = out.delta;
  delta.num_k_heads = text.size("linear_num_key_heads");
  delta.num_v_heads = text.size("linear_num_value_heads");
  delta.k_dim = text.size("linear_key_head_dim");
  delta.v_dim = text.size("linear_value_head_dim");
  delta.conv_taps = text.size("linear_conv_kernel_dim");
  if (delta.num_v_heads % delta.num_k_heads != 0)
    fail(ErrorCode::kCorruptData, "expected a number that divides linear_num_value_heads, ",
         delta.num_v_heads, ", at ", text.place("linear_num_key_heads"), ", found ",
         delta.num_k_heads);
  const bool bias = text.boolean_or("attention_bias", false);
  set_attention_biases(out, bias, bias);
  const std::vector<bool> linear = linear_layers(text, out.num_layers());
  for (size_t i = 0; i < linear.size(); ++i) {
    LayerSpec& layer = out.layers[i];
    if (linear[i]) {
      layer.mixer = MixerKind::kGatedDelta;
      layer.q_bias = layer.k_bias = layer.v_bias = layer.o_bias = false;
    } else {
      layer.rope = 0;
      layer.qk_norm = layer.output_gate = true;
    }
  }
  return out;
}

RopeTable read_quarter_rope(const ConfigReader& text, int64_t head_dim) {
  return make_table(read_rope(text, head_dim, "", 0, 0.25));
}

void read_gated_shared_expert(const ConfigReader& text, MoeSpec& moe) {
  moe.shared_intermediate_size = text.size("shared_expert_intermediate_size");
  moe.shared_gate = true;
}

void add_linear_names(NameTable& names, const std::vector<std::string>& prefixes) {
  const auto add = [&](const std::string& canonical, const std::string& stored) {
    add_prefixed_names(names, prefixes, "layers.#." + canonical, {"layers.#." + stored});
  };
  for (const std::string part : {"qkv", "z", "b", "a", "qkvz", "ba"})
    add("delta." + part + ".weight", "linear_attn.in_proj_" + part + ".weight");
  add("delta.conv.weight", "linear_attn.conv1d.weight");
  add("delta.a_log", "linear_attn.A_log");
  add("delta.dt_bias", "linear_attn.dt_bias");
  add("head_norm.weight", "linear_attn.norm.weight");
  add("o.weight", "linear_attn.out_proj.weight");
  for (const std::string part : {"gate", "up", "down"})
    add("shared." + part + ".weight", "mlp.shared_expert." + part + "_proj.weight");
  add("shared_gate.weight", "mlp.shared_expert_gate.weight");
}

}  // namespace onnuri
