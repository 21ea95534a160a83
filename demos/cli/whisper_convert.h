// Whisper as CTranslate2 stores it -> a folder as the original publishers store it.
#pragma once

#include <string>
#include <vector>

namespace onnuri::cli {

/// Reads model.bin, its config.json and tokenizer.json; writes model.safetensors, config.json,
/// generation_config.json, preprocessor_config.json and tokenizer_config.json into `folder`.
/// Returns the names written. Throws kCorruptData.
std::vector<std::string> convert_whisper_from_ct2(const std::string& model_path,
                                                  const std::string& config_path,
                                                  const std::string& tokenizer_path,
                                                  const std::string& folder);

}  // namespace onnuri::cli
