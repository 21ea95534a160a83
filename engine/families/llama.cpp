// Llama graph: SmolLM2, SOLAR 10.7B, HyperCLOVA X SEED text, Mi:dm 2.0, Kanana 1.5, A.X 3.1.
// Source: transformers models/llama. GGUF files of this architecture store q and k with their rows
// permuted, so rope turns adjacent pairs.
#include "core/check.h"
#include "engine/decoder_mapping.h"
#include "engine/families/registry.h"
#include "engine/text_engine.h"

namespace onnuri {
namespace {

bool matches(const ModelFiles& files) {
  return gguf_architecture(files) == "llama" ||
         config_names(files, {"llama"}, {"LlamaForCausalLM"});
}

ModelConfig map_gguf(const ModelFiles& files) {
  ModelConfig model = base_model(files, "llama");
  const ConfigReader config = gguf_config(files);
  if (config.integer_or("expert_count", 0) > 0)
    fail(ErrorCode::kUnsupported, "a mixture of experts in the llama architecture, at ",
         config.place("expert_count"));
  model.decoder = read_gguf_decoder(files, config);
  model.decoder.rope_tables = {
      read_gguf_rope(files, config, model.decoder.head_dim, RopeLayout::kPairs)};
  const bool bias = !files.checkpoint->find("blk.0.attn_q.bias").empty();
  const bool o_bias = !files.checkpoint->find("blk.0.attn_output.bias").empty();
  for (LayerSpec& layer : model.decoder.layers) {
    layer.rope = 0;
    layer.q_bias = layer.k_bias = layer.v_bias = bias;
    layer.o_bias = o_bias;
  }
  NameTable names;
  add_gguf_names(names, {"attn_norm", "", "ffn_norm", ""});
  model.names = names.map();
  model.ignored_prefixes = {"rope_freqs."};
  return model;
}

ModelConfig map(const ModelFiles& files) {
  if (files.is_gguf()) return map_gguf(files);
  ModelConfig model = base_model(files, "llama");
  const ConfigReader config = text_config(files);
  require_activation(config, "hidden_act", "silu");
  if (config.boolean_or("mlp_bias", false))
    fail(ErrorCode::kUnsupported, "feed-forward biases, at ", config.place("mlp_bias"));
  model.decoder = read_decoder(config, {});
  model.decoder.rope_tables = {make_table(read_rope(config, model.decoder.head_dim, "", 10000.0))};
  const bool bias = config.boolean_or("attention_bias", false);
  for (LayerSpec& layer : model.decoder.layers) {
    layer.rope = 0;
    layer.q_bias = layer.k_bias = layer.v_bias = layer.o_bias = bias;
  }
  NameTable names;
  add_names(names, {"model."}, {});
  model.names = names.map();
  return model;
}

}  // namespace

Family llama_family() { return {"llama", matches, map, make_text_engine}; }

}  // namespace onnuri
