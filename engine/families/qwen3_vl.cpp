// Qwen3-VL, dense and with experts: the Qwen3 decoder with three interleaved position axes;
// features of several encoder depths are added after its first layers (DeepStack, arXiv
// 2406.04334). Source: transformers 5.23, models/qwen3_vl and models/qwen3_vl_moe.
#include "core/check.h"
#include "engine/decoder_mapping.h"
#include "engine/families/registry.h"
#include "engine/text_engine.h"
#include "engine/vision_mapping.h"

namespace onnuri {
namespace {

const std::vector<std::string> kTextPrefixes = {"model.language_model.", "model."};

bool matches(const ModelFiles& files) {
  return config_names(files, {"qwen3_vl", "qwen3_vl_moe"},
                      {"Qwen3VLForConditionalGeneration", "Qwen3VLMoeForConditionalGeneration"});
}

bool has_experts(const ConfigReader& text) { return text.has("moe_intermediate_size"); }

/// Published files hold stacked experts as (in, out), others as (out, in).
bool experts_transposed(const ModelFiles& files, const DecoderConfig& decoder) {
  for (const std::string& prefix : kTextPrefixes) {
    for (int64_t i = 0; i < decoder.num_layers(); ++i) {
      const TensorView fused = files.checkpoint->find(prefix + "layers." + std::to_string(i) +
                                                      ".mlp.experts.gate_up_proj");
      if (!fused.empty() && fused.shape.rank() == 3)
        return fused.shape[1] == decoder.hidden_size &&
               fused.shape[2] == 2 * decoder.moe.intermediate_size;
    }
  }
  return false;
}

void add_transposed_experts(NameTable& names, int64_t width) {
  const auto add = [&](const std::string& part, const std::string& stored, int64_t begin,
                       int64_t count) {
    const StoredName name{"layers.#.mlp.experts." + stored, true, begin, count, 1, true};
    add_prefixed_names(names, kTextPrefixes, "layers.#.experts.#." + part + ".weight", name);
  };
  add("gate", "gate_up_proj", 0, width);
  add("up", "gate_up_proj", width, width);
  add("down", "down_proj", 0, -1);
}

DecoderConfig map_decoder(const ModelFiles& files, const ConfigReader& text) {
  require_activation(text, "hidden_act", "silu");
  DecoderConfig decoder = read_decoder(text, {});
  decoder.tied_head = read_tied_head(files, false);
  RopeTable rope = make_table(read_rope(text, decoder.head_dim, "", 0));
  read_mrope_sections(text, rope);
  rope.mrope_interleaved = true;
  decoder.rope_tables = {rope};
  if (has_experts(text)) read_softmax_experts(text, decoder, true);
  const bool bias = text.boolean_or("attention_bias", false);
  set_attention_biases(decoder, bias, bias);
  for (LayerSpec& layer : decoder.layers) {
    layer.rope = 0;
    layer.qk_norm = true;
  }
  return decoder;
}

ModelConfig map(const ModelFiles& files) {
  ModelConfig model = base_model(files, "qwen3_vl");
  const ConfigReader config(files.config, "config.json");
  const ConfigReader text = text_config(files);
  model.decoder = map_decoder(files, text);

  const ConfigReader vision = config.sub("vision_config");
  model.vision = read_tapped_vision(files, vision);
  model.vision->video = read_video(files);
  model.vision->video->area_of_clip = true;
  model.vision->video->frames = FrameRule::kLinspace;
  model.projector = window_vision_projector(*model.vision, vision);
  model.deep_projector = tap_projector(*model.projector);
  model.video_tokens.frames_apart = true;
  read_vision_tokens(config, model.special);

  NameTable names;
  add_names(names, kTextPrefixes, {});
  if (has_experts(text)) {
    const int64_t width = model.decoder.moe.intermediate_size;
    if (experts_transposed(files, model.decoder)) add_transposed_experts(names, width);
    add_moe_names(names, kTextPrefixes, width, "gate.e_score_correction_bias");
  }
  add_block_vision_names(names, {"model.visual.", "visual."}, model.vision->transformer);
  model.names = names.map();
  return model;
}

}  // namespace

Family qwen3_vl_family() { return {"qwen3_vl", matches, map, make_text_engine}; }

}  // namespace onnuri
