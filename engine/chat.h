// Messages to token ids through the checkpoint's own chat template.
//
// Words from outside must not forge tokens. Before rendering, every special token that is spelt out
// inside a message, a tool's result or a tool's description gets its first character replaced by a
// stand-in that occurs nowhere else; after rendering, only the template's own special tokens are
// left to be found, and the stand-ins are turned back while the text between them is tokenised as
// plain text.
//
// Markers such as <think> and <tool_call> are often single tokens that are not special. Where the
// template or the output's grammar uses one, or it looks like <|this|>, it is disguised too, in the
// words of users and tools: assistants write them, and system messages may well mean them. A marker
// that is several ordinary tokens is the same text whoever writes it, and stays.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "engine/model_config.h"
#include "engine/output_grammar.h"
#include "engine/tool_schemas.h"
#include "fusion/chat_template.h"
#include "fusion/tokenizer.h"
#include "onnuri/chat.h"

namespace onnuri {

/// What a chat template is rendered with.
struct ChatInput {
  std::span<const ChatMessage> messages;
  std::string tools_json = {};        // a list of tools, or empty
  std::string kwargs_json = {};       // further variables, an object, or empty; they win
  std::string reasoning = {};         // see reasoning_variables
  bool trust_special_tokens = false;  // special tokens inside the messages become what they spell
  std::string media_marker = {};      // what the template writes for media, with media_texts
  std::span<const std::string> media_texts = {};  // what takes the place of each marker, in order
};

/// A rendered prompt.
struct ChatPrompt {
  std::vector<int32_t> ids;  // media are one placeholder each, as the template writes them
  std::string text;
  bool has_tools = false;
  ToolSchemas tools;
};

class Disguise;

class ChatRenderer {
 public:
  /// `tokenizer` must outlive this. `family_template` stands in for a template that the checkpoint
  /// lacks; without either all is fine until one is used.
  ChatRenderer(const ModelFiles& files, const Tokenizer& tokenizer,
               const std::string& family_template = {});

  bool has_template() const { return !source_.empty(); }
  const std::string& source() const { return source_; }
  /// The one for conversations with tools, where the checkpoint has one of its own.
  const std::string& tool_source() const { return tool_source_; }

  /// The prompt text. Throws kUnsupported when the checkpoint has no template.
  std::string render(const ChatInput& input) const;
  ChatPrompt encode(const ChatInput& input) const;

  /// How this checkpoint writes thoughts and tool calls.
  const OutputGrammar& grammar() const { return grammar_; }
  /// The template's markers and switches, and what the switch is by default, as a JSON object.
  JsonValue describe() const;

 private:
  void find_special_tokens();
  void find_steering_tokens(const std::string& source);
  void read_gguf(const JsonValue& metadata);
  void read_folder(const std::string& folder);
  void set_templates(const JsonValue& value);
  const std::string& source_for(const JsonValue& variables) const;
  JsonValue variables_for(const ChatInput& input) const;
  std::vector<int32_t> encode_disguised(const std::string& text, const Disguise& disguise) const;

  std::string source_;
  std::string tool_source_;                               // empty: the same
  JsonValue variables_;                                   // bos_token and the like
  std::vector<std::pair<std::string, int32_t>> special_;  // spelling and id, longest first
  std::vector<std::string> steering_;  // markers that are one token, yet not a special one
  const Tokenizer* tokenizer_;
  std::string path_;
  OutputGrammar grammar_;
  ReasoningSwitch switch_;
};

/// Messages as templates expect them: content is a string, or a list of typed parts where there
/// are media; the arguments of tool calls are objects; thoughts go by each name that templates use.
JsonValue messages_to_json(std::span<const ChatMessage> messages);

}  // namespace onnuri
