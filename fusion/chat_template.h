// Chat templates: the checkpoint's own Jinja text, rendered by our interpreter.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "core/json.h"

namespace onnuri {

/// A parsed template. Immutable and thread-safe. It can read nothing but its variables; steps,
/// depth and output size are bounded.
class ChatTemplate {
 public:
  /// Throws kCorruptData with line number for syntax, kUnsupported for constructs outside the
  /// subset.
  static std::unique_ptr<ChatTemplate> parse(std::string_view source);
  ~ChatTemplate();

  /// Renders with an object of variables (messages, tools, add_generation_prompt, bos_token, ...).
  /// Throws kInvalidArgument where the template calls raise_exception or a value has a wrong type.
  std::string render(const JsonValue& variables) const;

 private:
  ChatTemplate();
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace onnuri
