// A conversation as plain values.
#pragma once

#include <string>
#include <vector>

#include "onnuri/media.h"

namespace onnuri {

/// One piece of a message: text, or media when `is_media` is set.
struct ContentPart {
  bool is_media = false;
  std::string text;
  MediaInput media;
};

/// One turn. `role` is what the chat template expects: "system", "user", "assistant", "tool".
struct ChatMessage {
  std::string role;
  std::vector<ContentPart> content;
};

/// A message that holds only text.
inline ChatMessage text_message(std::string role, std::string text) {
  return ChatMessage{std::move(role), {ContentPart{false, std::move(text), {}}}};
}

}  // namespace onnuri
