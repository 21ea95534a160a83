// EXAONE 4.0: norms on the outputs of sublayers only, RMS norm on q and k. The 32B shape has three
// sliding layers to one full layer, and full layers carry no positions; the 1.2B shape has only
// full layers, all with rope. EXAONE 4.5 adds an encoder with
// windows whose query heads share keys. Source: transformers models/exaone4, models/exaone4_5.
#include "engine/decoder_mapping.h"
#include "engine/families/registry.h"
#include "engine/text_engine.h"
#include "engine/vision_mapping.h"

namespace onnuri {
namespace {

bool matches(const ModelFiles& files) {
  return gguf_architecture(files) == "exaone4" ||
         config_names(files, {"exaone4", "exaone4_5", "exaone4_5_text"},
                      {"Exaone4ForCausalLM", "Exaone4_5_ForConditionalGeneration"});
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
  ModelConfig model = read_gguf_model(files, "exaone4",
                                      {.norms = {"", "post_attention_norm", "", "post_ffw_norm"}});
  const ConfigReader config = gguf_config(files);
  fill_layers(model.decoder, read_gguf_sliding_layers(config, model.decoder.num_layers(), 4),
              config.has("attention.sliding_window") ? config.size("attention.sliding_window") : 0);
  return model;
}

// One layer like the others, in EXAONE 4.5: it slides and carries positions as the first one does.
void add_module(const ModelFiles& files, const ConfigReader& config, NameTable& names,
                ModelConfig& model) {
  model.mtp_prefixes = {"mtp.", "model.mtp."};
  if (files.checkpoint->find("mtp.fc.weight").empty()) return;
  model.mtp.num_layers = 1;
  model.mtp.num_steps = config.size_or("mtp_num_speculative_steps", 1);
  model.mtp.layer = model.decoder.layers[0];
  model.mtp.layer.rope = 0;
  add_mtp_names(
      names, {"mtp.layers.0.", "mtp.pre_fc_norm_embedding.weight", "mtp.pre_fc_norm_hidden.weight",
              "mtp.fc.weight", "mtp.norm.weight", "", ""});
}

// Pictures need preprocessor_config.json; without it the model reads text only.
void add_vision(const ModelFiles& files, NameTable& names, ModelConfig& model) {
  const std::vector<std::string> prefixes = {"model.visual.", "visual."};
  const ConfigReader config(files.config, "config.json");
  if (!config.has("vision_config") || !files.preprocessor_config.is_object()) {
    model.ignored_prefixes.insert(model.ignored_prefixes.end(), prefixes.begin(), prefixes.end());
    return;
  }
  const ConfigReader vision = config.sub("vision_config");
  require_activation(vision, "hidden_act", "silu");
  model.vision = read_window_vision(files, vision);
  model.vision->transformer.num_kv_heads = vision.size("num_key_value_heads");
  model.vision->video = read_video(files);
  model.projector = window_vision_projector(*model.vision, vision);
  read_vision_tokens(config, model.special);
  add_block_vision_names(names, prefixes, model.vision->transformer);
}

ModelConfig map(const ModelFiles& files) {
  if (files.is_gguf()) return map_gguf(files);
  TextRules rules;
  rules.norms = {"", "post_attention_layernorm", "", "post_feedforward_layernorm"};
  rules.prefixes = {"model.", "model.language_model.", "language_model.model.", "language_model."};
  ModelConfig model = read_text_model(files, "exaone4", rules);
  const ConfigReader config = text_config(files);
  DecoderConfig& decoder = model.decoder;
  decoder.tied_head = read_tied_head(files, false);
  const int64_t window = read_window_or_null(config);
  std::vector<bool> sliding(decoder.layers.size(), false);
  if (window > 0) sliding = read_sliding_layers(config, decoder.num_layers(), 0);
  fill_layers(decoder, sliding, window);
  NameTable names;
  add_names(names, rules.prefixes, rules.norms);
  add_module(files, config, names, model);
  add_vision(files, names, model);
  model.names = names.map();
  return model;
}

}  // namespace

Family exaone4_family() { return {"exaone4", matches, map, make_text_engine}; }

}  // namespace onnuri
