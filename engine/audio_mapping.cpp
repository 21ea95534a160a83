// Key names: transformers 5.23 configuration classes (whisper, qwen2_audio, qwen2_5_omni,
// qwen3_omni_moe) and the files that the hub holds for them.
#include "engine/audio_mapping.h"

#include "core/check.h"
#include "engine/vision_mapping.h"

namespace onnuri {
namespace {

constexpr int64_t kMaxSize = 1 << 20;

int64_t bounded_size(const ConfigReader& config, std::string_view key) {
  const int64_t value = config.size(key);
  if (value > kMaxSize)
    fail(ErrorCode::kCorruptData, "expected at most ", kMaxSize, " at ", config.place(key),
         ", found ", value);
  return value;
}

}  // namespace

AudioConfig read_audio_tower(const ConfigReader& audio) {
  const std::string activation = audio.string_or("activation_function", "gelu");
  if (activation != "gelu")
    fail(ErrorCode::kUnsupported, "expected \"gelu\" at ", audio.place("activation_function"),
         ", found \"", activation, "\"");
  AudioConfig out;
  out.mel.num_mels = bounded_size(audio, "num_mel_bins");
  out.max_positions = bounded_size(audio, "max_source_positions");
  out.mel.padded_samples = 2 * out.max_positions * out.mel.hop_length;
  TransformerConfig& t = out.transformer;
  t.num_layers = bounded_size(audio, "encoder_layers");
  t.hidden_size = bounded_size(audio, "d_model");
  t.num_heads = bounded_size(audio, "encoder_attention_heads");
  t.intermediate_size = bounded_size(audio, "encoder_ffn_dim");
  if (t.hidden_size % t.num_heads != 0)
    fail(ErrorCode::kCorruptData,
         "expected d_model to be a multiple of encoder_attention_heads in ", audio.where(),
         ", found ", t.hidden_size, " and ", t.num_heads);
  t.head_dim = t.hidden_size / t.num_heads;
  t.norm_eps = 1e-5f;
  t.k_bias = false;
  return out;
}

int64_t read_sound_window(const ModelFiles& files, int64_t published_samples) {
  if (!files.preprocessor_config.is_object()) return published_samples;
  const ConfigReader config(files.preprocessor_config, "preprocessor_config.json");
  const LogMelConfig ours;
  const auto expect = [&](std::string_view key, int64_t value) {
    if (config.has(key) && config.integer(key) != value)
      fail(ErrorCode::kUnsupported, "expected ", value, " at ", config.place(key), ", found ",
           config.integer(key));
  };
  expect("sampling_rate", ours.sample_rate_hz);
  expect("n_fft", ours.n_fft);
  expect("hop_length", ours.hop_length);
  if (published_samples == 0) return 0;  // the real length, whatever the file says
  if (config.has("n_samples")) return config.size("n_samples");
  if (config.has("chunk_length")) return config.size("chunk_length") * ours.sample_rate_hz;
  return published_samples;
}

int32_t read_audio_token(const ConfigReader& config) {
  const char* key = config.has("audio_token_id") ? "audio_token_id" : "audio_token_index";
  const std::vector<int32_t> ids = config.ids(key);
  if (ids.size() != 1)
    fail(ErrorCode::kCorruptData, "expected a token id at ", config.place("audio_token_id"));
  return ids[0];
}

void add_audio_product(NameTable& table, const std::vector<std::string>& prefixes,
                       const std::string& canonical, const std::string& stored) {
  for (const std::string part : {".weight", ".bias"})
    add_prefixed_names(table, prefixes, canonical + part, {stored + part});
}

void add_audio_names(NameTable& table, const std::vector<std::string>& prefixes) {
  const auto add = [&](const std::string& canonical, const std::string& stored) {
    add_audio_product(table, prefixes, canonical, stored);
  };
  const std::string to = "audio.layers.#.", from = "layers.#.";
  add(to + "norm1", from + "self_attn_layer_norm");
  add(to + "norm2", from + "final_layer_norm");
  for (const std::string part : {"q", "k", "v"})
    add(to + part, from + "self_attn." + part + "_proj");
  add(to + "o", from + "self_attn.out_proj");
  add(to + "fc1", from + "fc1");
  add(to + "fc2", from + "fc2");
  add("audio.conv1", "conv1");
  add("audio.conv2", "conv2");
  add_prefixed_names(table, prefixes, "audio.positions.weight", {"embed_positions.weight"});
  add("audio.norm", "layer_norm");
  add("audio.norm", "ln_post");
}

}  // namespace onnuri
