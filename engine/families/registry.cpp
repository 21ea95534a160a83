// Every model family of this build. To add one: a file beside this one, a line in each list.
#include "engine/families/registry.h"

#include <cstring>
#include <string>

#include "core/check.h"
#include "engine/decoder_mapping.h"

namespace onnuri {

const std::vector<Family>& families() {
  static const std::vector<Family> list = {
      llama_family(),
      qwen2_family(),
      qwen3_family(),
      qwen3_moe_family(),
      gpt_oss_family(),
      granite_family(),
      hyperclovax_family(),
      ernie4_5_family(),
      solar_open_family(),
      gemma3_family(),
      exaone4_family(),
      exaone_moe_family(),
      qwen2_vl_family(),
      qwen2_5_vl_family(),
      qwen3_vl_family(),
      qwen3_next_family(),
      qwen3_5_family(),
      paddleocr_vl_family(),
      qwen2_audio_family(),
      qwen2_5_omni_family(),
      qwen3_omni_family(),
      whisper_family(),
      hyperclovax_tiles_family(),
      hyperclovax_omni_family(),
      hyperclovax_vision_family(),
      kanana_v_family(),
      deepseek_v3_family(),
      axk1_family(),
      axk2_family(),
      vaetki_family(),
      motif_family(),
      solar_family(),
      mistral_family(),
      llava_family(),
      idefics3_family(),
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

bool equal_bytes(const TensorView& a, const TensorView& b, int64_t at, int64_t count) {
  return std::memcmp(a.as<std::byte>() + at, b.as<std::byte>() + at, static_cast<size_t>(count)) ==
         0;
}

// Whether two tensors hold the same numbers; of large ones, blocks all over them are compared.
bool same_tensor(const TensorView& a, const TensorView& b) {
  constexpr int64_t kWhole = 1 << 20, kBlock = 4096, kBlocks = 64;
  if (a.dtype != b.dtype || a.encoding != nullptr || b.encoding != nullptr || !(a.shape == b.shape))
    return false;
  const int64_t bytes = a.num_bytes();
  if (bytes <= kWhole) return equal_bytes(a, b, 0, bytes);
  for (int64_t i = 0; i < kBlocks; ++i)
    if (!equal_bytes(a, b, (bytes - kBlock) / (kBlocks - 1) * i, kBlock)) return false;
  return true;
}

TensorView first_stored(const ModelFiles& files, const ModelConfig& model, const char* canonical) {
  for (const TensorRef& ref : model.names(canonical)) {
    const TensorView view = files.checkpoint->find(ref.name);
    if (!view.empty()) return view;
  }
  return {};
}

// A head that is stored although the config ties it, with numbers of its own, is the head: the
// reference implementation loads it so.
void untie_stored_head(const ModelFiles& files, ModelConfig& model) {
  if (!model.decoder.tied_head || !model.names || files.checkpoint == nullptr) return;
  const TensorView head = first_stored(files, model, "head.weight");
  const TensorView embed = first_stored(files, model, "embed.weight");
  if (!head.empty() && !embed.empty() && !same_tensor(head, embed)) model.decoder.tied_head = false;
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
    untie_stored_head(files, config);
    try {
      config.decoder.validate();
    } catch (const Error& error) {
      fail(error.code(), error.what(), ", in the configuration of ", files.path);
    }
  }
  return config;
}

}  // namespace onnuri
