// A conversation that outlives its process: `onnuri chat --session FILE`.
//
// FILE holds the messages as JSON and is written after every answer; FILE.kv beside it holds what
// was computed of them (Engine::save) and is written at the end. Both are replaced whole or not at
// all. Without FILE.kv, or with one of another model, the next answer reads everything anew.
#pragma once

#include <string>
#include <vector>

#include "onnuri/chat.h"
#include "onnuri/engine.h"

namespace onnuri::cli {

class Session {
 public:
  /// `file` empty: a conversation that nobody keeps, and nothing below does anything.
  Session(std::string file, bool quiet) : file_(std::move(file)), quiet_(quiet) {}

  /// The messages of FILE, none where there is no file yet; hands the engine what was computed.
  /// Throws kCorruptData for a file that is something else.
  std::vector<ChatMessage> open(Engine& engine);
  /// Media are kept by the absolute paths of their files. A failure is told, and the conversation
  /// goes on.
  void save(const std::vector<ChatMessage>& messages);
  /// Writes what was computed, if anything was since open().
  void close(Engine& engine);

 private:
  void tell(const std::string& text) const;
  std::string file_;
  bool quiet_;
  bool changed_ = false;
};

/// The JSON of a session's file, and back. Throws kCorruptData.
std::string session_text(const std::vector<ChatMessage>& messages);
std::vector<ChatMessage> session_messages(const std::string& text, const std::string& name);

}  // namespace onnuri::cli
