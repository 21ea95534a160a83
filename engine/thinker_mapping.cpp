#include "engine/thinker_mapping.h"

#include <algorithm>

#include "engine/audio_mapping.h"
#include "engine/decoder_mapping.h"

namespace onnuri {

ConfigReader thinker_config(const ModelFiles& files) {
  const ConfigReader config(files.config, "config.json");
  return config.has("thinker_config") ? config.sub("thinker_config") : config;
}

std::vector<std::string> thinker_prefixes(const std::string& part) {
  return {"thinker." + part, part, "model." + part, "thinker.model." + part};
}

ModelConfig thinker_model(const ModelFiles& files, std::string family) {
  ModelConfig model = base_model(files, std::move(family));
  const ConfigReader thinker = thinker_config(files);
  for (const ConfigReader& config : {thinker, thinker.sub("text_config")})
    for (const int32_t id : config.ids("eos_token_id"))
      if (std::find(model.special.eos.begin(), model.special.eos.end(), id) ==
          model.special.eos.end())
        model.special.eos.push_back(id);
  const auto token = [&](const std::string& name) {
    for (const char* suffix : {"_token_id", "_token_index"})
      if (const auto ids = thinker.ids(name + suffix); !ids.empty()) return ids[0];
    return -1;
  };
  model.special.image_placeholder = token("image");
  model.special.video_placeholder = token("video");
  model.special.vision_start = token("vision_start");
  model.special.vision_end = token("vision_end");
  model.special.audio_placeholder = read_audio_token(thinker);
  model.special.audio_start = token("audio_start");
  model.special.audio_end = token("audio_end");
  model.ignored_prefixes = {"talker.", "token2wav.", "code2wav."};
  for (const std::string& prefix : thinker_prefixes("audio_tower."))
    for (const char* unused : {"audio_bos_eos_token.", "positional_embedding."})
      model.ignored_prefixes.push_back(prefix + unused);
  return model;
}

bool thinker_tied_head(const ModelFiles& files) {
  const std::vector<std::string>& names = files.checkpoint->names();
  if (names.empty()) {
    const ConfigReader thinker = thinker_config(files);
    return (thinker.has("tie_word_embeddings") ? thinker : thinker.sub("text_config"))
        .boolean_or("tie_word_embeddings", false);
  }
  for (const char* head : {"lm_head.weight", "thinker.lm_head.weight"})
    if (std::binary_search(names.begin(), names.end(), head)) return false;
  return true;
}

void add_thinker_text_names(NameTable& names) {
  add_names(names,
            {"thinker.model.", "model.language_model.", "thinker.model.language_model.", "model."},
            {});
  names.add("head.weight", {{"thinker.lm_head.weight"}});
}

}  // namespace onnuri
