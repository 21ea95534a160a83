// Markers as the families publish them; see output_grammar.h.
#include "engine/output_grammar.h"

#include <algorithm>
#include <array>
#include <utility>

#include "core/check.h"

namespace onnuri {
namespace {

bool has(std::string_view text, std::string_view what) { return text.find(what) != text.npos; }

bool is_word(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

// `name` as a word of its own inside a tag, which is how a template reads a variable.
bool reads_variable(std::string_view text, std::string_view name) {
  const auto last = [&](std::string_view mark, size_t before) {
    const size_t at = text.rfind(mark, before);
    return at == text.npos ? size_t{0} : at + 1;
  };
  for (size_t at = text.find(name); at != text.npos; at = text.find(name, at + 1)) {
    const size_t end = at + name.size();
    const bool alone = (at == 0 || (!is_word(text[at - 1]) && text[at - 1] != '.' &&
                                    text[at - 1] != '\'' && text[at - 1] != '"')) &&
                       (end >= text.size() || !is_word(text[end]));
    const bool in_tag =
        std::max(last("{%", at), last("{{", at)) > std::max(last("%}", at), last("}}", at));
    if (alone && in_tag) return true;
  }
  return false;
}

OutputGrammar channels() {
  OutputGrammar g;
  g.shape = OutputShape::kTurns;
  g.style = TurnStyle::kChannel;
  g.turn_open = "<|start|>";
  g.header_ends = {"<|message|>"};
  g.turn_ends = {"<|end|>", "<|return|>", "<|call|>"};
  g.stops = {"<|return|>", "<|call|>"};
  return g;
}

OutputGrammar marked_turns() {
  OutputGrammar g;
  g.shape = OutputShape::kTurns;
  g.style = TurnStyle::kMark;
  g.turn_open = "<|begin|>";
  g.header_ends = {"<|think|>", "<|content|>", "<|tool_calls|>"};
  g.turn_ends = {"<|end|>", "<|calls|>", "<|flush|>", "<|endoftext|>"};
  g.calls = {{"<|tool_call:begin|>", "<|tool_call:end|>", CallFormat::kNamed, "<|tool_call:name|>",
              "<|tool_call:args|>"}};
  g.soft_ends = {"<|end|>"};
  g.stops = {"<|flush|>", "<|calls|>", "<|endoftext|>"};
  return g;
}

OutputGrammar header_turns() {
  OutputGrammar g;
  g.shape = OutputShape::kTurns;
  g.style = TurnStyle::kHeader;
  g.turn_open = "<|im_start|>";
  g.header_ends = {"\n"};
  g.turn_ends = {"<|im_end|>", "<|endofturn|>", "<|stop|>"};
  g.soft_ends = {"<|im_end|>"};
  g.stops = {"<|endofturn|>", "<|stop|>"};
  return g;
}

void add_call_tags(std::string_view source, OutputGrammar& g) {
  if (has(source, "<tool_call>"))
    g.calls.push_back({"<tool_call>", "</tool_call>", CallFormat::kJson, "", ""});
  else if (has(source, "<function="))
    g.calls.push_back({"<function=", "</function>", CallFormat::kFunction, "", ""});
  if (has(source, "<｜tool▁call▁begin｜>")) {
    g.calls.push_back(
        {"<｜tool▁call▁begin｜>", "<｜tool▁call▁end｜>", CallFormat::kNamed, "", "<｜tool▁sep｜>"});
    g.dropped = {"<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>"};
  }
  if (has(source, "[TOOL_CALLS]"))
    g.calls.push_back({"[TOOL_CALLS]", "", CallFormat::kHeaded, "[CALL_ID]", "[ARGS]"});
  if (has(source, "<|tool_call|>")) {
    g.calls.push_back({"<|tool_call|>", "", CallFormat::kJson, "", ""});
    g.dropped.push_back("<|/tool_call|>");
  }
  for (const auto& [open, close] : {std::pair{"<|tool_call_start|>", "<|tool_call_end|>"},
                                    std::pair{"<|python_start|>", "<|python_end|>"}})
    if (has(source, open)) g.calls.push_back({open, close, CallFormat::kPython, "", ""});
  // Where the template shows the form, its calls come without tags too.
  g.bare_python_calls = has(source, "[func_name1(") || has(source, "[function_name(");
  g.bare_json_calls = g.calls.empty() && has(source, "\"parameters\": ") && has(source, "ipython");
}

}  // namespace

OutputGrammar find_output_grammar(std::string_view source) {
  if (has(source, "<|channel|>") && has(source, "<|message|>")) return channels();
  if (has(source, "<|begin|>") && has(source, "<|content|>")) return marked_turns();
  if (has(source, "/think") && has(source, "<|im_start|>") && has(source, "tool/function_call"))
    return header_turns();
  OutputGrammar g;
  if (has(source, "<think>") || has(source, "</think>")) {
    g.think_open = "<think>";
    g.think_close = "</think>";
  } else if (has(source, "[THINK]")) {
    g.think_open = "[THINK]";
    g.think_close = "[/THINK]";
  }
  add_call_tags(source, g);
  if (!g.think_open.empty() || !g.calls.empty() || g.bare_json_calls || g.bare_python_calls)
    g.shape = OutputShape::kInline;
  return g;
}

ReasoningSwitch find_reasoning_switch(std::string_view source) {
  using Kind = ReasoningSwitch::Kind;
  ReasoningSwitch out;
  if (reads_variable(source, "enable_thinking"))
    out.kind = Kind::kEnableThinking;
  else if (reads_variable(source, "force_reasoning") || reads_variable(source, "skip_reasoning"))
    out.kind = Kind::kForceSkip;
  else if (reads_variable(source, "reasoning_effort"))
    out.kind = Kind::kEffort;
  else if (reads_variable(source, "thinking"))
    out.kind = Kind::kThinking;
  out.always = out.kind == Kind::kNone && (has(source, "<think>") || has(source, "[THINK]"));
  return out;
}

std::string reasoning_variables(const ReasoningSwitch& control, const std::string& wish) {
  using Kind = ReasoningSwitch::Kind;
  if (wish.empty() || wish == "auto" || wish == "default") return {};
  constexpr std::array<std::string_view, 6> kWords = {"on",  "off",    "minimal",
                                                      "low", "medium", "high"};
  if (std::find(kWords.begin(), kWords.end(), wish) == kWords.end())
    fail(ErrorCode::kInvalidArgument,
         "expected reasoning to be auto, on, off, minimal, low, medium or high, found \"", wish,
         "\"");
  const bool on = wish != "off" && wish != "minimal";
  switch (control.kind) {
    case Kind::kEnableThinking:
      return on ? R"({"enable_thinking":true})" : R"({"enable_thinking":false})";
    case Kind::kThinking: return on ? R"({"thinking":true})" : R"({"thinking":false})";
    case Kind::kForceSkip: return on ? R"({"force_reasoning":true})" : R"({"skip_reasoning":true})";
    case Kind::kEffort: {
      const std::string effort = wish == "on" ? "high" : wish == "off" ? "minimal" : wish;
      return "{\"reasoning_effort\":\"" + effort + "\"}";
    }
    case Kind::kNone: break;
  }
  if (on == control.always) return {};
  fail(ErrorCode::kUnsupported, "expected a chat template with a switch for reasoning ", wish,
       ", found one that ", control.always ? "always reasons" : "never does");
}

}  // namespace onnuri
