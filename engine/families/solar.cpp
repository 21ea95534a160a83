// Solar Pro preview: Llama layers, and twice along the way the residual stream of an earlier layer
// is blended in. Before a layer listed in bskcn_1 (bskcn_2) the stream is saved in slot 1 (2);
// before a layer listed in bskcn_3 (bskcn_4) it becomes saved * tv + stream * (1 - tv), of slot 1
// (2). The second value of bskcn_tv is the one for inference.
// Source: vLLM and SGLang models/solar. They run full attention; a sliding_window in the config
// holds for every layer here, as the config says.
#include <algorithm>

#include "core/check.h"
#include "engine/decoder_mapping.h"
#include "engine/families/registry.h"
#include "engine/text_engine.h"

namespace onnuri {
namespace {

bool matches(const ModelFiles& files) {
  return config_names(files, {"solar"}, {"SolarForCausalLM"});
}

std::vector<int64_t> read_layers(const ConfigReader& config, std::string_view key,
                                 int64_t num_layers) {
  if (!config.has(key)) fail(ErrorCode::kCorruptData, "missing key at ", config.place(key));
  std::vector<int64_t> layers;
  for (const int32_t layer : config.ids(key)) {
    if (layer >= num_layers)
      fail(ErrorCode::kCorruptData, "expected layers below ", num_layers, " at ", config.place(key),
           ", found ", layer);
    layers.push_back(layer);
  }
  return layers;
}

double read_saved_weight(const ConfigReader& config) {
  const std::string place = config.place("bskcn_tv");
  if (!config.has("bskcn_tv")) fail(ErrorCode::kCorruptData, "missing key at ", place);
  const auto& list = config.find("bskcn_tv")->as_array(place);
  if (list.size() != 2)
    fail(ErrorCode::kCorruptData, "expected two numbers at ", place, ", found ", list.size());
  return list[1].as_double(place);
}

// A blend takes what its slot was given last.
void add_skips(const ConfigReader& config, std::string_view save_key, std::string_view blend_key,
               double weight, DecoderConfig& decoder) {
  const std::vector<int64_t> saves = read_layers(config, save_key, decoder.num_layers());
  for (const int64_t blend : read_layers(config, blend_key, decoder.num_layers())) {
    int64_t latest = -1;
    for (const int64_t save : saves)
      if (save <= blend) latest = std::max(latest, save);
    if (latest < 0)
      fail(ErrorCode::kCorruptData, "layer ", blend, " at ", config.place(blend_key),
           " blends in a stream that no layer at ", config.place(save_key), " has saved");
    decoder.long_skips.push_back({latest, blend, static_cast<float>(weight)});
  }
}

ModelConfig map(const ModelFiles& files) {
  ModelConfig model =
      read_text_model(files, "solar", {.defaults = {.num_kv_heads = kAsManyAsHeads}});
  const ConfigReader config = text_config(files);
  if (config.boolean_or("mlp_bias", false))
    fail(ErrorCode::kUnsupported, "feed-forward biases, at ", config.place("mlp_bias"));
  DecoderConfig& decoder = model.decoder;
  const int64_t window = read_window_or_null(config);
  const bool bias = config.boolean_or("attention_bias", false);
  for (LayerSpec& layer : decoder.layers) layer.window = window;
  set_attention_biases(decoder, bias, bias);
  const double weight = read_saved_weight(config);
  add_skips(config, "bskcn_1", "bskcn_3", weight, decoder);
  add_skips(config, "bskcn_2", "bskcn_4", weight, decoder);
  return model;
}

}  // namespace

Family solar_family() { return {"solar", matches, map, make_text_engine}; }

}  // namespace onnuri
