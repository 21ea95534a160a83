// HyperCLOVA X SEED Vision with tiles: a text model, an encoder of square tiles, and an abstractor
// that makes a small square of rows of each. The grid of tiles has borders of the mean colour,
// which are taken off its rows again; lines end with a learned row. Source: the published
// checkpoint's own modelling and processing files; vLLM, models/ hyperclovax_vision.py.
#include "core/check.h"
#include "engine/abstractor_mapping.h"
#include "engine/decoder_mapping.h"
#include "engine/families/registry.h"
#include "engine/text_engine.h"
#include "engine/tower_mapping.h"
#include "engine/vision_mapping.h"

namespace onnuri {
namespace {

const std::vector<std::string> kTowerPrefixes = {"vision_model.vision_model.",
                                                 "model.vision_model.vision_model.",
                                                 "vision_model.", "model.vision_model."};
const std::vector<std::string> kProjectorPrefixes = {"mm_projector.", "model.mm_projector."};

constexpr int64_t kAbstractorDepth = 3;  // blocks on each side of the pool
constexpr int64_t kMaxGrids = 64;

std::string vision_type(const ModelFiles& files) {
  const JsonValue* vision = files.config.find("vision_config");
  if (vision == nullptr || !vision->is_object()) return {};
  return ConfigReader(*vision, "config.json: vision_config").string_or("model_type", "");
}

/// Several generations share the class name; the kind of the encoder tells them apart.
bool matches(const ModelFiles& files) {
  if (!config_names(files, {"hyperclovax_vlm", "hyperclovax_vision", "vlm"},
                    {"HCXVisionForCausalLM"}))
    return false;
  const std::string type = vision_type(files);
  return type == "siglip_vision_model" || type == "clip_vision_model";
}

/// config.json with its text model at "text_config".
JsonValue with_text_config(const JsonValue& config) {
  JsonValue out = config;
  const JsonValue* text = config.find("text_config");
  if (text == nullptr || text->is_null()) text = config.find("language_config");
  if (text == nullptr || !text->is_object())
    fail(ErrorCode::kCorruptData,
         "expected an object at config.json: text_config or language_config, found none");
  JsonValue inner = *text;
  const ConfigReader reader(*text, "config.json: text_config");
  if (reader.has("padded_vocab_size")) inner.set("vocab_size", reader.size("padded_vocab_size"));
  out.set("text_config", std::move(inner));
  return out;
}

void read_grids(const ConfigReader& config, const ConfigReader& processor, int64_t side,
                TileConfig& tiling) {
  constexpr std::string_view kKey = "possible_resolutions";
  tiling.rule = TileRule::kBestGrid;
  for (const ConfigReader& from : {processor, config}) {
    if (!from.has(kKey)) continue;
    for (const JsonValue& entry : from.find(kKey)->as_array(from.place(kKey))) {
      const auto& pair = entry.as_array(from.place(kKey));
      if (pair.size() != 2)
        fail(ErrorCode::kCorruptData, "expected pairs of height and width at ", from.place(kKey));
      tiling.grids.push_back({pair[0].as_int(from.place(kKey)), pair[1].as_int(from.place(kKey))});
    }
    if (!tiling.grids.empty()) return;
  }
  const int64_t most = config.size("max_num_grids");
  if (most > kMaxGrids)
    fail(ErrorCode::kCorruptData, "expected at most ", kMaxGrids, " at ",
         config.place("max_num_grids"), ", found ", most);
  const bool lone = config.boolean("use_1x1_grid");
  for (int64_t h = 1; h <= most; ++h)
    for (int64_t w = 1; h * w <= most; ++w)
      if (lone || h * w > 1) tiling.grids.push_back({h * side, w * side});
}

void read_tiling(const ConfigReader& config, const ConfigReader& processor, ModelConfig& model) {
  VisionConfig& vision = *model.vision;
  TileConfig& tiling = *vision.tiling;
  const int64_t side = tiling.tile.height;
  for (const char* key : {"size", "crop_size"})
    if (read_side(processor, key) != side)
      fail(ErrorCode::kUnsupported, "expected ", side, ", the encoder's size, at ",
           processor.place(key), ", found ", read_side(processor, key));
  const bool square = processor.boolean("pad_to_square");
  tiling.keep_shape = square;
  tiling.border = read_mean_color(processor);
  if (config.boolean("anyres")) {
    read_grids(config, processor, side, tiling);
    const bool cut = config.boolean("unpad");
    model.tile_join = TileJoinConfig{cut, 0, cut, false};
    if (!cut) model.ignored_prefixes.push_back("image_newline");
  } else if (!square) {
    tiling.rule = TileRule::kCrop;
    tiling.shortest_edge = side;
  }
}

void read_projector(const ModelFiles& files, const ConfigReader& config, ModelConfig& model) {
  const VisionConfig& vision = *model.vision;
  const int64_t width = vision.transformer.hidden_size;
  const std::string type = config.string("mm_projector_type");
  if (type == "cabstractor") {
    const char* key = config.has("num_queries_vis_abstractor_image")
                          ? "num_queries_vis_abstractor_image"
                          : "num_queries_vis_abstractor";
    ConvAbstractorConfig abstractor;
    abstractor.in_size = width;
    abstractor.out_size = model.decoder.hidden_size;
    abstractor.side = read_square_root(config, key);
    abstractor.before =
        read_abstractor_blocks(files, kProjectorPrefixes, "net.0.", kAbstractorDepth, width, width);
    abstractor.after =
        read_abstractor_blocks(files, kProjectorPrefixes, "net.2.", kAbstractorDepth, width, width);
    abstractor.prenorm = config.boolean_or("proj_prenorm", false);
    if (config.boolean_or("proj_pos_emb", true))
      abstractor.position_side = vision.position_grid_side;
    model.abstractor = abstractor;
    return;
  }
  if (type != "linear" && type != "mlp" && type != "inverted_mlp")
    fail(ErrorCode::kUnsupported, "expected cabstractor, linear, mlp or inverted_mlp at ",
         config.place("mm_projector_type"), ", found \"", type, "\"");
  ProjectorConfig projector;
  projector.in_size = width;
  projector.group_rows = 1;
  projector.norm = ProjectorNorm::kNone;
  projector.has_fc2 = type != "linear";
  projector.out_size = projector.fc2_size = model.decoder.hidden_size;
  projector.intermediate_size = type == "linear" ? projector.out_size
                                : type == "mlp"  ? width
                                                 : 2 * width;
  model.projector = projector;
}

NameTable make_names() {
  NameTable names;
  add_tower_names(names, kTowerPrefixes);
  add_abstractor_names(names, kProjectorPrefixes);
  const auto add = [&](const std::string& canonical, const std::string& stored) {
    add_prefixed_names(names, kProjectorPrefixes, "projector." + canonical, {stored});
  };
  for (const std::string kind : {"weight", "bias"}) {
    add("fc1." + kind, "fc1." + kind);
    add("fc1." + kind, kind);
    add("fc2." + kind, "fc2." + kind);
  }
  names.add("image_newline", {{"image_newline"}, {"model.image_newline"}});
  return names;
}

ModelConfig map(const ModelFiles& files) {
  ModelFiles complete = files;
  complete.config = with_text_config(files.config);
  const ConfigReader config(complete.config, "config.json");
  ModelConfig model = map_inner_text(complete, "hyperclovax_tiles",
                                     {"language_model.", "model.language_model."}, make_names());
  model.decoder.scales_media = true;
  const bool clip = vision_type(files) == "clip_vision_model";
  model.vision =
      read_tower(config.sub("vision_config"), clip ? clip_defaults() : siglip_defaults());
  choose_hidden_state(config.integer("use_nth_layer"), kTowerPrefixes, model);
  for (const std::string& prefix : kTowerPrefixes)
    model.ignored_prefixes.push_back(prefix + "head.");
  read_tile_colors(files, *model.vision);
  read_tiling(config, preprocessor(files), model);
  read_projector(files, config, model);
  const char* key = config.has("image_token_id") ? "image_token_id" : "img_start_id";
  model.special.image_placeholder = static_cast<int32_t>(config.size(key));
  return model;
}

}  // namespace

Family hyperclovax_tiles_family() { return {"hyperclovax_tiles", matches, map, make_text_engine}; }

}  // namespace onnuri
