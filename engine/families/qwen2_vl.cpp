// Qwen2-VL: the Qwen2 decoder with three position axes; an encoder with layer norms that sees whole
// pictures. Older files keep the keys of the decoder at the top of config.json.
// Source: transformers 5.23, models/qwen2_vl.
#include "core/check.h"
#include "engine/decoder_mapping.h"
#include "engine/families/registry.h"
#include "engine/text_engine.h"
#include "engine/vision_mapping.h"

namespace onnuri {
namespace {

bool matches(const ModelFiles& files) {
  return config_names(files, {"qwen2_vl"}, {"Qwen2VLForConditionalGeneration"});
}

VisionConfig read_vision(const ModelFiles& files, const ConfigReader& vision) {
  require_activation(vision, "hidden_act", "quick_gelu");
  VisionConfig out = read_block_vision(files, vision, "embed_dim");
  out.transformer.activation = Activation::kQuickGelu;
  const int64_t ratio = vision.size("mlp_ratio");
  if (ratio > 64)
    fail(ErrorCode::kCorruptData, "expected at most 64 at ", vision.place("mlp_ratio"), ", found ",
         ratio);
  out.transformer.intermediate_size = ratio * out.transformer.hidden_size;
  return out;
}

ModelConfig map(const ModelFiles& files) {
  ModelConfig model = base_model(files, "qwen2_vl");
  const ConfigReader config(files.config, "config.json");
  const ConfigReader text = text_config(files);
  require_activation(text, "hidden_act", "silu");
  model.decoder = read_decoder(text, {});
  model.decoder.tied_head = read_tied_head(files, false);
  read_optional_windows(text, model.decoder);
  RopeTable rope = make_table(read_rope(text, model.decoder.head_dim, "", 0));
  read_mrope_sections(text, rope);
  model.decoder.rope_tables = {rope};
  for (LayerSpec& layer : model.decoder.layers) {
    layer.rope = 0;
    layer.q_bias = layer.k_bias = layer.v_bias = true;
  }

  const ConfigReader vision = config.sub("vision_config");
  model.vision = read_vision(files, vision);
  model.projector = block_vision_projector(*model.vision, vision.size("hidden_size"));
  model.vision->video = read_video(files);
  read_vision_tokens(config, model.special);

  NameTable names;
  add_names(names, {"model.", "model.language_model.", "language_model.model."}, {});
  add_block_vision_names(names, {"visual.", "model.visual."}, model.vision->transformer);
  model.names = names.map();
  return model;
}

}  // namespace

Family qwen2_vl_family() { return {"qwen2_vl", matches, map, make_text_engine}; }

}  // namespace onnuri
