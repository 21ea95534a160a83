// Gemma 3 text: norms around both sublayers, five sliding layers to one full, a rope table for each
// kind, embeddings times sqrt(hidden_size), GELU-gated feed-forward. Checkpoints with a vision
// tower: one stretched tile per picture, its patches averaged to fewer tokens that see each other.
// Source: transformers models/gemma3 (norms hold w of 1 + w); GGUF files have the one added
// already.
#include <cmath>

#include "core/check.h"
#include "engine/decoder_mapping.h"
#include "engine/families/registry.h"
#include "engine/text_engine.h"
#include "engine/tower_mapping.h"
#include "engine/vision_mapping.h"

namespace onnuri {
namespace {

constexpr int kLocalRope = 0;
constexpr int kGlobalRope = 1;

bool matches(const ModelFiles& files) {
  return gguf_architecture(files) == "gemma3" ||
         config_names(files, {"gemma3", "gemma3_text"},
                      {"Gemma3ForCausalLM", "Gemma3ForConditionalGeneration"});
}

void fill_layers(DecoderConfig& decoder, const std::vector<bool>& sliding, int64_t window) {
  decoder.embed_scale = std::sqrt(static_cast<float>(decoder.hidden_size));
  for (size_t i = 0; i < decoder.layers.size(); ++i) {
    LayerSpec& layer = decoder.layers[i];
    layer.window = sliding[i] ? window : 0;
    layer.rope = sliding[i] ? kLocalRope : kGlobalRope;
    layer.qk_norm = true;
    layer.post_mixer_norm = layer.post_ffn_norm = true;
    layer.activation.kind = GluKind::kGeluTanh;
  }
}

ModelConfig map_gguf(const ModelFiles& files) {
  ModelConfig model = base_model(files, "gemma3");
  const ConfigReader config = gguf_config(files);
  if (config.number_or("final_logit_softcapping", 0) != 0)
    fail(ErrorCode::kUnsupported, "logit soft-capping, at ",
         config.place("final_logit_softcapping"));
  DecoderConfig& decoder = model.decoder;
  decoder = read_gguf_decoder(files, config);
  RopeSettings local;
  local.theta = config.positive_or("rope.freq_base_swa", 10000.0);
  local.rotary_dim = decoder.head_dim;
  decoder.rope_tables = {make_table(local),
                         read_gguf_rope(files, config, decoder.head_dim, RopeLayout::kHalf)};
  // Only the 27B model scales by hidden_size / heads; the files carry no key for it.
  if (decoder.num_layers() == 62)
    decoder.attention_scale = 1.0f / std::sqrt(static_cast<float>(decoder.hidden_size) /
                                               static_cast<float>(decoder.num_heads));
  const int64_t window = config.size("attention.sliding_window");
  fill_layers(decoder, read_gguf_sliding_layers(config, decoder.num_layers(), 6), window);
  NameTable names;
  add_gguf_names(names, {"attn_norm", "post_attention_norm", "ffn_norm", "post_ffw_norm"});
  model.names = names.map();
  return model;
}

RopeSettings local_rope(const ConfigReader& config, int64_t head_dim) {
  if (config.has("rope_parameters"))
    return read_rope(config, head_dim, "sliding_attention", 10000.0);
  RopeSettings local;
  local.theta = config.positive_or("rope_local_base_freq", 10000.0);
  local.rotary_dim = head_dim;
  return local;
}

const std::vector<std::string> kTowerPrefixes = {"vision_tower.vision_model.",
                                                 "model.vision_tower.vision_model.",
                                                 "vision_tower.", "model.vision_tower."};

void read_pan_and_scan(const ConfigReader& processor, TileConfig& tiling) {
  if (!processor.boolean_or("do_pan_and_scan", false)) return;
  tiling.rule = TileRule::kPanAndScan;
  tiling.min_crop = processor.size("pan_and_scan_min_crop_size");
  tiling.max_crops = processor.size("pan_and_scan_max_num_crops");
  tiling.min_ratio = processor.number("pan_and_scan_min_ratio_to_activate");
}

/// Patches per token on each side: the average of a square.
int64_t pooled_side(const ConfigReader& config, const VisionConfig& vision) {
  const int64_t tokens = config.size_or("mm_tokens_per_image", 256);
  const auto side = static_cast<int64_t>(std::sqrt(static_cast<double>(tokens)));
  if (side * side != tokens || vision.position_grid_side % side != 0)
    fail(ErrorCode::kCorruptData, "expected the square of a number that divides ",
         vision.position_grid_side, " at ", config.place("mm_tokens_per_image"), ", found ",
         tokens);
  return vision.position_grid_side / side;
}

void read_eyes(const ModelFiles& files, const ConfigReader& config, ModelConfig& model) {
  const ConfigReader vision = config.sub("vision_config");
  model.vision = read_tower(vision, siglip_defaults());
  read_tile_colors(files, *model.vision);
  read_pan_and_scan(preprocessor(files), *model.vision->tiling);
  model.vision->processor.merge_size = pooled_side(config, *model.vision);
  ProjectorConfig projector;
  projector.in_size = model.vision->transformer.hidden_size;
  projector.group_rows = model.vision->processor.merge_size * model.vision->processor.merge_size;
  projector.intermediate_size = projector.out_size = model.decoder.hidden_size;
  projector.has_fc2 = projector.bias = false;
  projector.join = ProjectorJoin::kMean;
  projector.norm_weight_offset = 1.0f;
  projector.norm_eps = model.vision->transformer.norm_eps;
  model.projector = projector;
  model.media_sees_ahead = true;
  const auto id = [&](std::string_view key, int64_t fallback) {
    return static_cast<int32_t>(config.integer_or(key, fallback));
  };
  model.special.image_placeholder = id("image_token_index", 262144);
  model.special.vision_start = id("boi_token_index", 255999);
  model.special.vision_end = id("eoi_token_index", 256000);
  const std::string begin = "\n\n<start_of_image>", end = "<end_of_image>\n\n";
  TileText text;
  text.marker = model.special.vision_start;
  text.lone_before = text.tile_before = begin;
  text.lone_after = text.tile_after = end;
  text.overview_before = "Here is the original image " + begin;
  text.overview_after = end + " and here are some crops to help you see better ";
  text.between = " ";
  model.tile_text = text;
}

void add_eye_names(NameTable& names) {
  add_tower_names(names, kTowerPrefixes);
  const std::vector<std::string> projector = {"multi_modal_projector.",
                                              "model.multi_modal_projector."};
  add_prefixed_names(names, projector, "projector.norm.weight", {"mm_soft_emb_norm.weight"});
  StoredName product{"mm_input_projection_weight"};
  product.transposed = true;
  add_prefixed_names(names, projector, "projector.fc1.weight", product);
}

void read_text(const ConfigReader& config, DecoderConfig& decoder) {
  for (const char* key : {"final_logit_softcapping", "attn_logit_softcapping"})
    if (config.has(key))
      fail(ErrorCode::kUnsupported, "logit soft-capping, at ", config.place(key));
  if (config.boolean_or("use_bidirectional_attention", false))
    fail(ErrorCode::kUnsupported, "attention to later tokens, at ",
         config.place("use_bidirectional_attention"));
  // Published multimodal configs leave these to the defaults of the reference class.
  decoder = read_decoder(config, {.vocab_size = 262208,
                                  .num_heads = 8,
                                  .num_kv_heads = 4,
                                  .head_dim = 256,
                                  .max_position = 131072,
                                  .norm_eps = 1e-6,
                                  .tied_head = true});
  decoder.norm_form = NormForm::kOnePlusWeight;
  decoder.attention_scale =
      static_cast<float>(1.0 / std::sqrt(config.positive_or("query_pre_attn_scalar", 256.0)));
  const int64_t head_dim = decoder.head_dim;
  decoder.rope_tables = {make_table(local_rope(config, head_dim)),
                         make_table(read_rope(config, head_dim, "full_attention", 1e6))};
  fill_layers(decoder, read_sliding_layers(config, decoder.num_layers(), 6),
              config.size_or("sliding_window", 4096));
  const bool bias = config.boolean_or("attention_bias", false);
  for (LayerSpec& layer : decoder.layers)
    layer.q_bias = layer.k_bias = layer.v_bias = layer.o_bias = bias;
}

ModelConfig map_config(const ModelFiles& files) {
  ModelConfig model = base_model(files, "gemma3");
  const ConfigReader config = text_config(files);
  require_activation(config, "hidden_activation", "gelu_pytorch_tanh");
  read_text(config, model.decoder);
  NameTable names;
  add_names(names, {"model.", "model.language_model.", "language_model.model."},
            {"input_layernorm", "post_attention_layernorm", "pre_feedforward_layernorm",
             "post_feedforward_layernorm"});
  names.add("head.weight", {{"language_model.lm_head.weight"}});
  const ConfigReader whole(files.config, "config.json");
  // Without the picture geometry beside it, a multimodal checkpoint still reads text.
  if (whole.has("vision_config") && files.preprocessor_config.is_object()) {
    read_eyes(files, whole, model);
    add_eye_names(names);
    for (const std::string& prefix : kTowerPrefixes)
      model.ignored_prefixes.push_back(prefix + "head.");
  } else {
    model.ignored_prefixes = {"vision_tower.", "multi_modal_projector.", "model.vision_tower.",
                              "model.multi_modal_projector."};
  }
  model.names = names.map();
  return model;
}

ModelConfig map(const ModelFiles& files) {
  return files.is_gguf() ? map_gguf(files) : map_config(files);
}

}  // namespace

Family gemma3_family() { return {"gemma3", matches, map, make_text_engine}; }

}  // namespace onnuri
