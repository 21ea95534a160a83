// Which tokenizer file a checkpoint folder has, and how it is read.
#include <filesystem>
#include <fstream>
#include <sstream>

#include "core/check.h"
#include "fusion/tokenizer_files.h"

namespace onnuri {

namespace {

namespace fs = std::filesystem;
constexpr uintmax_t kMaxFile = uintmax_t{256} << 20;

std::string read_text(const fs::path& path) {
  std::error_code error;
  const uintmax_t size = fs::file_size(path, error);
  if (error) fail(ErrorCode::kNotFound, "expected a readable file, found none at ", path.string());
  if (size > kMaxFile)
    fail(ErrorCode::kCorruptData, "expected at most ", kMaxFile, " bytes, found ", size, " at ",
         path.string());
  std::ifstream in(path, std::ios::binary);
  std::string text(static_cast<size_t>(size), '\0');
  if (!in.read(text.data(), static_cast<std::streamsize>(size)))
    fail(ErrorCode::kNotFound, "expected a readable file at ", path.string());
  return text;
}

JsonValue read_json(const fs::path& path) { return parse_json(read_text(path), path.string()); }

JsonValue read_json_if_there(const fs::path& path) {
  std::error_code error;
  return fs::is_regular_file(path, error) ? read_json(path) : JsonValue();
}

std::unique_ptr<Tokenizer> load_file(const fs::path& path) {
  const fs::path folder = path.parent_path();
  JsonValue config = read_json_if_there(folder / "tokenizer_config.json");
  if (config.find("eos_token") == nullptr) {
    const JsonValue map = read_json_if_there(folder / "special_tokens_map.json");
    for (const char* key : {"bos_token", "eos_token"}) {
      if (map.find(key) != nullptr && config.find(key) == nullptr &&
          (config.is_object() || config.is_null()))
        config.set(key, *map.find(key));
    }
  }
  if (path.extension() == ".json") return tokenizer_from_json(read_json(path), config);
  return tokenizer_from_sentencepiece(path.string(), config,
                                      read_json_if_there(folder / "added_tokens.json"));
}

}  // namespace

std::unique_ptr<Tokenizer> load_tokenizer(const std::string& path) {
  std::error_code error;
  if (!fs::is_directory(path, error)) {
    if (!fs::is_regular_file(path, error))
      fail(ErrorCode::kNotFound, "expected a tokenizer file or folder, found nothing at ", path);
    return load_file(path);
  }
  for (const char* name : {"tokenizer.json", "tokenizer.model"}) {
    const fs::path file = fs::path(path) / name;
    if (fs::is_regular_file(file, error)) return load_file(file);
  }
  fail(ErrorCode::kNotFound, "expected tokenizer.json or tokenizer.model, found neither in ", path);
}

}  // namespace onnuri
