// Every model family of this build. To add one: a file beside this one, a line in each list.
#include "engine/families/registry.h"

#include <string>

#include "core/check.h"
#include "engine/decoder_mapping.h"

namespace onnuri {

const std::vector<Family>& families() {
  static const std::vector<Family> list = {
      llama_family(),        qwen2_family(),       qwen3_family(),
      qwen3_moe_family(),    gpt_oss_family(),     granite_family(),
      hyperclovax_family(),  ernie4_5_family(),    solar_open_family(),
      gemma3_family(),       exaone4_family(),     exaone_moe_family(),
      qwen2_vl_family(),     qwen2_5_vl_family(),  qwen3_vl_family(),
      paddleocr_vl_family(), qwen2_audio_family(), qwen2_5_omni_family(),
      qwen3_omni_family(),   whisper_family(),     hyperclovax_vision_family(),
      deepseek_v3_family(),  axk1_family(),        axk2_family(),
      vaetki_family(),       motif_family(),       solar_family(),
      mistral_family(),      llava_family(),       idefics3_family(),
      clip_family(),
  };
  return list;
}

namespace {

std::string what_it_is(const ModelFiles& files) {
  if (files.is_gguf()) {
    const std::string arch = gguf_architecture(files);
    return arch.empty() ? "a GGUF file without general.architecture"
                        : "GGUF architecture \"" + arch + "\"";
  }
  const ConfigReader config(files.config, "config.json");
  std::string out = "model_type \"" + config.string_or("model_type", "") + "\"";
  if (config.has("architectures"))
    for (const std::string& name : config.strings("architectures")) out += ", class " + name;
  return out;
}

}  // namespace

const Family& find_family(const ModelFiles& files) {
  std::string known;
  for (const Family& family : families()) {
    if (family.matches(files)) return family;
    known += (known.empty() ? "" : ", ") + std::string(family.name);
  }
  fail(ErrorCode::kUnsupported, what_it_is(files), " in ", files.path,
       " is not a known family; known: ", known);
}

ModelConfig map_model(const ModelFiles& files) {
  ModelConfig config = find_family(files).map(files);
  if (config.decoder.num_layers() > 0) {
    try {
      config.decoder.validate();
    } catch (const Error& error) {
      fail(error.code(), error.what(), ", in the configuration of ", files.path);
    }
  }
  return config;
}

}  // namespace onnuri
