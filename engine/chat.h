// Messages to token ids through the checkpoint's own chat template.
//
// A user's words must not forge special tokens. Before rendering, every special token that is spelt
// out inside a message gets its first character replaced by a stand-in that occurs nowhere else;
// after rendering, only the template's own special tokens are left to be found, and the stand-ins
// are turned back while the text between them is tokenised as plain text.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "engine/model_config.h"
#include "fusion/chat_template.h"
#include "fusion/tokenizer.h"
#include "onnuri/chat.h"

namespace onnuri {

class ChatRenderer {
 public:
  /// `tokenizer` must outlive this. A checkpoint without a template is fine until it is used.
  ChatRenderer(const ModelFiles& files, const Tokenizer& tokenizer);

  bool has_template() const { return !source_.empty(); }
  const std::string& source() const { return source_; }

  /// The prompt text. Throws kUnsupported when the checkpoint has no template.
  std::string render(std::span<const ChatMessage> messages, const std::string& kwargs_json) const;
  /// The prompt's ids; media are one placeholder each, as the template writes them.
  std::vector<int32_t> encode(std::span<const ChatMessage> messages,
                              const std::string& kwargs_json) const;

 private:
  void find_special_tokens();
  void read_gguf(const JsonValue& metadata);
  void read_folder(const std::string& folder);

  std::string source_;
  JsonValue variables_;  // bos_token and the like
  std::vector<std::pair<std::string, int32_t>> special_;  // spelling and id, longest first
  const Tokenizer* tokenizer_;
  std::string path_;
};

/// Messages as templates expect them: content is a string, or a list of typed parts where there
/// are media.
JsonValue messages_to_json(std::span<const ChatMessage> messages);

}  // namespace onnuri
