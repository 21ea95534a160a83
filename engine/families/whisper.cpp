// Whisper (Radford et al. 2022): config.json and generation_config.json of WhisperForConditional-
// Generation to an audio encoder and a text decoder that attends to it.
#include <string>

#include "core/check.h"
#include "engine/audio_mapping.h"
#include "engine/config_reader.h"
#include "engine/families/registry.h"
#include "engine/name_table.h"
#include "engine/speech_engine.h"

namespace onnuri {
namespace {

bool matches(const ModelFiles& files) {
  const JsonValue* type = files.is_gguf() ? nullptr : files.config.find("model_type");
  return type != nullptr && type->is_string() && type->as_string("model_type") == "whisper";
}

void check_scale(const ConfigReader& config) {
  if (config.boolean_or("scale_embedding", false)) {
    fail(ErrorCode::kUnsupported, "expected false at ", config.place("scale_embedding"),
         ", found true");
  }
}

int32_t token(const ConfigReader& config, std::string_view key, int64_t vocab_size) {
  const int64_t id = config.integer(key);
  if (id < 0 || id >= vocab_size) {
    fail(ErrorCode::kCorruptData, "expected a token id below ", vocab_size, " at ",
         config.place(key), ", found ", id);
  }
  return static_cast<int32_t>(id);
}

void map_languages(const ConfigReader& generation, SpeechDecoderConfig& d) {
  for (const auto& [name, id] : generation.find("lang_to_id")->as_object("lang_to_id")) {
    const bool bracketed = name.size() > 4 && name.starts_with("<|") && name.ends_with("|>");
    const ConfigReader ids = generation.sub("lang_to_id");
    d.languages.push_back(
        {bracketed ? name.substr(2, name.size() - 4) : name, token(ids, name, d.vocab_size)});
  }
  const ConfigReader tasks = generation.sub("task_to_id");
  d.task_transcribe = token(tasks, "transcribe", d.vocab_size);
  d.task_translate = token(tasks, "translate", d.vocab_size);
}

SpeechDecoderConfig map_decoder(const ConfigReader& config, const ConfigReader& generation) {
  SpeechDecoderConfig d;
  d.vocab_size = config.size("vocab_size");
  d.hidden_size = config.size("d_model");
  d.num_layers = config.size("decoder_layers");
  d.num_heads = config.size("decoder_attention_heads");
  d.intermediate_size = config.size("decoder_ffn_dim");
  d.max_positions = config.size("max_target_positions");
  if (d.hidden_size % d.num_heads != 0) {
    fail(ErrorCode::kCorruptData,
         "expected d_model to be a multiple of decoder_attention_heads in ", config.where(),
         ", found ", d.hidden_size, " and ", d.num_heads);
  }
  d.start_of_transcript = token(generation, "decoder_start_token_id", d.vocab_size);
  d.end_of_text = token(generation, "eos_token_id", d.vocab_size);
  d.no_timestamps = token(generation, "no_timestamps_token_id", d.vocab_size);
  d.no_speech = d.no_timestamps - 1;
  d.start_of_previous =
      static_cast<int32_t>(generation.integer_or("prev_sot_token_id", d.no_timestamps - 2));
  if (d.start_of_previous < 0 || d.start_of_previous >= d.vocab_size) d.start_of_previous = -1;
  d.max_initial_timestamp =
      static_cast<int32_t>(generation.integer_or("max_initial_timestamp_index", -1));
  d.suppress_tokens = generation.ids("suppress_tokens");
  d.begin_suppress_tokens = generation.ids("begin_suppress_tokens");
  if (generation.has("lang_to_id")) map_languages(generation, d);
  return d;
}

void add_text_names(NameTable& names) {
  const std::string from = "model.decoder.";
  const auto add = [&](const std::string& to, const std::string& stored) {
    add_audio_product(names, {from}, "text." + to, stored);
  };
  const std::string layer = "layers.#.";
  add(layer + "self_norm", layer + "self_attn_layer_norm");
  add(layer + "cross_norm", layer + "encoder_attn_layer_norm");
  add(layer + "ffn_norm", layer + "final_layer_norm");
  for (const std::string part : {"q", "k", "v"}) {
    add(layer + part, layer + "self_attn." + part + "_proj");
    add(layer + "cross_" + part, layer + "encoder_attn." + part + "_proj");
  }
  add(layer + "o", layer + "self_attn.out_proj");
  add(layer + "cross_o", layer + "encoder_attn.out_proj");
  add(layer + "fc1", layer + "fc1");
  add(layer + "fc2", layer + "fc2");
  add("norm", "layer_norm");
  names.add("text.embed.weight", {{from + "embed_tokens.weight"}});
  names.add("text.positions.weight", {{from + "embed_positions.weight"}});
}

TensorNameMap map_names() {
  NameTable names;
  add_audio_names(names, {"model.encoder."});
  add_text_names(names);
  return names.map();
}

ModelConfig map(const ModelFiles& files) {
  if (files.generation_config.is_null()) {
    fail(ErrorCode::kNotFound,
         "expected generation_config.json with the tokens of languages and "
         "tasks, found none in '",
         files.path, "'");
  }
  const ConfigReader config(files.config, "config.json");
  const ConfigReader generation(files.generation_config, "generation_config.json");
  check_scale(config);
  ModelConfig model;
  model.family = "whisper";
  model.audio = read_audio_tower(config);
  model.speech_decoder = map_decoder(config, generation);
  model.special.bos = model.speech_decoder->start_of_transcript;
  model.special.eos = {model.speech_decoder->end_of_text};
  model.names = map_names();
  model.ignored_prefixes = {"proj_out."};
  return model;
}

}  // namespace

Family whisper_family() { return {"whisper", matches, map, make_speech_engine}; }

}  // namespace onnuri
