// K-EXAONE: norms before sublayers, RMS norm on q and k, three sliding layers with rope to one full
// layer without positions, a dense first layer and sigmoid-routed experts after it.
// Source: transformers models/exaone_moe; the extra keys of K-EXAONE 2.0 (windows and clamps per
// layer) and the prediction module as vLLM reads them.
#include <algorithm>

#include "core/check.h"
#include "engine/decoder_mapping.h"
#include "engine/families/registry.h"
#include "engine/moe_mapping.h"
#include "engine/text_engine.h"

namespace onnuri {
namespace {

bool matches(const ModelFiles& files) {
  return gguf_architecture(files) == "exaone-moe" ||
         config_names(files, {"exaone_moe", "exaone_moe2"},
                      {"ExaoneMoEForCausalLM", "ExaoneMoeForCausalLM"});
}

void fill_layers(DecoderConfig& decoder, const std::vector<bool>& sliding,
                 const std::vector<bool>& sparse, bool has_window) {
  for (size_t i = 0; i < decoder.layers.size(); ++i) {
    LayerSpec& layer = decoder.layers[i];
    layer.rope = sliding[i] || !has_window ? 0 : -1;
    layer.qk_norm = true;
  }
  set_expert_layers(sparse, decoder);
}

ModelConfig map_gguf(const ModelFiles& files) {
  ModelConfig model = read_gguf_model(files, "exaone_moe", {});
  const ConfigReader config = gguf_config(files);
  require_gguf_gating(config, GgufGating::kSigmoid, true);
  DecoderConfig& decoder = model.decoder;
  read_gguf_experts(files, config, decoder);
  decoder.moe.router.score = RouterScore::kSigmoid;
  const std::vector<bool> sliding = read_gguf_sliding_layers(config, decoder.num_layers(), 4);
  const int64_t window = config.size("attention.sliding_window");
  for (size_t i = 0; i < sliding.size(); ++i) {
    LayerSpec& layer = decoder.layers[i];
    layer.window = sliding[i] ? window : 0;
    layer.rope = sliding[i] ? 0 : -1;
    layer.qk_norm = true;
  }
  return model;
}

// "sliding_windows" gives each layer its own width; 0 or null is full attention.
std::vector<bool> read_windows(const ConfigReader& config, DecoderConfig& decoder) {
  const int64_t num_layers = decoder.num_layers();
  std::vector<bool> sliding;
  if (config.has("sliding_windows")) {
    const std::string place = config.place("sliding_windows");
    const auto& list = config.find("sliding_windows")->as_array(place);
    if (static_cast<int64_t>(list.size()) != num_layers)
      fail(ErrorCode::kCorruptData, "expected ", num_layers, " entries at ", place, ", found ",
           list.size());
    for (size_t i = 0; i < list.size(); ++i) {
      const int64_t window = list[i].is_null() ? 0 : list[i].as_int(place);
      if (window < 0)
        fail(ErrorCode::kCorruptData, "expected widths of 0 and more at ", place, ", found ",
             window);
      decoder.layers[i].window = window;
      sliding.push_back(window > 0);
    }
    return sliding;
  }
  const int64_t window = read_window_or_null(config);
  if (window == 0) return std::vector<bool>(decoder.layers.size(), false);
  sliding = read_sliding_layers(config, num_layers, 0);
  for (size_t i = 0; i < sliding.size(); ++i) decoder.layers[i].window = sliding[i] ? window : 0;
  return sliding;
}

void read_clamps(const ConfigReader& config, DecoderConfig& decoder) {
  if (!config.has("swiglu_limits")) return;
  const std::string place = config.place("swiglu_limits");
  const auto& list = config.find("swiglu_limits")->as_array(place);
  if (list.size() < decoder.layers.size())
    fail(ErrorCode::kCorruptData, "expected ", decoder.layers.size(), " entries at ", place,
         ", found ", list.size());
  for (size_t i = 0; i < decoder.layers.size(); ++i) {
    const double limit = list[i].is_null() ? 0.0 : list[i].as_double(place);
    if (limit <= 0) continue;
    decoder.layers[i].activation.kind = GluKind::kClampedSilu;
    decoder.layers[i].activation.limit = static_cast<float>(limit);
  }
}

// The window of the module's layer; without keys for it, that of the first layer.
int64_t module_window(const ConfigReader& config, const DecoderConfig& decoder) {
  if (config.has("mtp_sliding_windows")) {
    const std::string place = config.place("mtp_sliding_windows");
    const auto& list = config.find("mtp_sliding_windows")->as_array(place);
    if (list.empty()) fail(ErrorCode::kCorruptData, "expected an entry at ", place);
    return list[0].is_null() ? 0 : std::max<int64_t>(0, list[0].as_int(place));
  }
  if (config.has("mtp_layer_types")) {
    const std::vector<std::string> types = config.strings("mtp_layer_types");
    if (types.empty() || (types[0] != "full_attention" && types[0] != "sliding_attention"))
      fail(ErrorCode::kUnsupported, "expected full_attention or sliding_attention at ",
           config.place("mtp_layer_types"));
    return types[0] == "full_attention" ? 0 : config.size("sliding_window");
  }
  return decoder.layers[0].window;
}

// A dense layer that always carries positions, before it a join and after it a norm.
void add_module(const ModelFiles& files, const ConfigReader& config, NameTable& names,
                ModelConfig& model) {
  model.mtp_prefixes = {"mtp."};
  if (files.checkpoint->find("mtp.fc.weight").empty()) return;
  model.mtp.num_layers = 1;
  model.mtp.num_steps = config.size_or("mtp_num_speculative_steps", 1);
  LayerSpec& layer = model.mtp.layer;
  layer.rope = 0;
  layer.qk_norm = true;
  layer.window = module_window(config, model.decoder);
  layer.intermediate_size = config.size("intermediate_size");
  add_mtp_names(
      names, {"mtp.layers.0.", "mtp.pre_fc_norm_embedding.weight", "mtp.pre_fc_norm_hidden.weight",
              "mtp.fc.weight", "mtp.norm.weight", "", ""});
}

ModelConfig map(const ModelFiles& files) {
  if (files.is_gguf()) return map_gguf(files);
  ModelConfig model = read_text_model(files, "exaone_moe", {});
  const ConfigReader config = text_config(files);
  DecoderConfig& decoder = model.decoder;
  decoder.moe = read_sigmoid_moe(config, "num_shared_experts");
  const std::vector<bool> sliding = read_windows(config, decoder);
  // A width in the config takes the positions from full layers, even when no layer slides.
  const bool has_window = config.has("sliding_windows")
                              ? std::find(sliding.begin(), sliding.end(), true) != sliding.end()
                              : config.has("sliding_window");
  fill_layers(decoder, sliding, read_expert_layers(config, decoder.num_layers()), has_window);
  read_clamps(config, decoder);
  NameTable names;
  add_names(names, {"model."}, {});
  add_moe_names(names, {"model."}, decoder.moe.intermediate_size, "e_score_correction_bias");
  add_module(files, config, names, model);
  model.names = names.map();
  return model;
}

}  // namespace

Family exaone_moe_family() { return {"exaone_moe", matches, map, make_text_engine}; }

}  // namespace onnuri
