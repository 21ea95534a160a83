// Tokenizers and chat templates without a model.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace onnuri {

class Tokenizer;

/// The tokenizer of a checkpoint folder, a .gguf file, a tokenizer.json or a tokenizer.model.
/// Immutable and thread-safe after construction.
class TextTokenizer {
 public:
  /// Throws Error: kNotFound, kCorruptData, kUnsupported.
  static std::unique_ptr<TextTokenizer> load(const std::string& path);
  ~TextTokenizer();

  std::vector<int32_t> encode(const std::string& text, bool add_special_tokens,
                              bool parse_special_tokens) const;
  /// The same for bytes that may not be UTF-8: broken parts count as U+FFFD.
  std::vector<int32_t> encode_bytes(const std::string& bytes, bool add_special_tokens,
                                    bool parse_special_tokens) const;
  std::string decode(std::span<const int32_t> ids, bool skip_special_tokens) const;
  int64_t vocab_size() const;

 private:
  TextTokenizer();
  std::unique_ptr<Tokenizer> tokenizer_;
};

/// Renders a Jinja chat template with the variables of a JSON object. Throws kCorruptData for
/// template syntax, kInvalidArgument where the template raises an exception.
std::string render_chat_template(const std::string& source, const std::string& variables_json);

}  // namespace onnuri
