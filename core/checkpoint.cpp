// Chooses the reader for a path. A file is known by its first bytes, a folder by what lies in it.
#include "core/checkpoint.h"

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <system_error>

#include "core/check.h"
#include "core/checkpoint_table.h"

namespace onnuri {
namespace {

namespace fs = std::filesystem;

std::vector<std::string> list_files(const fs::path& folder, const char* extension) {
  std::vector<std::string> found;
  std::error_code error;
  for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error)) {
    std::error_code ignored;
    if (it->path().extension() == extension && it->is_regular_file(ignored)) {
      found.push_back(it->path().string());
    }
  }
  if (error) {
    fail(ErrorCode::kNotFound, folder.string(), ": cannot read the folder: ", error.message());
  }
  std::sort(found.begin(), found.end());
  return found;
}

std::shared_ptr<const Checkpoint> open_folder(const fs::path& folder, CheckpointParts parts) {
  std::error_code error;
  const fs::path single = folder / "model.safetensors";
  if (fs::exists(single, error))
    return open_safetensors_files(folder.string(), {single.string()}, parts);
  const fs::path index = folder / "model.safetensors.index.json";
  if (fs::exists(index, error)) return open_safetensors_index(index.string(), parts);
  const std::vector<std::string> safetensors = list_files(folder, ".safetensors");
  if (!safetensors.empty()) return open_safetensors_files(folder.string(), safetensors, parts);
  const std::vector<std::string> gguf = list_files(folder, ".gguf");
  if (gguf.size() == 1) return open_gguf(MappedFile::open(gguf[0]), parts);
  fail(ErrorCode::kNotFound, folder.string(),
       ": expected a folder with *.safetensors or one .gguf file, found ", gguf.size(),
       " .gguf files and no safetensors");
}

}  // namespace

std::shared_ptr<const Checkpoint> Checkpoint::open(const std::string& path, CheckpointParts parts) {
  std::error_code error;
  if (fs::is_directory(path, error)) return open_folder(path, parts);
  MappedFile file = MappedFile::open(path);
  const auto bytes = file.bytes();
  const bool has_magic = bytes.size() >= 4 && std::memcmp(bytes.data(), "GGUF", 4) == 0;
  if (has_magic || fs::path(path).extension() == ".gguf") return open_gguf(std::move(file), parts);
  return open_safetensors_file(std::move(file), parts);
}

}  // namespace onnuri
