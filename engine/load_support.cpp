#include "engine/load_support.h"

#include <algorithm>
#include <cstdlib>

#include "core/check.h"
#include "engine/thinker_mapping.h"
#include "kernels/cuda_status.h"

namespace onnuri {

ComputeType parse_compute_type(const std::string& name) {
  if (name == "float32") return ComputeType::kFloat32;
  if (name == "auto") return ComputeType::kAuto;
  fail(ErrorCode::kInvalidArgument, "expected compute_dtype \"float32\" or \"auto\", found \"",
       name, "\"");
}

std::string chosen_isa(const EngineOptions& options) {
  if (!options.isa.empty()) return options.isa;
  const char* name = std::getenv("ONNURI_ISA");
  return name ? name : "";
}

BackendMode backend_mode(const ModelFiles& files) {
  return files.measure ? BackendMode::kMeasure : BackendMode::kCompute;
}

namespace {

// The type in which a checkpoint with this config is published.
DType published_dtype(const ModelFiles& files) {
  const JsonValue* text = files.config.find("text_config");
  for (const JsonValue* config : {&files.config, text}) {
    if (config == nullptr || !config->is_object()) continue;
    if (config->find("quantization_config") != nullptr)
      fail(ErrorCode::kUnsupported, "expected the headers of the weights beside the config of ",
           files.path,
           ": they are quantised, and the config alone does not say how large they are");
    for (const char* key : {"torch_dtype", "dtype"}) {
      const JsonValue* value = config->find(key);
      if (value == nullptr || !value->is_string()) continue;
      const std::string& name = value->as_string(key);
      if (name == "float32") return DType::kF32;
      if (name == "float16") return DType::kF16;
      if (name == "bfloat16") return DType::kBF16;
    }
  }
  return DType::kBF16;
}

}  // namespace

TensorSource open_tensors(const ModelFiles& files, const ModelConfig& config) {
  TensorSource source = files.measure && files.checkpoint->names().empty()
                            ? TensorSource(files.checkpoint, config.names, published_dtype(files))
                            : TensorSource(files.checkpoint, config.names);
  for (const std::string& prefix : config.ignored_prefixes) source.ignore_prefix(prefix);
  return source;
}

namespace {

constexpr std::pair<const char*, DType> kKvTypes[] = {
    {"f32", DType::kF32}, {"f16", DType::kF16},     {"bf16", DType::kBF16},
    {"int8", DType::kI8}, {"fp8", DType::kF8E4M3}, {"int4", DType::kQ4_1}};

}  // namespace

DType kv_dtype_of(const EngineOptions& options) {
  if (options.kv_dtype.empty())
    return parse_compute_type(options.compute_dtype) == ComputeType::kFloat32 ? DType::kF32
                                                                              : DType::kF16;
  std::string names;
  for (const auto& [name, dtype] : kKvTypes) {
    if (options.kv_dtype == name) return dtype;
    names += (names.empty() ? "" : ", ") + std::string(name);
  }
  fail(ErrorCode::kInvalidArgument, "expected keys and values of one of the types ", names,
       ", found \"", options.kv_dtype, "\"");
}

std::string kv_dtype_name(DType dtype) {
  for (const auto& [name, known] : kKvTypes)
    if (known == dtype) return name;
  return std::string(dtype_name(dtype));
}

void check_device(const std::string& device) {
  if (device == "cpu") return;
  if (device == "cuda" || device.starts_with("cuda:")) {
    require_cuda();
    fail(ErrorCode::kUnsupported, "expected device \"cpu\": this engine does not run on ", device);
  }
  fail(ErrorCode::kInvalidArgument, "expected device \"cpu\", found \"", device, "\"");
}

void add_end_tokens(const Tokenizer& tokenizer, bool is_gguf, std::vector<int32_t>& eos) {
  auto add = [&](int32_t id) {
    if (std::find(eos.begin(), eos.end(), id) == eos.end()) eos.push_back(id);
  };
  for (int32_t id : tokenizer.eos_ids()) add(id);
  if (!is_gguf) return;
  for (const char* text : {"<|im_end|>", "<|endoftext|>", "<end_of_turn>", "<|eot_id|>",
                           "<|endofturn|>", "[|endofturn|]", "<|end_of_text|>"}) {
    const std::optional<int32_t> id = tokenizer.token_to_id(text);
    if (id && tokenizer.is_special(*id)) add(*id);
  }
}

void check_tokenizer_ids(std::span<const int32_t> ids, int64_t vocab_size,
                         const std::string& path) {
  for (int32_t id : ids)
    if (id < 0 || id >= vocab_size)
      fail(ErrorCode::kCorruptData, "expected a tokenizer with ids below ", vocab_size,
           ", the model's vocabulary, found id ", id, ": the tokenizer does not belong to ", path);
}

void require_all_used(const TensorSource& source, const std::string& path) {
  const std::vector<std::string> unused = source.unused();
  if (unused.empty()) return;
  std::string names;
  for (size_t i = 0; i < std::min<size_t>(unused.size(), 4); ++i)
    names += (i ? ", " : "") + unused[i];
  fail(ErrorCode::kUnsupported, "expected every tensor to be known, found ", unused.size(),
       " that the family does not use in ", path, ": ", names, unused.size() > 4 ? ", ..." : "");
}

std::string missing_for_eyes(const std::string& path) try {
  const ModelFiles files = open_config_files(path);
  if (!thinker_config(files).has("vision_config")) return "";
  if (!files.preprocessor_config.is_object()) return ": no preprocessor_config.json beside it";
  if (files.preprocessor_config.find("patch_size") == nullptr)
    return ": no patch_size in preprocessor_config.json";
  return "";
} catch (const Error&) {  // the error that is being made says enough
  return "";
}

}  // namespace onnuri
