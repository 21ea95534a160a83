// Finds the files of a model: a folder as the Hugging Face hub lays it out, or one GGUF file.
#include <filesystem>
#include <fstream>
#include <optional>

#include "core/check.h"
#include "core/checkpoint_table.h"
#include "core/mapped_file.h"
#include "core/quantized_checkpoint.h"
#include "engine/model_config.h"

namespace onnuri {
namespace {

namespace fs = std::filesystem;

constexpr size_t kMaxConfigBytes = size_t{16} << 20;

JsonValue read_json(const fs::path& path) {
  return parse_json(read_text_file(path.string(), kMaxConfigBytes), path.filename().string());
}

JsonValue read_json_if(const fs::path& path) {
  std::error_code ignored;
  return fs::is_regular_file(path, ignored) ? read_json(path) : JsonValue();
}

// The only GGUF file of a folder that holds no config.json.
std::optional<fs::path> single_gguf(const fs::path& folder) {
  std::optional<fs::path> found;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder)) {
    if (entry.path().extension() != ".gguf") continue;
    if (found) return std::nullopt;
    found = entry.path();
  }
  return found;
}

// The object that holds quantization_config: the config itself or that of its text model.
const JsonValue* quantized_config(const JsonValue& config) {
  for (const JsonValue* object : {&config, config.find("text_config")}) {
    if (object == nullptr) continue;
    const JsonValue* found = object->find("quantization_config");
    if (found != nullptr && !found->is_null()) return object;
  }
  return nullptr;
}

bool begins_as_gguf(const fs::path& path) {
  char magic[4] = {};
  std::ifstream(path, std::ios::binary).read(magic, sizeof(magic));
  return std::string_view(magic, sizeof(magic)) == "GGUF";
}

bool has_weights(const fs::path& folder) {
  std::error_code error;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder, error)) {
    const std::string name = entry.path().filename().string();
    if (entry.path().extension() == ".safetensors" || name.ends_with(".safetensors.index.json"))
      return true;
  }
  return false;
}

}  // namespace

ModelFiles open_config_files(const std::string& path, CheckpointParts parts) {
  fs::path target(path);
  std::error_code error;
  const bool is_config = target.extension() == ".json" && fs::is_regular_file(target, error);
  const fs::path folder = is_config ? target.parent_path() : target;
  const fs::path config = is_config ? target : target / "config.json";
  if (!fs::is_regular_file(config, error) || has_weights(folder.empty() ? "." : folder))
    return open_model_files(is_config ? (folder.empty() ? "." : folder.string()) : path, parts);
  ModelFiles files;
  files.path = folder.empty() ? "." : folder.string();
  files.config = read_json(config);
  if (!files.config.is_object())
    fail(ErrorCode::kCorruptData, "expected an object in ", config.string());
  files.generation_config = read_json_if(config.parent_path() / "generation_config.json");
  files.preprocessor_config = read_json_if(config.parent_path() / "preprocessor_config.json");
  files.video_preprocessor_config =
      read_json_if(config.parent_path() / "video_preprocessor_config.json");
  auto no_tensors = std::make_shared<CheckpointTable>(CheckpointFormat::kSafetensors, files.path);
  no_tensors->set_metadata(JsonValue(JsonValue::Object{}));
  files.checkpoint = std::move(no_tensors);
  return files;
}

ModelFiles open_model_files(const std::string& path, CheckpointParts parts) {
  ModelFiles files;
  files.path = path;
  fs::path target(path);
  std::error_code error;
  const fs::file_status status = fs::status(target, error);
  if (path.empty() || !fs::exists(status))
    fail(ErrorCode::kNotFound, "expected a checkpoint folder or a .gguf file, found nothing at \"",
         path, "\"");
  if (fs::is_directory(status)) {
    if (fs::is_regular_file(target / "config.json", error)) {
      files.config = read_json(target / "config.json");
      if (!files.config.is_object())
        fail(ErrorCode::kCorruptData, "expected an object in config.json of ", path);
      files.generation_config = read_json_if(target / "generation_config.json");
      files.preprocessor_config = read_json_if(target / "preprocessor_config.json");
      files.video_preprocessor_config = read_json_if(target / "video_preprocessor_config.json");
      files.checkpoint = Checkpoint::open(path, parts);
      if (files.is_gguf())
        fail(ErrorCode::kUnsupported, "expected safetensors beside config.json in ", path);
      if (const JsonValue* config = quantized_config(files.config)) {
        files.checkpoint = open_quantized(std::move(files.checkpoint),
                                          read_quantization_config(*config, "config.json"));
      }
      return files;
    }
    const std::optional<fs::path> gguf = single_gguf(target);
    if (!gguf)
      fail(ErrorCode::kNotFound,
           "expected a checkpoint folder (config.json or one .gguf file, with "
           "*.safetensors and a tokenizer beside the former), found neither in ",
           path);
    target = *gguf;
  } else if (!fs::is_regular_file(status)) {
    fail(ErrorCode::kNotFound, "expected a checkpoint folder or a .gguf file at ", path,
         ", found something else");
  }
  if (target.extension() == ".safetensors" || target.extension() == ".json")
    fail(ErrorCode::kInvalidArgument,
         "expected the folder of the checkpoint, found one of its files: ", path);
  files.path = target.string();
  if (target.extension() != ".gguf" && !begins_as_gguf(target))
    fail(ErrorCode::kUnsupported,
         "expected a checkpoint folder (config.json, *.safetensors, a "
         "tokenizer) or a .gguf file, found another kind of file: ",
         path);
  files.checkpoint = Checkpoint::open(files.path, parts);
  if (!files.is_gguf())
    fail(ErrorCode::kUnsupported, "expected a checkpoint folder or a .gguf file, found ", path);
  return files;
}

}  // namespace onnuri
