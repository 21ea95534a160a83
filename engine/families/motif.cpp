// Motif: differential attention and the PolyNorm activation. Motif 2.6B pairs every signal head
// with a noise head; Motif-2 has several signal heads to one noise head (key num_noise_heads). Both
// call themselves MotifForCausalLM, and so does Motif-3, which is another graph and is refused.
// Sources: vLLM 0.10.2 models/motif.py for 2.6B; the vendor's grouped differential attention
// backend for vLLM and a published MLX port, which agree, for Motif-2.
#include <cmath>

#include "core/check.h"
#include "engine/decoder_mapping.h"
#include "engine/families/registry.h"
#include "engine/text_engine.h"

namespace onnuri {
namespace {

bool matches(const ModelFiles& files) {
  return config_names(files, {"Motif", "motif"}, {"MotifForCausalLM"});
}

// The keys of Motif-3 that stand for parts which no layer kind here has.
void refuse_latent_graph(const ConfigReader& config) {
  for (const char* key : {"kv_lora_rank", "n_routed_experts", "num_experts", "num_residual_streams",
                          "mhc_num_streams", "hc_mult"})
    if (config.has(key))
      fail(ErrorCode::kUnsupported, "Motif-3, told by ", config.place(key),
           ": its hyper-connections, latent differential attention and PolyNorm experts are not "
           "implemented");
}

// lambda_init = 0.8 - 0.6 exp(-0.3 (l - 1)) with l from 0, as the vendor computes it.
float lambda_init(size_t layer) {
  return static_cast<float>(0.8 - 0.6 * std::exp(-0.3 * (static_cast<double>(layer) - 1.0)));
}

void read_heads(const ConfigReader& config, DecoderConfig& decoder) {
  const bool grouped = config.has("num_noise_heads");
  if (grouped && config.size_or("k_ratio", 1) != 1)
    fail(ErrorCode::kUnsupported, "expected 1 at ", config.place("k_ratio"), ", found ",
         config.size("k_ratio"));
  if (!grouped && decoder.num_heads % 2 != 0)
    fail(ErrorCode::kCorruptData, "expected an even number at ",
         config.place("num_attention_heads"), ", found ", decoder.num_heads);
  decoder.differential.num_noise_heads =
      grouped ? config.size("num_noise_heads") : decoder.num_heads / 2;
  decoder.differential.norm_eps = static_cast<float>(config.positive_or("attn_rms_norm_eps", 1e-5));
  for (size_t i = 0; i < decoder.layers.size(); ++i) {
    LayerSpec& layer = decoder.layers[i];
    layer.mixer = grouped ? MixerKind::kGroupedDifferential : MixerKind::kDifferential;
    layer.lambda_init = lambda_init(i);
  }
}

void add_differential_names(NameTable& names) {
  const std::string attention = "model.layers.#.self_attn.";
  for (const std::string part : {"lambda_q1", "lambda_k1", "lambda_q2", "lambda_k2"})
    names.add("layers.#." + part, {{attention + part}});
  names.add("layers.#.head_norm.weight", {{attention + "subln.weight"}});
  for (const std::string kind : {"weight", "bias"})
    names.add("layers.#.poly." + kind, {{"model.layers.#.mlp.act_fn." + kind}});
}

ModelConfig map(const ModelFiles& files) {
  ModelConfig model = base_model(files, "motif");
  const ConfigReader config = text_config(files);
  refuse_latent_graph(config);
  require_activation(config, "hidden_act", "poly_norm");
  if (config.boolean_or("use_bias", false))
    fail(ErrorCode::kUnsupported, "biases, at ", config.place("use_bias"));
  ConfigDefaults defaults;
  defaults.num_kv_heads = config.has("num_noise_heads") ? 0 : kAsManyAsHeads;
  defaults.shared_evenly = false;
  DecoderConfig& decoder = model.decoder;
  decoder = read_decoder(config, defaults);
  decoder.rope_tables = {make_table(read_rope(config, decoder.head_dim, "", 0))};
  for (LayerSpec& layer : decoder.layers) {
    layer.rope = 0;
    layer.activation.kind = GluKind::kPolyNorm;
  }
  read_heads(config, decoder);
  read_optional_windows(config, decoder);
  NameTable names;
  add_names(names, {"model."}, {});
  add_differential_names(names);
  model.names = names.map();
  return model;
}

}  // namespace

Family motif_family() { return {"motif", matches, map, make_text_engine}; }

}  // namespace onnuri
