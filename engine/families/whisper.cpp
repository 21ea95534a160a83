// Whisper (Radford et al. 2022): config.json and generation_config.json of WhisperForConditional-
// Generation to an audio encoder and a text decoder that attends to it.
#include <string>

#include "core/check.h"
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

void check_activation(const ConfigReader& config) {
  const std::string name = config.string_or("activation_function", "gelu");
  if (name != "gelu") {
    fail(ErrorCode::kUnsupported, "expected \"gelu\" at ", config.place("activation_function"),
         ", found \"", name, "\"");
  }
  if (config.boolean_or("scale_embedding", false)) {
    fail(ErrorCode::kUnsupported, "expected false at ", config.place("scale_embedding"),
         ", found true");
  }
}

AudioConfig map_encoder(const ConfigReader& config) {
  AudioConfig audio;
  audio.mel.num_mels = config.size("num_mel_bins");
  audio.max_positions = config.size("max_source_positions");
  audio.mel.padded_samples = 2 * audio.max_positions * audio.mel.hop_length;
  TransformerConfig& t = audio.transformer;
  t.num_layers = config.size("encoder_layers");
  t.hidden_size = config.size("d_model");
  t.num_heads = config.size("encoder_attention_heads");
  t.intermediate_size = config.size("encoder_ffn_dim");
  if (t.hidden_size % t.num_heads != 0) {
    fail(ErrorCode::kCorruptData,
         "expected d_model to be a multiple of encoder_attention_heads in ", config.where(),
         ", found ", t.hidden_size, " and ", t.num_heads);
  }
  t.head_dim = t.hidden_size / t.num_heads;
  t.norm_eps = 1e-5f;
  t.k_bias = false;
  return audio;
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
  d.max_initial_timestamp =
      static_cast<int32_t>(generation.integer_or("max_initial_timestamp_index", -1));
  d.suppress_tokens = generation.ids("suppress_tokens");
  d.begin_suppress_tokens = generation.ids("begin_suppress_tokens");
  if (generation.has("lang_to_id")) map_languages(generation, d);
  return d;
}

void add_layer_names(NameTable& names, const std::string& ours, const std::string& theirs) {
  const std::string to = ours + "layers.#.", from = theirs + "layers.#.";
  const auto add = [&](const std::string& a, const std::string& b) {
    names.add(to + a + ".weight", {{from + b + ".weight"}});
    names.add(to + a + ".bias", {{from + b + ".bias"}});
  };
  const bool text = ours == "text.";
  add(text ? "self_norm" : "norm1", "self_attn_layer_norm");
  add(text ? "ffn_norm" : "norm2", "final_layer_norm");
  add("q", "self_attn.q_proj");
  add("k", "self_attn.k_proj");
  add("v", "self_attn.v_proj");
  add("o", "self_attn.out_proj");
  add("fc1", "fc1");
  add("fc2", "fc2");
  if (!text) return;
  add("cross_norm", "encoder_attn_layer_norm");
  add("cross_q", "encoder_attn.q_proj");
  add("cross_k", "encoder_attn.k_proj");
  add("cross_v", "encoder_attn.v_proj");
  add("cross_o", "encoder_attn.out_proj");
}

TensorNameMap map_names() {
  NameTable names;
  for (const char* part : {"weight", "bias"}) {
    const std::string end = std::string(".") + part;
    names.add("audio.conv1" + end, {{"model.encoder.conv1" + end}});
    names.add("audio.conv2" + end, {{"model.encoder.conv2" + end}});
    names.add("audio.norm" + end, {{"model.encoder.layer_norm" + end}});
    names.add("text.norm" + end, {{"model.decoder.layer_norm" + end}});
  }
  names.add("audio.positions.weight", {{"model.encoder.embed_positions.weight"}});
  names.add("text.embed.weight", {{"model.decoder.embed_tokens.weight"}});
  names.add("text.positions.weight", {{"model.decoder.embed_positions.weight"}});
  add_layer_names(names, "audio.", "model.encoder.");
  add_layer_names(names, "text.", "model.decoder.");
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
  check_activation(config);
  ModelConfig model;
  model.family = "whisper";
  model.audio = map_encoder(config);
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
