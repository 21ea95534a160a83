// CLIP and SigLIP: a vision and a text encoder whose vectors are compared. CLIP takes the class
// token and the row of the text's end; SigLIP asks a learned question of the patches and takes the
// text's last row. SigLIP 2 with one fixed size has SigLIP's config and tensors; the other kind
// cuts pictures into a given number of patches, in grids of their own shape. Source:
// transformers 5.23, models/clip, models/siglip and models/siglip2.
#include <cmath>

#include "core/check.h"
#include "engine/decoder_mapping.h"
#include "engine/embed_engine.h"
#include "engine/families/registry.h"
#include "engine/tower_mapping.h"
#include "engine/vision_mapping.h"

namespace onnuri {
namespace {

bool matches(const ModelFiles& files) {
  return config_names(files, {"clip", "siglip", "siglip2"},
                      {"CLIPModel", "SiglipModel", "Siglip2Model"});
}

TextTowerConfig read_text(const ConfigReader& text, bool clip, int64_t out_size) {
  TowerDefaults defaults = clip ? clip_defaults() : siglip_defaults();
  defaults.hidden_size = clip ? 512 : 768;
  defaults.intermediate_size = clip ? 2048 : 3072;
  defaults.num_heads = clip ? 8 : 12;
  TextTowerConfig out;
  out.transformer = read_tower_layers(text, defaults);
  out.transformer.causal = clip;
  out.vocab_size = text.size_or("vocab_size", clip ? 49408 : 32000);
  out.max_positions = text.size_or("max_position_embeddings", clip ? 77 : 64);
  out.out_size = clip ? out_size : text.size_or("projection_size", out.transformer.hidden_size);
  out.out_bias = !clip;
  if (!clip) return out;
  // Files from before the end token was recorded say 2; there the largest id ends a text.
  const auto end = static_cast<int32_t>(text.integer_or("eos_token_id", 49407));
  out.row = end == 2 ? TextRow::kLargestId : TextRow::kFirstEnd;
  out.end_id = end;
  return out;
}

void read_size(const ConfigReader& processor, bool clip, TileConfig& tiling) {
  const bool crop = processor.boolean_or("do_center_crop", clip);
  const int64_t side = read_side(processor, crop ? "crop_size" : "size");
  if (side != tiling.tile.height)
    fail(ErrorCode::kCorruptData, "expected ", tiling.tile.height, ", the encoder's size, at ",
         processor.place(crop ? "crop_size" : "size"), ", found ", side);
  if (!crop) return;
  tiling.rule = TileRule::kCrop;
  tiling.shortest_edge = read_side(processor, "size");
}

/// Pictures as large as a number of patches allows, positions from a table of another size.
void read_patches(const ModelFiles& files, const ConfigReader& config, VisionConfig& vision) {
  constexpr int64_t kMaxPatches = 1 << 16;
  const ConfigReader processor = preprocessor(files);
  const auto expect_bounded = [&](const ConfigReader& from, const char* key, int64_t fallback) {
    const int64_t found = from.size_or(key, fallback);
    if (found > kMaxPatches)
      fail(ErrorCode::kCorruptData, "expected at most ", kMaxPatches, " at ", from.place(key),
           ", found ", found);
    return found;
  };
  const int64_t known = expect_bounded(config, "num_patches", 256);
  const auto side = static_cast<int64_t>(std::lround(std::sqrt(static_cast<double>(known))));
  if (side * side != known)
    fail(ErrorCode::kCorruptData, "expected a square number at ", config.place("num_patches"),
         ", found ", known);
  vision.tiling.reset();
  vision.flat_patches = true;
  vision.positions = VisionPositions::kLearnedGridSmooth;
  vision.position_grid_side = side;
  vision.processor.max_patches = expect_bounded(processor, "max_num_patches", 256);
  const int64_t patch = processor.size_or("patch_size", 16);
  if (patch != vision.processor.patch_size)
    fail(ErrorCode::kCorruptData, "expected ", vision.processor.patch_size,
         ", the encoder's patches, at ", processor.place("patch_size"), ", found ", patch);
  if (!processor.has("resample")) vision.processor.filter = ResizeFilter::kBilinear;
}

NameTable make_names(bool clip, int64_t width) {
  NameTable names;
  add_tower_names(names, {"vision_model."});
  names.derive("vision.layers.", "text.layers.", "vision_model.", "text_model.");
  names.add("text.embed.weight", {{"text_model.embeddings.token_embedding.weight"}});
  names.add("text.positions", {{"text_model.embeddings.position_embedding.weight"}});
  names.add("logit_scale", {{"logit_scale"}});
  names.add("logit_bias", {{"logit_bias"}});
  names.add("pool.probe", {{"vision_model.head.probe"}});
  for (const std::string kind : {"weight", "bias"}) {
    names.add("text.norm." + kind, {{"text_model.final_layer_norm." + kind}});
    names.add("text.out." + kind, {{clip ? "text_projection." + kind : "text_model.head." + kind}});
    names.add("pool.norm." + kind, {{clip ? "vision_model.post_layernorm." + kind
                                          : "vision_model.head.layernorm." + kind}});
    int64_t row = 0;
    for (const std::string part : {"q", "k", "v"}) {
      names.add("pool." + part + "." + kind,
                {{"vision_model.head.attention.in_proj_" + kind, false, row, width}});
      row += width;
    }
    names.add("pool.o." + kind, {{"vision_model.head.attention.out_proj." + kind}});
    for (const std::string part : {"fc1", "fc2"})
      names.add("pool." + part + "." + kind, {{"vision_model.head.mlp." + part + "." + kind}});
  }
  names.add("pool.out.weight", {{"visual_projection.weight"}});
  return names;
}

ModelConfig map(const ModelFiles& files) {
  const ConfigReader config(files.config, "config.json");
  const std::string type = config.string_or("model_type", "clip");
  const bool clip = type == "clip";
  const JsonValue none(JsonValue::Object{});
  const auto part = [&](const char* key) {
    const JsonValue* value = config.find(key);
    return ConfigReader(value != nullptr ? *value : none, std::string("config.json: ") + key);
  };
  ModelConfig model = base_model(files, clip ? "clip" : type == "siglip2" ? "siglip2" : "siglip");
  model.vision = read_tower(part("vision_config"), clip ? clip_defaults() : siglip_defaults());
  read_tile_colors(files, *model.vision);
  if (type == "siglip2")
    read_patches(files, part("vision_config"), *model.vision);
  else
    read_size(preprocessor(files), clip, *model.vision->tiling);
  EmbedConfig embed;
  const int64_t width = model.vision->transformer.hidden_size;
  const int64_t out_size = clip ? config.size_or("projection_dim", 512) : width;
  embed.text = read_text(part("text_config"), clip, out_size);
  if (embed.text.out_size != out_size)
    fail(ErrorCode::kCorruptData, "expected texts and pictures in one space, found vectors of ",
         embed.text.out_size, " and ", out_size, " numbers");
  embed.pool.kind = clip ? PoolKind::kClassToken : PoolKind::kAttention;
  embed.pool.shape = model.vision->transformer;
  embed.pool.out_size = out_size;
  embed.sigmoid = embed.lower_case = !clip;
  embed.drop_punctuation = !clip && embed.text.vocab_size <= 32000;  // version 2 keeps it
  if (!clip) embed.pad_id = static_cast<int32_t>(part("text_config").integer_or("pad_token_id", 1));
  model.embed = embed;
  model.names = make_names(clip, width).map();
  for (const char* side : {"text_model.", "vision_model."})
    model.ignored_prefixes.push_back(std::string(side) + "embeddings.position_ids");
  return model;
}

}  // namespace

Family clip_family() { return {"clip", matches, map, make_embed_engine}; }

}  // namespace onnuri
