// Idefics3 and SmolVLM: a picture becomes a grid of square tiles and one overview, each followed by
// its own text; neighbouring patches are joined and multiplied once.
// Source: transformers 5.23, models/idefics3 and models/smolvlm.
#include "core/check.h"
#include "engine/decoder_mapping.h"
#include "engine/families/registry.h"
#include "engine/text_engine.h"
#include "engine/tower_mapping.h"
#include "engine/vision_mapping.h"

namespace onnuri {
namespace {

const std::vector<std::string> kTowerPrefixes = {"model.vision_model.", "vision_model."};

bool matches(const ModelFiles& files) {
  return config_names(files, {"idefics3", "smolvlm"},
                      {"Idefics3ForConditionalGeneration", "SmolVLMForConditionalGeneration"});
}

void read_eyes(const ModelFiles& files, const ConfigReader& config, ModelConfig& model) {
  TowerDefaults defaults = siglip_defaults();
  defaults.hidden_size = 1152;
  defaults.num_heads = 16;
  defaults.patch_size = 32;
  model.vision = read_tower(config.sub("vision_config"), defaults);
  VisionConfig& vision = *model.vision;
  read_tile_colors(files, vision);
  vision.positions = VisionPositions::kLearnedBucket;
  vision.processor.merge_size = config.size_or("scale_factor", 2);
  const ConfigReader processor = preprocessor(files);
  TileConfig& tiling = *vision.tiling;
  tiling.rule = TileRule::kWholeGrid;
  tiling.split = processor.boolean_or("do_image_splitting", true);
  tiling.longest_edge = processor.sub("size").size("longest_edge");
  const int64_t side = processor.sub("max_image_size").size("longest_edge");
  const int64_t patch = vision.processor.patch_size;
  tiling.tile = {side, side};
  tiling.seen = {side / patch * patch, side / patch * patch};
}

ModelConfig map(const ModelFiles& files) {
  const ConfigReader config(files.config, "config.json");
  NameTable names;
  add_tower_names(names, kTowerPrefixes);
  add_prefixed_names(names, {"model.connector.", "connector."}, "projector.fc1.weight",
                     {"modality_projection.proj.weight"});
  const bool smol = config.string_or("model_type", "idefics3") == "smolvlm";
  ModelConfig model = map_inner_text(files, smol ? "smolvlm" : "idefics3",
                                     {"model.text_model.", "text_model."}, names);
  read_eyes(files, config, model);
  ProjectorConfig projector;
  projector.in_size = model.vision->transformer.hidden_size;
  projector.group_rows = model.vision->processor.merge_size * model.vision->processor.merge_size;
  projector.intermediate_size = projector.out_size = model.decoder.hidden_size;
  projector.has_fc2 = projector.bias = false;
  projector.norm = ProjectorNorm::kNone;
  model.projector = projector;
  model.special.image_placeholder =
      static_cast<int32_t>(config.integer_or("image_token_id", 128257));
  const std::string edge = "<fake_token_around_image>";
  TileText text;
  text.marker = model.special.image_placeholder;
  text.lone_before = edge + "<global-img>";
  text.lone_after = text.overview_after = edge;
  text.overview_before = "\n" + edge + "<global-img>";
  text.tile_before = edge + "<row_{row}_col_{col}>";
  text.row_after = "\n";
  text.overview_first = false;
  model.tile_text = text;
  return model;
}

}  // namespace

Family idefics3_family() { return {"idefics3", matches, map, make_text_engine}; }

}  // namespace onnuri
