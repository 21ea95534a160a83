// A conversation as plain values.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "onnuri/media.h"

namespace onnuri {

/// One piece of a message: text, or media when `is_media` is set.
struct ContentPart {
  bool is_media = false;
  std::string text;
  MediaInput media;
};

/// A tool that the model wants to be run.
struct ToolCall {
  std::string id;  ///< the model's own, or one that is unique within the answer
  std::string name;
  std::string arguments_json;  ///< a JSON object
};

/// One turn. `role` is what the chat template expects: "system", "user", "assistant", "tool".
struct ChatMessage {
  std::string role;
  std::vector<ContentPart> content;
  std::string reasoning_content = {};     ///< of an assistant: what it thought
  std::vector<ToolCall> tool_calls = {};  ///< of an assistant: what it asked for
  std::string tool_call_id = {};          ///< of a tool: the call that this answers
  std::string name = {};                  ///< of a tool: its name; else the speaker's, if any
};

/// A message that holds only text.
inline ChatMessage text_message(std::string role, std::string text) {
  return ChatMessage{std::move(role), {ContentPart{false, std::move(text), {}}}};
}

}  // namespace onnuri
