// Qwen2-Audio: the Qwen2 decoder on one axis of positions; a Whisper encoder over 30 s of which
// only the rows of the sound count, each two of them averaged, then one product.
// Source: transformers 5.23, models/qwen2_audio.
#include "engine/audio_mapping.h"
#include "engine/decoder_mapping.h"
#include "engine/families/registry.h"
#include "engine/text_engine.h"
#include "engine/vision_mapping.h"

namespace onnuri {
namespace {

bool matches(const ModelFiles& files) {
  return config_names(files, {"qwen2_audio"}, {"Qwen2AudioForConditionalGeneration"});
}

// The published tokenizer has no template; this is the form that the processor gives to messages:
// ChatML, a system message when there is none, sounds counted from one over the conversation.
constexpr const char* kTemplate =
    "{%- set sounds = namespace(count=0) -%}"
    "{%- for message in messages -%}"
    "{%- if loop.first and message.role != 'system' -%}"
    "{{ '<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n' }}"
    "{%- endif -%}"
    "{{ '<|im_start|>' + message.role + '\n' }}"
    "{%- if message.content is string -%}{{ message.content }}{%- else -%}"
    "{%- for part in message.content -%}"
    "{%- if part.type == 'audio' -%}"
    "{%- set sounds.count = sounds.count + 1 -%}"
    "{{ 'Audio ' ~ sounds.count ~ ': <|audio_bos|><|AUDIO|><|audio_eos|>\n' }}"
    "{%- elif part.type == 'text' -%}{{ part.text }}{%- endif -%}"
    "{%- endfor -%}{%- endif -%}"
    "{{ '<|im_end|>\n' }}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{ '<|im_start|>assistant\n' }}{%- endif -%}";

// The published file leaves out what its text part has in common with the class defaults.
ConfigDefaults published_defaults() {
  ConfigDefaults d;
  d.num_heads = d.num_kv_heads = 32;
  d.hidden_size = 4096;
  d.num_layers = 32;
  d.norm_eps = 1e-6;
  return d;
}

AudioConfig map_audio(const ModelFiles& files, const ConfigReader& config, int64_t out_size) {
  const ConfigReader audio = config.sub("audio_config");
  AudioConfig out = read_audio_tower(audio);
  // The stem wants exactly the frames that its positions cover.
  out.mel.padded_samples = read_sound_window(files, out.mel.padded_samples);
  out.mean_pairs = true;
  out.tail_sizes = {out_size};
  return out;
}

ModelConfig map(const ModelFiles& files) {
  ModelConfig model = base_model(files, "qwen2_audio");
  const ConfigReader config(files.config, "config.json");
  const ConfigReader text = text_config(files);
  if (text.has("hidden_act")) require_activation(text, "hidden_act", "silu");
  model.decoder = read_decoder(text, published_defaults());
  model.decoder.tied_head = read_tied_head(files, false);
  model.decoder.rope_tables = {make_table(read_rope(text, model.decoder.head_dim, "", 10000.0))};
  for (LayerSpec& layer : model.decoder.layers) layer.rope = 0;
  read_optional_windows(text, model.decoder);
  set_attention_biases(model.decoder, true, false);

  model.chat_template = kTemplate;
  model.audio = map_audio(files, config, model.decoder.hidden_size);
  model.special.audio_placeholder = read_audio_token(config);

  NameTable names;
  add_names(names, {"language_model.model.", "model.language_model.", "model."}, {});
  add_audio_names(names, {"audio_tower.", "model.audio_tower."});
  add_audio_product(names, {"multi_modal_projector.", "model.multi_modal_projector."},
                    "audio.tail1", "linear");
  model.names = names.map();
  return model;
}

}  // namespace

Family qwen2_audio_family() { return {"qwen2_audio", matches, map, make_text_engine}; }

}  // namespace onnuri
