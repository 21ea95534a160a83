// EXAONE 4.0: norms on the outputs of sublayers only, RMS norm on q and k. The 32B shape has three
// sliding layers to one full layer, and full layers carry no positions; the 1.2B shape has only full
// layers, all with rope.
// Source: transformers models/exaone4.
#include "engine/decoder_mapping.h"
#include "engine/families/registry.h"
#include "engine/text_engine.h"

namespace onnuri {
namespace {

bool matches(const ModelFiles& files) {
  return gguf_architecture(files) == "exaone4" ||
         config_names(files, {"exaone4"}, {"Exaone4ForCausalLM"});
}

void fill_layers(DecoderConfig& decoder, const std::vector<bool>& sliding, int64_t window) {
  for (size_t i = 0; i < decoder.layers.size(); ++i) {
    LayerSpec& layer = decoder.layers[i];
    layer.window = window > 0 && sliding[i] ? window : 0;
    layer.rope = window == 0 || sliding[i] ? 0 : -1;
    layer.qk_norm = true;
    layer.pre_mixer_norm = layer.pre_ffn_norm = false;
    layer.post_mixer_norm = layer.post_ffn_norm = true;
  }
}

ModelConfig map_gguf(const ModelFiles& files) {
  ModelConfig model = base_model(files, "exaone4");
  const ConfigReader config = gguf_config(files);
  DecoderConfig& decoder = model.decoder;
  decoder = read_gguf_decoder(files, config, config.integer_or("nextn_predict_layers", 0));
  decoder.rope_tables = {read_gguf_rope(files, config, decoder.head_dim, RopeLayout::kHalf)};
  const int64_t window = config.integer_or("attention.sliding_window", 0);
  fill_layers(decoder, read_gguf_sliding_layers(config, decoder.num_layers(), 4), window);
  NameTable names;
  add_gguf_names(names, {"", "post_attention_norm", "", "post_ffw_norm"});
  model.names = names.map();
  model.ignored_prefixes = {"rope_freqs."};
  for (int64_t i = decoder.num_layers(); i < config.size("block_count"); ++i)
    model.ignored_prefixes.push_back("blk." + std::to_string(i) + ".");
  return model;
}

ModelConfig map(const ModelFiles& files) {
  if (files.is_gguf()) return map_gguf(files);
  ModelConfig model = base_model(files, "exaone4");
  const ConfigReader config = text_config(files);
  require_activation(config, "hidden_act", "silu");
  DecoderConfig& decoder = model.decoder;
  decoder = read_decoder(config, {});
  decoder.rope_tables = {make_table(read_rope(config, decoder.head_dim, "", 0))};
  const int64_t window = config.has("sliding_window") ? config.size("sliding_window") : 0;
  std::vector<bool> sliding(decoder.layers.size(), false);
  if (window > 0) sliding = read_sliding_layers(config, decoder.num_layers(), 0);
  fill_layers(decoder, sliding, window);
  NameTable names;
  add_names(names, {"model."}, {"", "post_attention_layernorm", "", "post_feedforward_layernorm"});
  model.names = names.map();
  model.ignored_prefixes = {"mtp."};
  return model;
}

}  // namespace

Family exaone4_family() { return {"exaone4", matches, map, make_text_engine}; }

}  // namespace onnuri
