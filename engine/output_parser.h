// A model's stream as reasoning, answer and tool calls, while it grows.
//
// Whatever way the stream is cut, the pieces are the same once neighbours of a kind are joined, and
// their sources joined are the stream: nothing is lost. A call that cannot be read stays text.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "engine/call_stream.h"
#include "engine/output_grammar.h"
#include "onnuri/chat.h"

namespace onnuri {

struct OutputPiece {
  enum class Kind { kText, kReasoning, kCalls, kMarkup };
  Kind kind = Kind::kText;
  std::string source;           // the part of the stream; what is shown for text and reasoning
  std::vector<ToolCall> calls;  // kCalls: at least one
};

class OutputParser {
 public:
  /// `prompt` is the rendered prompt, whose end says where the model goes on from. `has_tools`:
  /// calls without tags are looked for. `tools` is what these say of their parameters.
  OutputParser(const OutputGrammar& grammar, std::string_view prompt, bool has_tools,
               ToolSchemas tools = {});
  // A call that is being written looks into this.
  OutputParser(const OutputParser&) = delete;
  OutputParser& operator=(const OutputParser&) = delete;

  std::vector<OutputPiece> push(std::string_view text);
  /// A special token by its spelling; one that the grammar does not know becomes markup.
  std::vector<OutputPiece> push_special(std::string_view spelling);
  /// What became known of tool calls since the last time; see ToolCallDelta.
  std::vector<ToolCallDelta> take_deltas() { return std::exchange(deltas_, {}); }
  /// What is left at the end. The parser must not be used afterwards.
  std::vector<OutputPiece> finish();

  /// Whether the answer ends with this token; nothing where the grammar does not say.
  std::optional<bool> ends_with(std::string_view token) const;
  /// Whether a token of this spelling means something here.
  bool is_marker(std::string_view spelling) const;

 private:
  enum class State { kStart, kReasoning, kText, kCall, kCallTurn, kHeader, kBetween };
  using Kind = OutputPiece::Kind;

  void resume(std::string_view prompt);
  void run(bool last);
  bool step(bool last);
  bool step_start(bool last);
  bool step_body(bool last);
  bool step_call(bool last);
  bool step_open_call(bool last);
  bool accept_call(size_t body_end, size_t end);
  bool refuse_call(size_t count);
  bool step_call_turn(bool last);
  bool step_header(bool last);
  bool step_between(bool last);
  void on_marker(const std::string& marker);
  void begin_turn(const std::string& header, const std::string& mark);
  void begin_body(State state, std::vector<std::string> markers, bool trims);
  void end_turn(const std::string& marker);
  /// Streams a call of which held_ has `end` bytes, the call beginning at `begin`.
  void stream_call(const CallTag& tag, size_t begin, size_t end);
  void end_stream(std::vector<ToolCall>& calls);

  void emit(Kind kind, std::string_view source, std::vector<ToolCall> calls = {});
  void take(Kind kind, size_t count);
  /// Text of the answer or of the thoughts, `count` bytes of held_. White space waits, since what
  /// follows may be a marker.
  void say(size_t count);
  void settle_space(Kind kind);
  bool inside_code() const { return in_fence_ || last_ == '`'; }
  void track_code(std::string_view text);

  OutputGrammar grammar_;
  bool has_tools_;
  ToolSchemas tools_;
  State state_ = State::kText;
  std::string held_;                  // not yet understood
  std::string space_;                 // white space behind the last word, not yet shown
  std::vector<std::string> markers_;  // of the current text
  std::vector<OutputPiece> out_;
  size_t prompt_bytes_ = 0;  // of held_ and what was read before: the prompt's, not shown
  CallTag tag_;
  std::optional<CallStream> stream_;  // of the call that is being written
  size_t streamed_ = 0;               // of held_, what stream_ knows
  std::vector<ToolCallDelta> deltas_;
  JsonSqueezer value_;     // of a call without a closing tag, as far as scanned_
  std::string recipient_;  // the function that a turn of a channel is addressed to
  bool trims_ = false;     // white space before the first word goes
  bool said_ = false;      // the current text has shown a word
  size_t scanned_ = 0;     // of held_, while the end of a call is looked for
  int64_t num_calls_ = 0;
  // Fenced code: tags inside it are talk about tags.
  bool in_fence_ = false;
  bool line_start_ = true;
  int ticks_ = 0;
  char last_ = '\n';
};

/// The calls between a tag's ends, or none when they cannot be read. `first_id` numbers the ids.
std::vector<ToolCall> read_calls(const CallTag& tag, std::string_view body, int64_t first_id,
                                 const ToolSchemas& tools);
/// {"name": ..., "arguments": ...} or a list of these; none when it is not that.
std::vector<ToolCall> read_json_calls(std::string_view text, int64_t first_id);

}  // namespace onnuri
