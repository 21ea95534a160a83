// Streams in the manner of each family, and what has to be read out of them.
#pragma once

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "onnuri/chat.h"
#include "onnuri/engine.h"

namespace onnuri {

struct OutputRead {
  std::string text;
  std::string reasoning;
  std::string calls;  // name(arguments); in a row
  std::string whole;
  std::string streamed;  // the calls again, out of their deltas
  bool operator==(const OutputRead&) const = default;
};

// Calls as somebody puts them together who only sees the deltas.
class CallAssembly {
 public:
  void add(const std::vector<ToolCallDelta>& deltas) {
    for (const ToolCallDelta& delta : deltas) {
      ToolCall& call = calls_[delta.index];
      if (!delta.name.empty()) call = {delta.id, delta.name, {}};
      call.arguments_json += delta.arguments;
    }
  }
  void finish(OutputRead& out, const std::vector<std::string>& ids) const {
    for (size_t i = 0; i < ids.size(); ++i) {
      const auto found = calls_.find(static_cast<int64_t>(i));
      if (found == calls_.end() || found->second.id != ids[i]) return;
      out.streamed += found->second.name + "(" + found->second.arguments_json + ");";
    }
  }

 private:
  std::map<int64_t, ToolCall> calls_;
};

struct OutputCase {
  const char* name;
  const char* chat_template;  // as far as its markers go
  const char* prompt;
  std::string stream;
  OutputRead want;
  bool has_tools = true;
};

inline constexpr const char* kHermes = "<think></think><tool_call>{{ enable_thinking }}";
inline constexpr const char* kFunction = "<function=name>";
inline constexpr const char* kTurns = "<|im_start|>assistant/think -> tool/function_call";
inline constexpr const char* kMarked = "<|begin|>assistant<|think|><|content|><|tool_call:begin|>";
inline constexpr const char* kChannels = "<|start|>assistant<|channel|>final<|message|>";
inline constexpr const char* kNamed = "<think></think><｜tool▁calls▁begin｜><｜tool▁call▁begin｜>";
inline constexpr const char* kBare = "Environment: ipython {\"name\": x, \"parameters\": y}";

inline constexpr const char* kHeaded = "[INST] [TOOL_CALLS][CALL_ID][ARGS] [THINK]";
inline constexpr const char* kOpen = "<|tool_call|>[{...}]";
inline constexpr const char* kPython = "<|tool_call_start|>[...]<|tool_call_end|>";
inline constexpr const char* kBarePython = "[func_name1(params_name1=params_value1, ...)]";

inline OutputCase make(const char* name, const char* source, const char* prompt, std::string stream,
                       std::string text, std::string reasoning, std::string calls,
                       bool has_tools = true) {
  OutputCase c{name, source, prompt, std::move(stream), {}, has_tools};
  c.want = {std::move(text), std::move(reasoning), calls, c.stream, calls};
  return c;
}

inline std::vector<OutputCase> inline_cases() {
  const char* prompt = "<|im_start|>assistant\n";
  return {
      make("plain", kHermes, prompt, " Hello,\n\nworld \n", " Hello,\n\nworld \n", "", ""),
      make("thought", kHermes, prompt, "<think>\nhmm, 음\n</think>\n\nanswer\n", "answer\n",
           "hmm, 음", ""),
      make("prefilled", kHermes, "assistant\n<think>\n", "\nso\n\nmore\n</think>\n\nyes", "yes",
           "so\n\nmore", ""),
      make("switched off", kHermes, "assistant\n<think>\n\n</think>\n\n", "yes </think>",
           "yes </think>", "", ""),
      make("never closed", kHermes, prompt, "<think>I wonder </thin", "", "I wonder </thin", ""),
      make("empty thought", kHermes, prompt, "<think>\n\n</think>\n\nyes", "yes", "", ""),
      make("only a tag", kHermes, prompt, "<think", "<think", "", ""),
      make("a tag in the middle", kHermes, prompt, "I say <think>x</think>",
           "I say <think>x</think>", "", ""),
      make("call", kHermes, prompt,
           "<tool_call>\n{\"name\": \"f\", \"arguments\": {\"a\": [1, \"b\"]}}\n</tool_call>", "",
           "", "f({\"a\":[1,\"b\"]});"),
      make("thought, word, calls", kHermes, prompt,
           "<think>x</think>\nWait. \n<tool_call>{\"name\":\"f\",\"arguments\":{}}</tool_call>\n"
           "<tool_call>{\"name\":\"g\",\"parameters\":{\"k\":\"서울\"}}</tool_call>\n",
           "Wait.", "x", "f({});g({\"k\":\"서울\"});"),
      make("a list of calls", kHermes, prompt,
           "<tool_call>[{\"name\":\"f\"},{\"name\":\"g\",\"arguments\":null}]</tool_call>done",
           "done", "", "f({});g({});"),
      make("arguments as a string", kHermes, prompt,
           "<tool_call>{\"name\":\"f\",\"arguments\":\"{\\\"a\\\": 1}\"}</tool_call>", "", "",
           "f({\"a\":1});"),
      make("a tag inside a string", kHermes, prompt,
           "<tool_call>{\"name\":\"f\",\"arguments\":{\"s\":\"x</tool_call>y\\\"\"}}</tool_call>!",
           "!", "", "f({\"s\":\"x</tool_call>y\\\"\"});"),
      make("malformed", kHermes, prompt, "so <tool_call>{\"name\": f}</tool_call> end",
           "so <tool_call>{\"name\": f}</tool_call> end", "", ""),
      make("malformed, then well", kHermes, prompt,
           "<tool_call>{]</tool_call>\n<tool_call>{\"name\":\"f\"}</tool_call>",
           "<tool_call>{]</tool_call>", "", "f({});"),
      make("unbalanced quote", kHermes, prompt, "<tool_call>{\"name}</tool_call> rest",
           "<tool_call>{\"name}</tool_call> rest", "", ""),
      make("no name", kHermes, prompt, "<tool_call>{\"arguments\":{}}</tool_call>",
           "<tool_call>{\"arguments\":{}}</tool_call>", "", ""),
      make("unfinished", kHermes, prompt, "a <tool_call>{\"name\": \"f\", \"argu",
           "a <tool_call>{\"name\": \"f\", \"argu", "", ""),
      make("closed by the end", kHermes, prompt, "<tool_call>{\"name\": \"f\"}\n", "", "",
           "f({});"),
      make("closed in part", kHermes, prompt, "<tool_call>{\"name\": \"f\"}</tool",
           "<tool_call>{\"name\": \"f\"}</tool", "", ""),
      make("talk about tags", kHermes, prompt,
           "Use <tool_call> tags, `<tool_call>{\"name\":\"f\"}</tool_call>`.",
           "Use <tool_call> tags, `<tool_call>{\"name\":\"f\"}</tool_call>`.", "", ""),
      make("fenced code", kHermes, prompt,
           "See:\n```xml\n<tool_call>{\"name\":\"f\"}</"
           "tool_call>\n```\n<tool_call>{\"name\":\"g\"}</tool_call>",
           "See:\n```xml\n<tool_call>{\"name\":\"f\"}</tool_call>\n```", "", "g({});"),
      make("begun tag at the end", kHermes, prompt, "less <tool_ca", "less <tool_ca", "", ""),
      make("parameters as tags", kHermes, prompt,
           "<tool_call>\n<function=f>\n<parameter=a>\n1\n</parameter>\n<parameter=b>\nit's "
           "\"x\"\n</parameter>\n"
           "</function>\n</tool_call>",
           "", "", "f({\"a\":1,\"b\":\"it's \\\"x\\\"\"});"),
      make("function tag", kFunction, prompt,
           "Sure.\n<function=f>{\"a\": 1}</function>\n<function=g>{}</function>", "Sure.", "",
           "f({\"a\":1});g({});"),
      make("no function", kFunction, prompt, "if <function= x>", "if <function= x>", "", ""),
      make("named", kNamed, prompt,
           "t</"
           "think>ok<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>f\n```json\n{"
           "\"a\":1}\n```"
           "<｜tool▁call▁end｜>\n<｜tool▁call▁begin｜>g<｜tool▁sep｜>{}<｜tool▁call▁end｜><"
           "｜tool▁calls▁end｜>",
           "t</think>ok", "", "f({\"a\":1});g({});"),
      make("bare call", kBare, prompt, "{\"name\": \"f\", \"parameters\": {\"a\": 1}}", "", "",
           "f({\"a\":1});"),
      make("bare, no tools", kBare, prompt, "{\"name\": \"f\", \"parameters\": {}}",
           "{\"name\": \"f\", \"parameters\": {}}", "", "", false),
      make("bare, no call", kBare, prompt, " {\"x\": 1}", " {\"x\": 1}", "", ""),
      make("nothing known", "{{ messages }}", prompt, "<think>a</think> ", "<think>a</think> ", "",
           ""),
  };
}

inline std::vector<OutputCase> turn_cases() {
  const char* turns = "<|im_end|>\n<|im_start|>assistant";
  const char* marked = "<|end|><|begin|>assistant";
  const char* channels = "<|end|><|start|>assistant";
  return {
      make("turn: answer", kTurns, turns, "\n안녕 <b>\n", "안녕 <b>\n", "", ""),
      make("turn: thought", kTurns, turns,
           "/think\nhm\n<|im_end|>\n<|im_start|>assistant\nyes<|im_end|>", "yes", "hm", ""),
      make("turn: forced thought", kTurns, "<|im_start|>assistant/think\n",
           "hm<|im_end|>\n<|im_start|>assistant\nyes", "yes", "hm", ""),
      make("turn: calls", kTurns, turns,
           " -> tool/function_call\n[{\"name\": \"f\", \"arguments\": {\"a\": 1}}, {\"name\": "
           "\"g\"}]<|im_end|>",
           "", "", "f({\"a\":1});g({});"),
      make("turn: thought, calls", kTurns, turns,
           "/think\nx<|im_end|>\n<|im_start|>assistant -> "
           "tool/function_call\n[{\"name\":\"f\"}]<|stop|>",
           "", "x", "f({});"),
      make("turn: malformed calls", kTurns, turns, " -> tool/function_call\n[{\"name\":<|im_end|>",
           "[{\"name\":", "", ""),
      make("turn: unfinished calls", kTurns, turns, " -> tool/function_call\n[{\"name\":\"f\"}",
           "[{\"name\":\"f\"}", "", ""),
      make("turn: unfinished thought", kTurns, turns, "/think\nx <|im_", "", "x <|im_", ""),
      make("marked: answer", kMarked, marked, "<|content|> yes \n<|end|>", " yes \n", "", ""),
      make("marked: thought", kMarked, marked,
           "<|think|>\nhm\n<|end|><|begin|>assistant<|content|>yes<|end|>", "yes", "hm", ""),
      make("marked: empty thought before", kMarked,
           "<|begin|>assistant<|think|><|end|><|begin|>assistant", "<|content|>yes", "yes", "", ""),
      make("marked: calls", kMarked, marked,
           "<|think|>x<|end|><|begin|>assistant<|tool_calls|><|tool_call:begin|>id1<|tool_call:"
           "name|>f"
           "<|tool_call:args|>{\"a\": "
           "\"한\"}<|tool_call:end|><|tool_call:begin|>id2<|tool_call:name|>g"
           "<|tool_call:args|>{}<|tool_call:end|><|calls|>",
           "", "x", "f({\"a\":\"한\"});g({});"),
      make("marked: malformed", kMarked, marked,
           "<|tool_calls|><|tool_call:begin|>id<|tool_call:end|><|calls|>",
           "<|tool_call:begin|>id<|tool_call:end|>", "", ""),
      make("channel: final", kChannels, channels, "<|channel|>final<|message|> yes<|return|>",
           " yes", "", ""),
      make("channel: thought", kChannels, channels,
           "<|channel|>analysis<|message|>hm<|end|><|start|>assistant<|channel|>final<|message|>"
           "yes <|return|>",
           "yes ", "hm", ""),
      make("channel: call", kChannels, channels,
           "<|channel|>analysis<|message|>hm<|end|><|start|>assistant<|channel|>commentary "
           "to=functions.f "
           "<|constrain|>json<|message|>{\"a\": 1}<|call|>",
           "", "hm", "f({\"a\":1});"),
      make("channel: recipient first", kChannels, channels,
           " to=functions.f<|channel|>commentary json<|message|>{}<|call|>", "", "", "f({});"),
      make("channel: preamble", kChannels, channels,
           "<|channel|>commentary<|message|>I look.<|end|><|start|>assistant<|channel|>commentary "
           "to=functions.f"
           "<|message|>{}<|call|>",
           "I look.", "", "f({});"),
      make("channel: malformed", kChannels, channels,
           "<|channel|>commentary to=functions.f<|message|>{oops<|call|>", "{oops", "", ""),
      make("channel: off the form", kChannels, channels, "Hello there", "Hello there", "", ""),
      make("channel: cut in the header", kChannels, channels, "<|channel|>ana", "", "", ""),
  };
}

// Calls without a closing tag, and calls in Python's manner.
inline std::vector<OutputCase> value_cases() {
  const char* prompt = "[/INST]";
  return {
      make("headed", kHeaded, prompt, "[TOOL_CALLS]f[ARGS]{\"a\": [1, \"]}\"]}", "", "",
           "f({\"a\":[1,\"]}\"]});"),
      make("headed: two, ids, words around", kHeaded, prompt,
           "Look. [TOOL_CALLS]f[CALL_ID]abcdefghi[ARGS]{}\n[TOOL_CALLS]g.h[ARGS] {\"k\": \"서울\"} "
           "so",
           "Look.so", "", "f({});g.h({\"k\":\"서울\"});"),
      make("headed: no mark", kHeaded, prompt, "[TOOL_CALLS]f{\"a\": {\"b\": 1}}", "", "",
           "f({\"a\":{\"b\":1}});"),
      make("headed: a list", kHeaded, prompt,
           "[TOOL_CALLS] [{\"name\": \"f\", \"arguments\": {\"a\": 1}, \"id\": \"aaaaaaaaa\"}, "
           "{\"name\": \"g\", \"arguments\": {}}]",
           "", "", "f({\"a\":1});g({});"),
      make("headed: thought first", kHeaded, prompt, "[THINK]hm\n[/THINK]ok[TOOL_CALLS]f[ARGS]{}",
           "ok", "hm", "f({});"),
      make("headed: no call", kHeaded, prompt, "[TOOL_CALLS] are brackets",
           "[TOOL_CALLS] are brackets", "", ""),
      make("headed: malformed", kHeaded, prompt, "[TOOL_CALLS]f[ARGS]{\"a\": b} end",
           "[TOOL_CALLS]f[ARGS]{\"a\": b} end", "", ""),
      make("headed: malformed list", kHeaded, prompt, "[TOOL_CALLS][{\"x\": 1}]",
           "[TOOL_CALLS][{\"x\": 1}]", "", ""),
      make("headed: no name", kHeaded, prompt, "[TOOL_CALLS][ARGS]{}", "[TOOL_CALLS][ARGS]{}", "",
           ""),
      make("headed: unfinished", kHeaded, prompt,
           "a [TOOL_CALLS]f[ARGS]{\"a\": ", "a [TOOL_CALLS]f[ARGS]{\"a\": ", "", ""),
      make("headed: unfinished head", kHeaded, prompt, "[TOOL_CALLS]f[AR", "[TOOL_CALLS]f[AR", "",
           ""),
      make("open list", kOpen, prompt,
           "<|tool_call|>[{\"name\": \"f\", \"arguments\": {}}]<|/tool_call|>", "", "", "f({});"),
      make("open, then words", kOpen, prompt,
           "<|tool_call|>{\"name\": \"f\", \"arguments\": {\"a\": \"}\"}}\nyes", "yes", "",
           "f({\"a\":\"}\"});"),
      make("open, unfinished", kOpen, prompt, "<|tool_call|>[{\"name\": \"f\"}",
           "<|tool_call|>[{\"name\": \"f\"}", "", ""),
      make("python", kPython, prompt,
           "<|tool_call_start|>[f(a=1, b=\"x\", c='it\\'s'), g()]<|tool_call_end|>\nok", "ok", "",
           "f({\"a\":1,\"b\":\"x\",\"c\":\"it's\"});g({});"),
      make("python: values", kPython, prompt,
           "<|tool_call_start|>[m.f(a=[1, -2.5, .5, ], b={'k': (True, None), \"l\": {}}, c=(), "
           "d='\"\\n\\u00e9한')]<|tool_call_end|>",
           "", "",
           "m.f({\"a\":[1,-2.5,0.5],\"b\":{\"k\":[true,null],\"l\":{}},\"c\":[],\"d\":\"\\\"\\u000a"
           "\\u00e9한\"});"),
      make("python: a tag inside a string", kPython, prompt,
           "<|tool_call_start|>[f(a='<|tool_call_end|>')]<|tool_call_end|>", "", "",
           "f({\"a\":\"<|tool_call_end|>\"});"),
      make(
          "python: malformed", kPython, prompt,
          "<|tool_call_start|>[f(1)]<|tool_call_end|> <|tool_call_start|>[f(a=x)]<|tool_call_end|>",
          "<|tool_call_start|>[f(1)]<|tool_call_end|> <|tool_call_start|>[f(a=x)]<|tool_call_end|>",
          "", ""),
      make("python: unfinished", kPython, prompt, "<|tool_call_start|>[f(a='b",
           "<|tool_call_start|>[f(a='b", "", ""),
      make("python without tags", kBarePython, prompt, "[f(a=1), g(b=[True])]\n", "", "",
           "f({\"a\":1});g({\"b\":[true]});"),
      make("python without tags, no tools", kBarePython, prompt, "[f(a=1)]", "[f(a=1)]", "", "",
           false),
      make("python without tags: a list", kBarePython, prompt, "[1, 2] is a list",
           "[1, 2] is a list", "", ""),
      make("python without tags: a link", kBarePython, prompt, "[f(a=1)](x) is a link",
           "[f(a=1)](x) is a link", "", ""),
  };
}

inline std::vector<OutputCase> all_cases() {
  std::vector<OutputCase> all = inline_cases();
  for (OutputCase& c : value_cases()) all.push_back(std::move(c));
  for (OutputCase& c : turn_cases()) all.push_back(std::move(c));
  return all;
}

}  // namespace onnuri
