// LLaVA 1.5, LLaVA-NeXT and LLaVA-OneVision: any text model, an encoder of square tiles, two
// products between them. 1.5 cuts the middle out of a picture; the others add a grid of tiles,
// whose borders are taken off again and whose lines end with a learned row.
// Source: transformers 5.23, models/llava, models/llava_next, models/llava_onevision.
#include <charconv>

#include "core/check.h"
#include "engine/decoder_mapping.h"
#include "engine/families/registry.h"
#include "engine/text_engine.h"
#include "engine/tower_mapping.h"
#include "engine/vision_mapping.h"

namespace onnuri {
namespace {

const std::vector<std::string> kTowerPrefixes = {"vision_tower.vision_model.",
                                                 "model.vision_tower.vision_model.",
                                                 "vision_tower.", "model.vision_tower."};

bool matches(const ModelFiles& files) {
  return config_names(files, {"llava", "llava_next", "llava_onevision"},
                      {"LlavaForConditionalGeneration", "LlavaNextForConditionalGeneration",
                       "LlavaOnevisionForConditionalGeneration"});
}

/// A tower of either shape, and whether the file asks for the rows that this build can give.
VisionConfig read_eyes(const ConfigReader& config, const char* strategy) {
  const ConfigReader vision = config.sub("vision_config");
  const std::string type = vision.string("model_type");
  if (type != "clip_vision_model" && type != "siglip_vision_model")
    fail(ErrorCode::kUnsupported, "expected clip_vision_model or siglip_vision_model at ",
         vision.place("model_type"), ", found \"", type, "\"");
  const VisionConfig out =
      read_tower(vision, type == "clip_vision_model" ? clip_defaults() : siglip_defaults());
  const std::string select = config.string_or("vision_feature_select_strategy", strategy);
  if (select != (out.class_token ? "default" : "full"))
    fail(ErrorCode::kUnsupported, "expected all patches and no class token of ", type, ", found \"",
         select, "\" at ", config.place("vision_feature_select_strategy"));
  return out;
}

void read_crop(const ConfigReader& processor, TileConfig& tiling) {
  if (processor.boolean_or("do_pad", false))
    fail(ErrorCode::kUnsupported, "pictures padded to squares, at ", processor.place("do_pad"));
  if (!processor.boolean_or("do_center_crop", true)) return;
  tiling.rule = TileRule::kCrop;
  tiling.shortest_edge = read_side(processor, "size");
  const int64_t side = read_side(processor, "crop_size");
  if (side != tiling.tile.height)
    fail(ErrorCode::kCorruptData, "expected ", tiling.tile.height, ", the encoder's size, at ",
         processor.place("crop_size"), ", found ", side);
}

void read_grids(const ConfigReader& config, const ConfigReader& processor, TileConfig& tiling) {
  constexpr std::string_view kKey = "image_grid_pinpoints";
  const ConfigReader& from = config.has(kKey) ? config : processor;
  if (!from.has(kKey))
    fail(ErrorCode::kCorruptData, "expected a list of sizes at ", config.place(kKey));
  tiling.rule = TileRule::kBestGrid;
  for (const JsonValue& entry : from.find(kKey)->as_array(from.place(kKey))) {
    const auto& pair = entry.as_array(from.place(kKey));
    if (pair.size() != 2)
      fail(ErrorCode::kCorruptData, "expected pairs of height and width at ", from.place(kKey));
    tiling.grids.push_back({pair[0].as_int(from.place(kKey)), pair[1].as_int(from.place(kKey))});
  }
}

/// "anyres_max_9": 9.
int64_t read_max_tiles(const ConfigReader& config) {
  const std::string name = config.string_or("vision_aspect_ratio", "anyres_max_9");
  constexpr std::string_view kStart = "anyres_max_";
  int64_t count = 0;
  if (name.starts_with(kStart))
    std::from_chars(name.data() + kStart.size(), name.data() + name.size(), count);
  if (count < 1 || count > 256)
    fail(ErrorCode::kUnsupported, "expected anyres_max_<n> at ",
         config.place("vision_aspect_ratio"), ", found \"", name, "\"");
  return count;
}

// The reference takes the frames that it is given; as many as its examples use are chosen of a
// file.
void read_video_rules(const ConfigReader& config, ModelConfig& model) {
  const char* key = config.has("video_token_id") ? "video_token_id" : "video_token_index";
  model.special.video_placeholder = static_cast<int32_t>(config.integer_or(key, 151647));
  VideoConfig video;
  video.max_pixels = model.vision->tiling->seen.height * model.vision->tiling->seen.width;
  video.frames = FrameRule::kLinspace;
  video.frames_per_second = 1.0;
  video.min_frames = 8;
  video.max_frames = 32;
  model.vision->video = video;
}

NameTable make_names() {
  NameTable names;
  add_tower_names(names, kTowerPrefixes);
  for (const std::string kind : {".weight", ".bias"})
    for (const std::string part : {"1", "2"})
      add_prefixed_names(names, {"multi_modal_projector.", "model.multi_modal_projector."},
                         "projector.fc" + part + kind, {"linear_" + part + kind});
  names.add("image_newline", {{"image_newline"}, {"model.image_newline"}});
  return names;
}

ModelConfig map(const ModelFiles& files) {
  const ConfigReader config(files.config, "config.json");
  const std::string type = config.string_or("model_type", "llava");
  const bool one_vision = type == "llava_onevision";
  const char* family = one_vision ? "llava_onevision" : type == "llava" ? "llava" : "llava_next";
  ModelConfig model = map_inner_text(
      files, family, {"language_model.", "model.language_model.", "model."}, make_names());
  model.vision = read_eyes(config, one_vision ? "full" : "default");
  if (config.has("vision_feature_layer") && config.find("vision_feature_layer")->is_array())
    fail(ErrorCode::kUnsupported, "several layers of the encoder, at ",
         config.place("vision_feature_layer"));
  choose_hidden_state(config.integer_or("vision_feature_layer", one_vision ? -1 : -2),
                      kTowerPrefixes, model);
  for (const std::string& prefix : kTowerPrefixes)
    model.ignored_prefixes.push_back(prefix + "head.");
  read_tile_colors(files, *model.vision);
  if (type == "llava") {
    read_crop(preprocessor(files), *model.vision->tiling);
  } else {
    read_grids(config, preprocessor(files), *model.vision->tiling);
    model.tile_join = TileJoinConfig{true, one_vision ? read_max_tiles(config) : 0};
    if (one_vision)
      model.vision->tiling->square_among_others = read_mean_color(preprocessor(files));
    if (one_vision) read_video_rules(config, model);
  }

  ProjectorConfig projector;
  projector.in_size = model.vision->transformer.hidden_size;
  projector.group_rows = 1;
  projector.intermediate_size = projector.fc2_size = projector.out_size = model.decoder.hidden_size;
  projector.norm = ProjectorNorm::kNone;
  projector.bias = config.boolean_or("multimodal_projector_bias", true);
  projector.activation = read_tower_activation(config, "projector_hidden_act", "gelu");
  model.projector = projector;
  const char* key = config.has("image_token_id") ? "image_token_id" : "image_token_index";
  model.special.image_placeholder =
      static_cast<int32_t>(config.integer_or(key, one_vision ? 151646 : 32000));
  return model;
}

}  // namespace

Family llava_family() { return {"llava", matches, map, make_text_engine}; }

}  // namespace onnuri
