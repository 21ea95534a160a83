// Which tokenizer file a checkpoint folder has, and how it is read.
#include <algorithm>
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
  if (path.extension() == ".json") {
    const JsonValue json = read_json(path);
    // Ranked vocabularies in JSON have no "model", but a list of tokens with their bytes.
    if (json.find("model") == nullptr && json.find("vocab") != nullptr)
      return tokenizer_from_tekken(json, path.string());
    return tokenizer_from_json(json, config);
  }
  const std::string text = read_text(path);
  if (path.extension() == ".tiktoken" || looks_like_ranks(text))
    return tokenizer_from_ranks(text, path.string(), config);
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
  for (const char* name : {"tokenizer.json", "tokenizer.model", "tiktoken.model", "tekken.json"}) {
    const fs::path file = fs::path(path) / name;
    if (fs::is_regular_file(file, error)) return load_file(file);
  }
  std::vector<fs::path> ranked;
  for (const auto& entry : fs::directory_iterator(path, error)) {
    if (entry.path().extension() == ".tiktoken") ranked.push_back(entry.path());
  }
  std::sort(ranked.begin(), ranked.end());
  if (!ranked.empty()) return load_file(ranked.front());
  fail(ErrorCode::kNotFound,
       "expected tokenizer.json, tokenizer.model, tekken.json or *.tiktoken, found none in ", path);
}

}  // namespace onnuri
