// Tool calls while they are written: name first, then the text of the arguments.
//
// Every format of a call is read a character at a time. What it says is a forecast; the call as it
// is finally read decides. Where both mean the same, the forecast's spelling is kept, so that the
// pieces joined are the arguments.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "engine/output_grammar.h"
#include "engine/python_calls.h"
#include "engine/tool_schemas.h"
#include "onnuri/engine.h"

namespace onnuri {

/// JSON without white space outside its strings, as it comes in.
class JsonSqueezer {
 public:
  /// Adds a character; false once the value that began with a bracket is whole.
  bool push(char c, std::string& out);

 private:
  int depth_ = 0;
  bool in_string_ = false;
  bool escaped_ = false;
};

class CallStream {
 public:
  /// `first_index`: how many calls the answer held before. `tools` must outlive this.
  CallStream(const CallTag& tag, int64_t first_index, const ToolSchemas& tools);

  /// More of what stands behind the opening tag.
  void push(std::string_view text);
  /// The calls as they were read in the end. Adds what is still unsaid; their arguments take the
  /// spelling that was streamed where it means the same.
  void finish(std::vector<ToolCall>& calls);
  /// What is new since the last time.
  std::vector<ToolCallDelta> take();

 private:
  enum class State { kJson, kHead, kArguments, kObject, kParameters, kPython, kSilent };
  struct Said {
    std::string id;
    std::string name;
    std::string arguments;
  };

  void push_char(char c);
  void push_json(char c);
  void end_json_string();
  void push_head(char c);
  void push_arguments(char c);
  void push_parameter(char c);
  void push_python(char c);
  void begin(std::string id, std::string name);
  void say(std::string_view arguments);
  void say_object(char c);

  CallTag tag_;
  const ToolSchemas* tools_;
  int64_t first_index_;
  State state_ = State::kSilent;
  State after_object_ = State::kSilent;
  std::vector<Said> said_;
  std::vector<ToolCallDelta> out_;
  std::string text_;  // a head, a parameter or a string that is not whole yet
  JsonSqueezer object_;
  PythonCalls python_;
  // kJson: where we are in {"name": ..., "arguments": ...} or a list of these.
  std::string brackets_;
  size_t call_level_ = 0;  // how many brackets are open where a call's keys stand
  std::string key_;
  std::string id_;
  bool value_next_ = false;
  bool in_string_ = false;
  bool escaped_ = false;
  bool begun_ = false;  // the current call has said its name
};

/// One <parameter=KEY>VALUE</parameter> of a function as `"KEY":value`, or nothing.
std::optional<std::string> read_parameter(std::string_view text, std::string_view function,
                                          const ToolSchemas& tools);
/// NAME [ID MARK id] [MARK] as CallFormat::kHeaded has it, or nothing. The id may be empty.
std::optional<std::pair<std::string, std::string>> read_head(const CallTag& tag,
                                                             std::string_view head);
/// The id of a call that has none of its own.
std::string numbered_call_id(int64_t number);

}  // namespace onnuri
