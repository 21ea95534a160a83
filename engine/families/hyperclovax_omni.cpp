// HyperCLOVA X SEED Omni: a text model on plain positions; pictures and sounds reach it twice, as
// words of its vocabulary and as rows of features. Eyes of Qwen2.5-VL and one more product, ears of
// Qwen2-Audio over windows of 30 s and products of their own; for the words, where the checkpoint
// holds them, a SigLIP tower with a codebook and a tokeniser of sounds.
// Source: the published checkpoint's own modelling and processing files.
#include "core/check.h"
#include "engine/audio_mapping.h"
#include "engine/code_encoder.h"
#include "engine/decoder_mapping.h"
#include "engine/families/registry.h"
#include "engine/text_engine.h"
#include "engine/tower_mapping.h"
#include "engine/vision_mapping.h"

namespace onnuri {
namespace {

const std::vector<std::string> kCodeTower = {"model.discrete_vision_model.encoder.",
                                             "discrete_vision_model.encoder."};
const std::vector<std::string> kCodeTable = {"model.discrete_vision_model.",
                                             "discrete_vision_model."};
const std::vector<std::string> kCodeEars = {"model.discrete_audio_model.", "discrete_audio_model."};

const std::vector<std::string> kVideoSound = {"model.video_audio_compressor.",
                                              "video_audio_compressor."};

constexpr int64_t kCodeWindowSeconds = 80;
constexpr int64_t kShortestSamples = 400;
constexpr int64_t kDigits = 8;  // of a sound's code, to base 3
constexpr int64_t kNumSoundCodes = 6561;
constexpr int64_t kMaxMels = 4096;
constexpr int64_t kPublishedPictureLayers = 27;

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

/// The first extent of a stored tensor, 0 where there is none.
int64_t stored_rows(const ModelFiles& files, const std::vector<std::string>& prefixes,
                    const std::string& name) {
  for (const std::string& prefix : prefixes)
    if (const TensorView found = files.checkpoint->find(prefix + name); !found.empty())
      return found.shape.rank() > 0 ? found.shape[0] : 0;
  return 0;
}

/// The token of code 0; all codes are words of the vocabulary.
int32_t first_code(const ConfigReader& config, std::string_view key, int64_t count,
                   int64_t vocab_size) {
  const int64_t first = config.size(key);
  if (first > vocab_size - count)
    fail(ErrorCode::kCorruptData, "expected ", count, " tokens below ", vocab_size, " from ",
         config.place(key), " on, found ", first);
  return static_cast<int32_t>(first);
}

/// "discrete_image_ratios" of preprocessor_config.json, width to height; one square without them.
std::vector<PictureShape> read_shapes(const ModelFiles& files) {
  constexpr std::string_view kKey = "discrete_image_ratios";
  std::vector<PictureShape> out;
  const auto add = [&](int32_t w, int32_t h) {
    out.push_back({static_cast<double>(w) / static_cast<double>(h),
                   "<|vision_ratio_" + std::to_string(w) + ":" + std::to_string(h) + "|>"});
  };
  const ConfigReader processor(files.preprocessor_config, "preprocessor_config.json");
  if (const JsonValue* list = processor.find(kKey))
    for (const JsonValue& pair : list->as_array(processor.place(kKey))) {
      JsonValue holder = JsonValue(JsonValue::Object{});
      holder.set("pair", pair);
      const std::vector<int32_t> sides = ConfigReader(holder, processor.place(kKey)).ids("pair");
      if (sides.size() != 2 || sides[0] < 1 || sides[1] < 1)
        fail(ErrorCode::kCorruptData, "expected pairs of positive numbers at ",
             processor.place(kKey));
      add(sides[0], sides[1]);
    }
  if (out.empty()) add(1, 1);
  return out;
}

void read_picture_codes(const ModelFiles& files, const ConfigReader& config, int64_t vocab_size,
                        CodesConfig& codes) {
  constexpr const char* kTable = "bottleneck.regularizer.embedding.weight";
  if (stored_rows(files, kCodeTable, kTable) == 0) return;
  const ConfigReader own = config.sub("discrete_vision_config");
  TowerDefaults published = siglip_defaults();
  published.hidden_size = 1152;
  published.intermediate_size = 4304;
  published.num_layers = kPublishedPictureLayers;
  published.num_heads = 16;
  published.image_size = 384;
  published.patch_size = 14;
  VisionConfig vision = read_tower(own, published);
  vision.processor.filter = ResizeFilter::kBicubic;
  vision.processor.mean = vision.processor.std = {0.5f, 0.5f, 0.5f};
  vision.post_norm = false;
  const int64_t layers = vision.transformer.num_layers;
  const int64_t behind = own.integer_or("select_layer_id", -2);
  if (behind < -layers || behind > -1)
    fail(ErrorCode::kUnsupported, "expected a layer counted from the end, -", layers, " to -1, at ",
         own.place("select_layer_id"), ", found ", behind);
  if (own.integer_or("pool_scale", 1) != 1)
    fail(ErrorCode::kUnsupported, "expected 1 at ", own.place("pool_scale"), ", found ",
         own.integer("pool_scale"));
  vision.transformer.num_layers = layers + 1 + behind;
  codes.vision = vision;
  codes.table.in_size = vision.transformer.hidden_size;
  codes.table.num_codes = stored_rows(files, kCodeTable, kTable);
  codes.table.code_size = stored_rows(files, kCodeTable, "bottleneck.in_linear.weight");
  codes.table.unit_length = own.boolean_or("l2_normalized", true);
  codes.image_placeholder = token(config, "discrete_image_start_id", "discrete_image_token_id");
  codes.first_image_code =
      first_code(config, "discrete_image_unit_0_id", codes.table.num_codes, vocab_size);
  codes.shapes = read_shapes(files);
  codes.row_end = "<|vision_eol|>";
  codes.picture_end = "<|vision_eof|>";
}

void read_sound_codes(const ModelFiles& files, const ConfigReader& config, int64_t vocab_size,
                      CodesConfig& codes) {
  if (stored_rows(files, kCodeEars, "encoder.conv1.weight") == 0) return;
  const ConfigReader own = config.sub("discrete_audio_config");
  AudioConfig audio;
  audio.mel.num_mels = own.size_or("n_mels", 128);
  audio.mel.padded_samples = 0;
  TransformerConfig& t = audio.transformer;
  t.num_layers = own.size_or("n_audio_layer", 6);
  t.hidden_size = own.size_or("n_audio_state", 1280);
  t.num_heads = own.size_or("n_audio_head", 20);
  if (audio.mel.num_mels > kMaxMels)
    fail(ErrorCode::kCorruptData, "expected at most ", kMaxMels, " at ", own.place("n_mels"),
         ", found ", audio.mel.num_mels);
  if (t.num_layers > kMaxDecoderLayers || t.hidden_size > 1 << 20 ||
      t.hidden_size % t.num_heads != 0)
    fail(ErrorCode::kCorruptData, "expected heads that divide the ", t.hidden_size,
         " columns of at most ", kMaxDecoderLayers, " layers in ", own.where());
  t.head_dim = t.hidden_size / t.num_heads;
  t.intermediate_size = 4 * t.hidden_size;
  t.norm_eps = 1e-6f;
  t.ffn_norm_eps = 1e-5f;
  t.k_bias = false;
  t.rope = true;
  t.memory_taps = own.size_or("fsmn_kernel_size", 31);
  audio.first_stride = 2;
  audio.positions = AudioPositions::kRope;
  audio.max_positions = 2048;
  audio.last_norm = false;
  audio.tail_sizes = {kDigits};
  codes.audio = audio;
  codes.window_samples = kCodeWindowSeconds * audio.mel.sample_rate_hz;
  codes.shortest_samples = kShortestSamples;
  codes.audio_placeholder = token(config, "discrete_audio_start_id", "discrete_audio_token_id");
  codes.first_audio_code =
      first_code(config, "discrete_audio_unit_0_id", kNumSoundCodes, vocab_size);
}

void add_code_names(NameTable& names) {
  const auto add = [&](const std::vector<std::string>& prefixes, const std::string& canonical,
                       const std::string& stored) {
    add_prefixed_names(names, prefixes, canonical, {stored});
  };
  add(kCodeTable, "codes.table", "bottleneck.regularizer.embedding.weight");
  add(kCodeTower, "code_vision.positions", "embeddings.position_embedding.weight");
  const std::string eye = "code_vision.layers.#.", eye_from = "encoder.layers.#.";
  const std::string ear = "code_audio.layers.#.", ear_from = "encoder.blocks.#.";
  add(kCodeEars, ear + "memory.weight", ear_from + "attn.fsmn_block.weight");
  for (const std::string kind : {".weight", ".bias"}) {
    add(kCodeTable, "codes.task" + kind, "encode_task_layer.0" + kind);
    add(kCodeTable, "codes.in" + kind, "bottleneck.in_linear" + kind);
    add(kCodeTable, "codes.project" + kind, "bottleneck.regularizer.embedding_proj" + kind);
    add(kCodeTower, "code_vision.patch" + kind, "embeddings.patch_embedding" + kind);
    for (const std::string part : {"1", "2"}) {
      add(kCodeTower, eye + "norm" + part + kind, eye_from + "layer_norm" + part + kind);
      add(kCodeTower, eye + "fc" + part + kind, eye_from + "mlp.fc" + part + kind);
      add(kCodeEars, "code_audio.conv" + part + kind, "encoder.conv" + part + kind);
    }
    for (const std::string part : {"q", "k", "v"})
      add(kCodeTower, eye + part + kind, eye_from + "self_attn." + part + "_proj" + kind);
    add(kCodeTower, eye + "o" + kind, eye_from + "self_attn.out_proj" + kind);
    const std::pair<const char*, const char*> parts[] = {
        {"norm1", "attn_ln"}, {"norm2", "mlp_ln"}, {"q", "attn.query"}, {"k", "attn.key"},
        {"v", "attn.value"},  {"o", "attn.out"},   {"fc1", "mlp.0"},    {"fc2", "mlp.2"}};
    for (const auto& [to, from] : parts) add(kCodeEars, ear + to + kind, ear_from + from + kind);
    add(kCodeEars, "code_audio.tail1" + kind, "quantizer._codebook.project_down" + kind);
  }
}

void add_video_sound_names(NameTable& names) {
  const auto add = [&](const std::string& canonical, const std::string& stored) {
    add_prefixed_names(names, kVideoSound, "video_sound." + canonical, {stored});
  };
  const std::string to = "layers.#.", from = "model.layers.#.", mixer = from + "mixer.";
  for (const std::string kind : {".weight", ".bias"}) {
    add("in" + kind, "input_proj" + kind);
    add("out" + kind, "output_proj" + kind);
    add("in_norm" + kind, "input_norm" + kind);
    add(to + "weigh" + kind, from + "weight_fc" + kind);
    add(to + "gate" + kind, from + "gate_fc" + kind);
    add(to + "conv" + kind, mixer + "conv1d" + kind);
  }
  add("question", "query_token");
  add("norm.weight", "model.norm_f.weight");
  add(to + "norm.weight", from + "norm.weight");
  add(to + "in.weight", mixer + "in_proj.weight");
  add(to + "out.weight", mixer + "out_proj.weight");
  add(to + "inner_norm.weight", mixer + "norm.weight");
  add(to + "dt_bias", mixer + "dt_bias");
  add(to + "a_log", mixer + "A_log");
  add(to + "d", mixer + "D");
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
  add_code_names(names);
  add_video_sound_names(names);
  return names;
}

/// What shortens the sound of videos, by the sizes of its stored tensors. Source: the checkpoint's
/// mambamia files.
void read_video_sound(const ModelFiles& files, const ConfigReader& config, ModelConfig& model) {
  const auto stored = [&](const std::string& name) {
    for (const std::string& prefix : kVideoSound)
      if (const TensorView found = files.checkpoint->find(prefix + name); !found.empty())
        return found.shape;
    return Shape{};
  };
  const bool has_token = config.has("video_audio_start_id") || config.has("video_audio_token_id");
  const Shape in = stored("input_proj.weight");
  if (!model.vision->video || !has_token || in.rank() != 2) return;
  SequenceCompressorConfig c;
  c.in_size = c.out_size = model.decoder.hidden_size;
  c.hidden_size = in[0];
  c.num_layers = 0;
  while (stored("model.layers." + std::to_string(c.num_layers) + ".norm.weight").rank() == 1)
    ++c.num_layers;
  const Shape weigh = stored("model.layers.0.weight_fc.weight");
  const Shape heads = stored("model.layers.0.mixer.A_log");
  const Shape taps = stored("model.layers.0.mixer.conv1d.weight");
  const Shape out = stored("model.layers.0.mixer.out_proj.weight");
  if (weigh.rank() != 2 || heads.rank() != 1 || taps.rank() != 3 || out.rank() != 2 ||
      heads[0] < 1 || out[1] % heads[0] != 0 || taps[0] <= out[1] || (taps[0] - out[1]) % 2 != 0)
    fail(ErrorCode::kCorruptData,
         "expected weight_fc, A_log, conv1d and out_proj of sizes that fit each other in "
         "video_audio_compressor.model.layers.0");
  c.chunk = weigh[0];
  c.inner_size = out[1];
  c.head_dim = c.inner_size / heads[0];
  c.state_size = (taps[0] - c.inner_size) / 2;
  c.conv_taps = taps[2];
  model.video_sound = c;
  model.video_tokens.sound = SoundInVideo::kBehind;
  model.special.video_audio_placeholder =
      token(config, "video_audio_start_id", "video_audio_token_id");
}

/// What is not computed: pictures drawn from codes.
void ignore_the_rest(const ConfigReader& config, ModelConfig& model) {
  std::vector<std::string> parts;
  if (!model.video_sound) parts.push_back("video_audio_compressor.");
  const bool sees = model.codes && model.codes->vision;
  if (!model.codes || !model.codes->audio) parts.push_back("discrete_audio_model.");
  if (!sees) parts.push_back("discrete_vision_model.");
  if (sees) {
    const std::string eyes = "discrete_vision_model.", tower = eyes + "encoder.";
    for (const std::string unused : {"decoder.", "decode_task_layer.", "bottleneck.out_linear.",
                                     "scale_layer.", "encoder.post_layernorm.", "encoder.head."})
      parts.push_back(eyes + unused);
    const int64_t layers =
        config.sub("discrete_vision_config").size_or("num_hidden_layers", kPublishedPictureLayers);
    for (int64_t i = model.codes->vision->transformer.num_layers; i < layers; ++i)
      parts.push_back(tower + "encoder.layers." + std::to_string(i) + ".");
  }
  for (const std::string outer : {"model.", ""})
    for (const std::string& part : parts) model.ignored_prefixes.push_back(outer + part);
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
  auto codes = std::make_shared<CodesConfig>();
  read_picture_codes(files, config, model.decoder.vocab_size, *codes);
  read_sound_codes(files, config, model.decoder.vocab_size, *codes);
  for (const std::string outer : {"model.", ""})
    for (const std::string part : {"discrete_vision_model.", "discrete_audio_model."})
      codes->stored_below.push_back(outer + part);
  if (codes->vision || codes->audio) model.codes = std::move(codes);
  read_video_sound(files, config, model);
  ignore_the_rest(config, model);
  return model;
}

}  // namespace

Family hyperclovax_omni_family() { return {"hyperclovax_omni", matches, map, make_text_engine}; }

}  // namespace onnuri
