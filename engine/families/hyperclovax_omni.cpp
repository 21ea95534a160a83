// HyperCLOVA X SEED Omni: a text model on plain positions, eyes of Qwen2.5-VL and one more product,
// ears of Qwen2-Audio over windows of 30 s and products of their own.
// Source: the published checkpoint's own modelling and processing files.
#include "core/check.h"
#include "engine/audio_mapping.h"
#include "engine/decoder_mapping.h"
#include "engine/families/registry.h"
#include "engine/text_engine.h"
#include "engine/tower_mapping.h"
#include "engine/vision_mapping.h"

namespace onnuri {
namespace {

/// Several generations share the class names; this one hears.
bool matches(const ModelFiles& files) {
  if (!config_names(files, {"vlm", "hyperclovax_vlm", "hyperclovax_omni"},
                    {"HCXVisionForCausalLM", "HCXVisionV2ForCausalLM"}))
    return false;
  const JsonValue* audio = files.config.find("audio_config");
  const JsonValue* vision = files.config.find("vision_config");
  return audio != nullptr && audio->is_object() && vision != nullptr && vision->is_object() &&
         vision->find("fullatt_block_indexes") != nullptr;
}

/// config.json whose vocabulary is as large as the stored table.
JsonValue with_padded_text(const JsonValue& config) {
  JsonValue out = config;
  const ConfigReader text = ConfigReader(config, "config.json").sub("text_config");
  JsonValue inner = *config.find("text_config");
  if (text.has("padded_vocab_size")) inner.set("vocab_size", text.size("padded_vocab_size"));
  out.set("text_config", std::move(inner));
  return out;
}

/// The id of a placeholder, which the model and its processor name differently.
int32_t token(const ConfigReader& config, std::string_view key, std::string_view other) {
  const std::string_view found = config.has(key) ? key : other;
  const std::vector<int32_t> ids = config.ids(found);
  if (ids.size() != 1 || ids[0] < 0)
    fail(ErrorCode::kCorruptData, "expected a token id at ", config.place(key), " or ",
         std::string(other));
  return ids[0];
}

void read_eyes(const ModelFiles& files, const ConfigReader& config, ModelConfig& model) {
  const ConfigReader vision = config.sub("vision_config");
  require_activation(vision, "hidden_act", "silu");
  model.vision = read_window_vision(files, vision);
  const std::string type = config.string("mm_projector_type");
  if (type != "linear")
    fail(ErrorCode::kUnsupported, "expected linear at ", config.place("mm_projector_type"),
         ", found \"", type, "\"");
  model.projector = window_vision_projector(*model.vision, vision);
  model.projector->out_linear = true;
  model.projector->out_size = model.decoder.hidden_size;
  if (!config.has("video_start_id") && !config.has("video_token_id")) return;
  model.special.video_placeholder = token(config, "video_start_id", "video_token_id");
  model.vision->video = read_video(files);
  model.vision->video->frames = FrameRule::kLinspaceEven;
}

void read_ears(const ConfigReader& config, ModelConfig& model) {
  AudioConfig audio = read_audio_tower(config.sub("audio_config"));
  audio.mean_pairs = true;
  audio.joins_windows = true;
  const std::string type = config.string("audio_projector_type");
  const int64_t width = audio.transformer.hidden_size;
  if (type == "mlp")
    audio.tail_sizes.push_back(width);
  else if (type == "inverted_mlp")
    audio.tail_sizes.push_back(2 * width);
  else if (type != "linear")
    fail(ErrorCode::kUnsupported, "expected linear, mlp or inverted_mlp at ",
         config.place("audio_projector_type"), ", found \"", type, "\"");
  audio.tail_sizes.push_back(model.decoder.hidden_size);
  model.audio = audio;
  model.special.audio_placeholder = token(config, "audio_start_id", "audio_token_id");
}

NameTable make_names(const TransformerConfig& eyes) {
  NameTable names;
  const std::vector<std::string> outer = {"model.", ""};
  add_block_vision_names(names, {"model.vision_model.", "vision_model."}, eyes);
  add_audio_names(names, {"model.audio_model.", "audio_model."});
  for (const std::string part : {"mm_projector", "vision_projector"})
    add_audio_product(names, outer, "projector.out", part);
  add_audio_product(names, outer, "audio.tail1", "audio_projector.fc1");
  add_audio_product(names, outer, "audio.tail1", "audio_projector");
  add_audio_product(names, outer, "audio.tail2", "audio_projector.fc2");
  return names;
}

ModelConfig map(const ModelFiles& files) {
  ModelFiles complete = files;
  complete.config = with_padded_text(files.config);
  const ConfigReader config(complete.config, "config.json");
  const VisionConfig eyes = read_window_vision(files, config.sub("vision_config"));
  ModelConfig model =
      map_inner_text(complete, "hyperclovax_omni", {"model.language_model.", "language_model."},
                     make_names(eyes.transformer));
  model.decoder.scales_media = true;
  model.special.image_placeholder = token(config, "img_start_id", "image_token_id");
  read_eyes(files, config, model);
  read_ears(config, model);
  // What spells media as words of the vocabulary, and the compressor of a video's sound.
  for (const std::string outer : {"model.", ""})
    for (const std::string part :
         {"discrete_vision_model.", "discrete_audio_model.", "video_audio_compressor."})
      model.ignored_prefixes.push_back(outer + part);
  return model;
}

}  // namespace

Family hyperclovax_omni_family() { return {"hyperclovax_omni", matches, map, make_text_engine}; }

}  // namespace onnuri
