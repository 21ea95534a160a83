// Encoders over tiles of one size, as many families have them: reading their configs, naming their
// tensors. Two shapes: with a class token and a norm before the layers, or with neither.
#pragma once

#include <array>
#include <string>
#include <vector>

#include "encoders/vision/vision_config.h"
#include "engine/config_reader.h"
#include "engine/model_config.h"
#include "engine/name_table.h"

namespace onnuri {

/// What a config.json leaves out because its class in transformers has it as a default.
struct TowerDefaults {
  int64_t hidden_size = 768;
  int64_t intermediate_size = 3072;
  int64_t num_layers = 12;
  int64_t num_heads = 12;
  int64_t image_size = 224;
  int64_t patch_size = 16;
  double norm_eps = 1e-6;
  const char* activation = "gelu_pytorch_tanh";
  bool class_token = false;
};
TowerDefaults siglip_defaults();
TowerDefaults clip_defaults();

/// The activation named at `key`, or `fallback`.
Activation read_tower_activation(const ConfigReader& config, std::string_view key,
                                 const std::string& fallback);

/// Layers with LayerNorm and a feed-forward of two products.
TransformerConfig read_tower_layers(const ConfigReader& config, const TowerDefaults& defaults);

/// Patches, layers and a table of positions; tiles of image_size, stretched. The norm behind the
/// layers is on where there is no class token.
VisionConfig read_tower(const ConfigReader& vision, const TowerDefaults& defaults);

/// Colours and filter of preprocessor_config.json, beside the patches that are already there.
void read_tile_colors(const ModelFiles& files, VisionConfig& vision);
/// Reader of preprocessor_config.json; throws kNotFound without it.
ConfigReader preprocessor(const ModelFiles& files);
/// The mean of the normalisation as a colour, cut down to whole levels.
std::array<uint8_t, 3> read_mean_color(const ConfigReader& processor);
/// A square or a short side: a number, {"height": h, "width": h} or {"shortest_edge": s}.
int64_t read_side(const ConfigReader& config, std::string_view key);

/// Runs only the layers whose output is hidden state `index` of the reference (0: the embeddings;
/// negative: from the end), without the last norm. Their number; others are added to
/// `model.ignored_prefixes` with each of `prefixes`.
void choose_hidden_state(int64_t index, const std::vector<std::string>& prefixes,
                         ModelConfig& model);

/// Names below "vision." with the spellings of SigLIP and CLIP, for each of `prefixes`.
void add_tower_names(NameTable& names, const std::vector<std::string>& prefixes);

/// The decoder of a model that keeps a whole text model inside: "text_config" is mapped by its own
/// family, and its names get each of `prefixes` in front ("language_model." finds
/// "language_model.model.layers.0..."). `names` finds everything else.
ModelConfig map_inner_text(const ModelFiles& files, std::string family,
                           const std::vector<std::string>& prefixes, const NameTable& names);

}  // namespace onnuri
