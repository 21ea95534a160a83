// Qwen3-Omni, the part that thinks: the Qwen3 decoder with experts and three interleaved position
// axes; an audio tower of two-dimensional convolutions whose attention spans eight seconds.
// Source: transformers 5.23, models/qwen3_omni_moe.
#include "core/check.h"
#include "engine/audio_mapping.h"
#include "engine/decoder_mapping.h"
#include "engine/families/registry.h"
#include "engine/text_engine.h"
#include "engine/thinker_mapping.h"
#include "engine/vision_mapping.h"

namespace onnuri {
namespace {

bool matches(const ModelFiles& files) {
  return config_names(
      files, {"qwen3_omni_moe", "qwen3_omni_moe_thinker"},
      {"Qwen3OmniMoeForConditionalGeneration", "Qwen3OmniMoeThinkerForConditionalGeneration"});
}

DecoderConfig map_decoder(const ConfigReader& text, bool tied) {
  require_activation(text, "hidden_act", "silu");
  DecoderConfig decoder = read_decoder(text, {});
  decoder.tied_head = tied;
  RopeTable rope = make_table(read_rope(text, decoder.head_dim, "", 0));
  read_mrope_sections(text, rope);
  rope.mrope_interleaved = true;
  decoder.rope_tables = {rope};
  read_softmax_experts(text, decoder);
  const bool bias = text.boolean_or("attention_bias", false);
  set_attention_biases(decoder, bias, bias);
  for (LayerSpec& layer : decoder.layers) {
    layer.rope = 0;
    layer.qk_norm = true;
  }
  return decoder;
}

AudioConfig map_audio(const ModelFiles& files, const ConfigReader& audio) {
  AudioConfig out = read_audio_tower(audio);
  out.mel.padded_samples = read_sound_window(files, 0);
  out.stem = AudioStem::kConv2d;
  out.stem_channels = audio.size("downsample_hidden_size");
  out.positions = AudioPositions::kSinusoid;
  out.chunk_frames = 2 * audio.size("n_window");
  out.chunks_padded = true;
  out.span_chunks = audio.size("n_window_infer") / out.chunk_frames;
  if (out.span_chunks < 1)
    fail(ErrorCode::kCorruptData, "expected at least ", out.chunk_frames, " at ",
         audio.place("n_window_infer"), ", found ", audio.size("n_window_infer"));
  out.transformer.k_bias = true;
  out.tail_sizes = {out.transformer.hidden_size, audio.size("output_dim")};
  return out;
}

// Pictures need preprocessor_config.json; without it the model has ears only.
void add_vision(const ModelFiles& files, const ConfigReader& thinker, NameTable& names,
                ModelConfig& model) {
  const std::vector<std::string> prefixes = thinker_prefixes("visual.");
  if (!files.preprocessor_config.is_object() ||
      files.preprocessor_config.find("patch_size") == nullptr) {
    model.ignored_prefixes.insert(model.ignored_prefixes.end(), prefixes.begin(), prefixes.end());
    return;
  }
  const ConfigReader vision = thinker.sub("vision_config");
  model.vision = read_tapped_vision(files, vision);
  model.vision->video = read_video(files);
  model.projector = window_vision_projector(*model.vision, vision);
  model.deep_projector = tap_projector(*model.projector);
  model.video_tokens.positions_per_second = thinker.positive("position_id_per_seconds");
  model.video_tokens.assumed_fps = 1.0;
  model.video_tokens.nominal_rate = true;
  model.video_tokens.after = AfterVideo::kMaximum;
  model.video_tokens.seconds_first = true;
  model.video_tokens.whole_positions = false;
  model.video_tokens.sound = SoundInVideo::kByTime;
  add_block_vision_names(names, prefixes, model.vision->transformer);
}

ModelConfig map(const ModelFiles& files) {
  ModelConfig model = thinker_model(files, "qwen3_omni");
  const ConfigReader thinker = thinker_config(files);
  const ConfigReader text = thinker.sub("text_config");
  model.decoder = map_decoder(text, thinker_tied_head(files));
  model.audio = map_audio(files, thinker.sub("audio_config"));

  NameTable names;
  add_thinker_text_names(names);
  add_moe_names(names, {"thinker.model.", "model.language_model.", "model."},
                model.decoder.moe.intermediate_size, "gate.e_score_correction_bias");
  const std::vector<std::string> audio = thinker_prefixes("audio_tower.");
  add_audio_names(names, audio);
  for (const std::string number : {"1", "2", "3"})
    add_audio_product(names, audio, "audio.conv" + number, "conv2d" + number);
  add_prefixed_names(names, audio, "audio.conv_out.weight", {"conv_out.weight"});
  add_audio_product(names, audio, "audio.tail1", "proj1");
  add_audio_product(names, audio, "audio.tail2", "proj2");
  add_vision(files, thinker, names, model);
  model.names = names.map();
  return model;
}

}  // namespace

Family qwen3_omni_family() { return {"qwen3_omni", matches, map, make_text_engine}; }

}  // namespace onnuri
