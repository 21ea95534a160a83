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

/// Which way a stacked tensor (experts, rows, columns) lies; kEither where it is square.
enum class ExpertLayout { kAbsent, kEither, kOutIn, kInOut };

ExpertLayout layout_of(const TensorView& stacked, int64_t out, int64_t in) {
  if (stacked.empty() || stacked.shape.rank() != 3) return ExpertLayout::kAbsent;
  const bool as_out_in = stacked.shape[1] == out && stacked.shape[2] == in;
  const bool as_in_out = stacked.shape[1] == in && stacked.shape[2] == out;
  if (as_out_in && as_in_out) return ExpertLayout::kEither;
  if (as_out_in) return ExpertLayout::kOutIn;
  return as_in_out ? ExpertLayout::kInOut : ExpertLayout::kAbsent;
}

/// Published files hold stacked experts as (in, out), files saved by transformers 5 as (out, in),
/// under the same names. The two products of a layer cannot both be square, so that one of them
/// tells where the other does not.
bool experts_transposed(const ModelFiles& files, const DecoderConfig& decoder) {
  const int64_t hidden = decoder.hidden_size, width = decoder.moe.intermediate_size;
  for (const std::string& prefix : kTextPrefixes) {
    for (int64_t i = 0; i < decoder.num_layers(); ++i) {
      const std::string experts = prefix + "layers." + std::to_string(i) + ".mlp.experts.";
      const TensorView fused = files.checkpoint->find(experts + "gate_up_proj");
      const TensorView down = files.checkpoint->find(experts + "down_proj");
      const ExpertLayout first = layout_of(fused, 2 * width, hidden);
      const ExpertLayout second = layout_of(down, hidden, width);
      if (first == ExpertLayout::kAbsent || second == ExpertLayout::kAbsent) continue;
      const bool told = first != ExpertLayout::kEither && second != ExpertLayout::kEither;
      if (told && first != second)
        fail(ErrorCode::kCorruptData, "expected both products of the experts one way around at ",
             experts, ", found ", fused.shape.to_string(), " and ", down.shape.to_string());
      return first == ExpertLayout::kInOut || second == ExpertLayout::kInOut;
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
