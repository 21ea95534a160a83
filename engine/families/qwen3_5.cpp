// Qwen3.5, dense and with experts: the layers of Qwen3-Next with three interleaved position axes,
// and the vision encoder of Qwen3-VL without features of several depths. Source: transformers 5.23,
// models/qwen3_5 and models/qwen3_5_moe. The prediction module of the published checkpoints is not
// read.
#include "engine/families/registry.h"
#include "engine/linear_mapping.h"
#include "engine/text_engine.h"
#include "engine/vision_mapping.h"

namespace onnuri {
namespace {

const std::vector<std::string> kTextPrefixes = {"model.language_model.", "model."};

bool matches(const ModelFiles& files) {
  return config_names(files, {"qwen3_5", "qwen3_5_moe", "qwen3_5_text", "qwen3_5_moe_text"},
                      {"Qwen3_5ForConditionalGeneration", "Qwen3_5MoeForConditionalGeneration",
                       "Qwen3_5ForCausalLM", "Qwen3_5MoeForCausalLM"});
}

void map_vision(const ModelFiles& files, const ConfigReader& config, ModelConfig& model) {
  const ConfigReader vision = config.sub("vision_config");
  model.vision = read_tapped_vision(files, vision);
  model.vision->tap_layers.clear();
  model.vision->video = read_video(files);
  model.vision->video->area_of_clip = true;
  model.vision->video->frames = FrameRule::kLinspace;
  model.projector = window_vision_projector(*model.vision, vision);
  model.video_tokens.frames_apart = true;
  read_vision_tokens(config, model.special);
}

ModelConfig map(const ModelFiles& files) {
  ModelConfig model = base_model(files, "qwen3_5");
  const ConfigReader config(files.config, "config.json");
  const ConfigReader text = text_config(files);
  const bool has_experts = text.has("moe_intermediate_size");
  DecoderConfig& decoder = model.decoder;
  decoder = read_linear_decoder(text, {.dense_layers = !has_experts});
  decoder.tied_head = read_tied_head(files, false);
  RopeTable rope = read_quarter_rope(text, decoder.head_dim);
  const bool sees = config.has("vision_config");
  if (sees) {  // the axes of text alone are equal
    read_mrope_sections(text, rope);
    rope.mrope_interleaved = true;
  }
  decoder.rope_tables = {rope};
  if (has_experts) {
    read_softmax_experts(text, decoder, true);
    read_gated_shared_expert(text, decoder.moe);
  }

  NameTable names;
  add_names(names, kTextPrefixes, {});
  add_linear_names(names, kTextPrefixes);
  if (has_experts)
    add_moe_names(names, kTextPrefixes, decoder.moe.intermediate_size,
                  "gate.e_score_correction_bias");
  if (sees) {
    map_vision(files, config, model);
    add_block_vision_names(names, {"model.visual.", "visual."}, model.vision->transformer);
  }
  model.names = names.map();
  model.ignored_prefixes.push_back("mtp.");
  return model;
}

}  // namespace

Family qwen3_5_family() { return {"qwen3_5", matches, map, make_text_engine}; }

}  // namespace onnuri
