// A real byte-level tokenizer with tokens of one's own added to it.
#pragma once

#include <filesystem>
#include <fstream>
#include <memory>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "fusion/tokenizer.h"

namespace onnuri {

/// A fresh folder below the system's temporary one, removed with the object.
class TemporaryFolder {
 public:
  explicit TemporaryFolder(const std::string& name)
      : path_(std::filesystem::temp_directory_path() / ("onnuri_" + name)) {
    std::filesystem::remove_all(path_);
    std::filesystem::create_directories(path_);
  }
  ~TemporaryFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;

  std::string path() const { return path_.string(); }
  void write(const std::string& name, const std::string& text) const {
    std::ofstream(path_ / name, std::ios::binary) << text;
  }

 private:
  std::filesystem::path path_;
};

inline std::string golden_text(const std::string& name) {
  std::ifstream in(std::string(ONNURI_TEST_DATA) + "/golden/" + name, std::ios::binary);
  std::stringstream text;
  text << in.rdbuf();
  return text.str();
}

/// The tokenizer of a golden checkpoint (300 tokens) with `tags`, special or not, as ids 300 on.
inline std::unique_ptr<Tokenizer> tokenizer_with(
    const TemporaryFolder& folder, const std::vector<std::pair<std::string, bool>>& tags) {
  std::string json = golden_text("text/qwen2/tokenizer.json");
  std::string added;
  int id = 300;
  for (const auto& [text, special] : tags)
    added += "{\"id\":" + std::to_string(id++) + ",\"content\":\"" + text +
             "\",\"single_word\":false,\"lstrip\":false,\"rstrip\":false,\"normalized\":false,"
             "\"special\":" +
             (special ? "true" : "false") + "},";
  const std::string mark = "\"added_tokens\":[";
  json.insert(json.find(mark) + mark.size(), added);
  folder.write("tokenizer.json", json);
  return load_tokenizer(folder.path());
}

}  // namespace onnuri
