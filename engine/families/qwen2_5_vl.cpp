// Qwen2.5-VL: the Qwen2 decoder with three position axes, a vision encoder with windows.
// Source: transformers 5.23, models/qwen2_5_vl.
#include "engine/decoder_mapping.h"
#include "engine/families/registry.h"
#include "engine/text_engine.h"
#include "engine/vision_mapping.h"

namespace onnuri {
namespace {

bool matches(const ModelFiles& files) {
  return config_names(files, {"qwen2_5_vl"}, {"Qwen2_5_VLForConditionalGeneration"});
}

ModelConfig map(const ModelFiles& files) {
  ModelConfig model = base_model(files, "qwen2_5_vl");
  const ConfigReader config(files.config, "config.json");
  const ConfigReader text = text_config(files);
  require_activation(text, "hidden_act", "silu");
  model.decoder = read_decoder(text, {});
  model.decoder.tied_head = read_tied_head(files, false);
  RopeTable rope = make_table(read_rope(text, model.decoder.head_dim, "", 0));
  read_mrope_sections(text, rope);
  model.decoder.rope_tables = {rope};
  for (LayerSpec& layer : model.decoder.layers) {
    layer.rope = 0;
    layer.q_bias = layer.k_bias = layer.v_bias = true;
  }

  const ConfigReader vision = config.sub("vision_config");
  require_activation(vision, "hidden_act", "silu");
  model.vision = read_window_vision(files, vision);
  model.projector = window_vision_projector(*model.vision, vision);
  model.vision->video = read_video(files);
  model.video_tokens.positions_per_second = vision.positive("tokens_per_second");
  read_vision_tokens(config, model.special);

  NameTable names;
  add_names(names, {"model.", "model.language_model.", "language_model.model."}, {});
  add_block_vision_names(names, {"visual.", "model.visual."}, model.vision->transformer);
  model.names = names.map();
  return model;
}

}  // namespace

Family qwen2_5_vl_family() { return {"qwen2_5_vl", matches, map, make_text_engine}; }

}  // namespace onnuri
