// How a family writes reasoning, answers and tool calls into one stream: its markers as data.
//
// Three shapes cover the field. Inline: <think> at the beginning, tool calls between tags. Turns:
// each kind is a message of its own, told apart by its header ("assistant/think", "assistant ->
// tool/..."). Channels: as turns, with the kind named inside the header (harmony). Which one a
// checkpoint uses is read from the markers in its chat template.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace onnuri {

/// What stands between the tags of a tool call.
enum class CallFormat {
  kJson,      ///< {"name": ..., "arguments" or "parameters": {...}}, a list of these, or kFunction
  kFunction,  ///< <function=NAME>{arguments}</function>
  kNamed,   ///< [id or type MARK] NAME MARK arguments, the marks being `name_mark` and `args_mark`
  kHeaded,  ///< NAME [`name_mark` ID] [`args_mark`] {arguments}, or as kJson
  kPython,  ///< [NAME(key=value, ...), ...]
};

struct CallTag {
  std::string open;
  std::string close;  // empty: a call ends with its value
  CallFormat format = CallFormat::kJson;
  std::string
      name_mark;  // kNamed: between id and name, empty when there is no id; kHeaded: before id
  std::string args_mark;  // before the arguments
};

enum class OutputShape { kPlain, kInline, kTurns };

/// How the kind of a turn is known.
enum class TurnStyle {
  kHeader,   ///< "assistant/think", "assistant -> tool/function_call", up to a newline
  kChannel,  ///< "<|channel|>analysis", "to=functions.NAME", up to <|message|>
  kMark,     ///< the mark that ends the header says it: <|think|>, <|content|>, <|tool_calls|>
};

struct OutputGrammar {
  OutputShape shape = OutputShape::kPlain;

  // kInline
  std::string think_open;
  std::string think_close;
  std::vector<CallTag> calls;        // kTurns too: inside a turn of calls
  std::vector<std::string> dropped;  // wrappers around calls that mean nothing by themselves
  bool bare_json_calls = false;      // the whole answer may be one call, without tags
  bool bare_python_calls = false;    // the same for a list of calls in Python's manner

  // kTurns
  TurnStyle style = TurnStyle::kHeader;
  std::string turn_open;
  std::vector<std::string> header_ends;
  std::vector<std::string> turn_ends;  // all of them
  std::vector<std::string>
      soft_ends;  // of these, the ones that end the answer unless it has only thought
  std::vector<std::string> stops;  // of these, the ones that end the answer always
};

/// The switch of a template: which variables say whether the model thinks.
struct ReasoningSwitch {
  enum class Kind { kNone, kEnableThinking, kThinking, kForceSkip, kEffort };
  Kind kind = Kind::kNone;
  bool always = false;  // no switch, yet the template knows of thoughts
};

/// From the markers in a chat template.
OutputGrammar find_output_grammar(std::string_view chat_template);
ReasoningSwitch find_reasoning_switch(std::string_view chat_template);

/// Template variables for a wish: "" or "auto" (the published default: nothing), "on", "off", or an
/// effort ("minimal", "low", "medium", "high"). Returns a JSON object's text or nothing. Throws
/// kInvalidArgument for other words, kUnsupported where a model cannot do it.
std::string reasoning_variables(const ReasoningSwitch& control, const std::string& wish);

}  // namespace onnuri
