// Qwen2.5-Omni, the part that thinks: the Qwen2 decoder with three position axes, an audio tower
// whose attention stays inside chunks of two seconds, the vision encoder of Qwen2.5-VL.
// Source: transformers 5.23, models/qwen2_5_omni.
#include "engine/audio_mapping.h"
#include "engine/decoder_mapping.h"
#include "engine/families/registry.h"
#include "engine/text_engine.h"
#include "engine/thinker_mapping.h"
#include "engine/vision_mapping.h"

namespace onnuri {
namespace {

constexpr int64_t kPublishedSamples = 300 * 16000;

bool matches(const ModelFiles& files) {
  return config_names(files, {"qwen2_5_omni", "qwen2_5_omni_thinker"},
                      {"Qwen2_5OmniForConditionalGeneration", "Qwen2_5OmniModel",
                       "Qwen2_5OmniThinkerForConditionalGeneration"});
}

DecoderConfig map_decoder(const ConfigReader& text, bool tied) {
  require_activation(text, "hidden_act", "silu");
  DecoderConfig decoder = read_decoder(text, {});
  decoder.tied_head = tied;
  RopeTable rope = make_table(read_rope(text, decoder.head_dim, "", 0));
  read_mrope_sections(text, rope);
  decoder.rope_tables = {rope};
  for (LayerSpec& layer : decoder.layers) layer.rope = 0;
  read_optional_windows(text, decoder);
  set_attention_biases(decoder, true, false);
  return decoder;
}

AudioConfig map_audio(const ModelFiles& files, const ConfigReader& audio) {
  AudioConfig out = read_audio_tower(audio);
  out.mel.padded_samples = read_sound_window(files, kPublishedSamples);
  out.positions = AudioPositions::kSinusoid;
  out.chunk_frames = 2 * audio.size("n_window");
  out.span_chunks = 1;
  out.mean_pairs = true;
  out.tail_sizes = {audio.size("output_dim")};
  return out;
}

// Pictures need preprocessor_config.json; without it the model has ears only.
bool has_picture_geometry(const ModelFiles& files) {
  return files.preprocessor_config.is_object() &&
         files.preprocessor_config.find("patch_size") != nullptr;
}

ModelConfig map(const ModelFiles& files) {
  ModelConfig model = thinker_model(files, "qwen2_5_omni");
  const ConfigReader thinker = thinker_config(files);
  const ConfigReader text = thinker.sub("text_config");
  model.decoder = map_decoder(text, thinker_tied_head(files));
  model.audio = map_audio(files, thinker.sub("audio_config"));

  NameTable names;
  add_thinker_text_names(names);
  const std::vector<std::string> audio = thinker_prefixes("audio_tower.");
  add_audio_names(names, audio);
  add_audio_product(names, audio, "audio.tail1", "proj");
  if (has_picture_geometry(files)) {
    const ConfigReader vision = thinker.sub("vision_config");
    require_activation(vision, "hidden_act", "silu");
    model.vision = read_window_vision(files, vision);
    model.projector = window_vision_projector(*model.vision, vision);
    model.vision->video = read_video(files);
    model.video_tokens.positions_per_second = thinker.positive("position_id_per_seconds");
    model.video_tokens.nominal_rate = true;
    model.video_tokens.after = AfterVideo::kMaximum;
    model.video_tokens.seconds_first = true;
    model.video_tokens.sound = SoundInVideo::kByChunks;
    model.video_tokens.seconds_per_chunk = thinker.positive_or("seconds_per_chunk", 2.0);
    model.video_tokens.brackets_share = true;
    add_block_vision_names(names, thinker_prefixes("visual."), model.vision->transformer);
  } else {
    for (const std::string& prefix : thinker_prefixes("visual."))
      model.ignored_prefixes.push_back(prefix);
  }
  model.names = names.map();
  return model;
}

}  // namespace

Family qwen2_5_omni_family() { return {"qwen2_5_omni", matches, map, make_text_engine}; }

}  // namespace onnuri
