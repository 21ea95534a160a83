// What stands between the tags of a tool call; see output_parser.h.
#include <algorithm>
#include <optional>

#include "core/json.h"
#include "engine/call_stream.h"
#include "engine/output_parser.h"
#include "onnuri/error.h"

namespace onnuri {
namespace {

constexpr std::string_view kSpace = " \t\r\n";

std::string_view trimmed(std::string_view text) {
  const size_t begin = text.find_first_not_of(kSpace);
  if (begin == text.npos) return {};
  return text.substr(begin, text.find_last_not_of(kSpace) - begin + 1);
}

std::optional<JsonValue> parsed(std::string_view text) {
  try {
    return parse_json(text, "tool call");
  } catch (const Error&) {
    return std::nullopt;
  }
}

// The arguments as an object's text; nothing when they are no object. Some models write the object
// into a string.
std::optional<std::string> arguments_of(const JsonValue* value) {
  if (value == nullptr || value->is_null()) return "{}";
  if (value->is_object()) return value->dump();
  if (!value->is_string()) return std::nullopt;
  const std::optional<JsonValue> inner = parsed(value->as_string("arguments"));
  if (!inner || !inner->is_object()) return std::nullopt;
  return inner->dump();
}

std::optional<ToolCall> json_call(const JsonValue& value, int64_t number) {
  const JsonValue* wrapped = value.find("function");
  const JsonValue& call = wrapped != nullptr && wrapped->is_object() ? *wrapped : value;
  const JsonValue* name = call.find("name");
  if (name == nullptr || !name->is_string() || name->as_string("name").empty()) return std::nullopt;
  const JsonValue* arguments = call.find("arguments");
  if (arguments == nullptr) arguments = call.find("parameters");
  const std::optional<std::string> text = arguments_of(arguments);
  if (!text) return std::nullopt;
  const JsonValue* id = value.find("id");
  const bool has_id = id != nullptr && id->is_string() && !id->as_string("id").empty();
  return ToolCall{has_id ? id->as_string("id") : numbered_call_id(number), name->as_string("name"),
                  *text};
}

// Takes <parameter=KEY>VALUE</parameter> off the front. A value that is JSON of its own is that
// unless the tool asks for text, all else is a string.
std::optional<std::pair<std::string, JsonValue>> take_parameter(std::string_view& text,
                                                                std::string_view function,
                                                                const ToolSchemas& tools) {
  constexpr std::string_view kOpen = "<parameter=";
  constexpr std::string_view kClose = "</parameter>";
  const size_t mark = text.find('>');
  const size_t end = text.find(kClose);
  if (!text.starts_with(kOpen) || end == text.npos || mark > end) return std::nullopt;
  std::string_view value = text.substr(mark + 1, end - mark - 1);
  if (value.starts_with('\n')) value.remove_prefix(1);
  if (value.ends_with('\n')) value.remove_suffix(1);
  const std::string_view key = trimmed(text.substr(kOpen.size(), mark - kOpen.size()));
  const std::optional<JsonValue> json = tools.is_text(function, key) ? std::nullopt : parsed(value);
  std::pair<std::string, JsonValue> out{
      key, json && !json->is_string() ? *json : JsonValue(std::string(value))};
  text.remove_prefix(end + kClose.size());
  return out;
}

// Any number of parameters as an object.
std::optional<std::string> parameters_of(std::string_view text, std::string_view function,
                                         const ToolSchemas& tools) {
  JsonValue out{JsonValue::Object{}};
  for (text = trimmed(text); !text.empty(); text = trimmed(text)) {
    std::optional<std::pair<std::string, JsonValue>> one = take_parameter(text, function, tools);
    if (!one) return std::nullopt;
    out.set(one->first, std::move(one->second));
  }
  return out.dump();
}

// NAME>ARGUMENTS, as it follows "<function=".
std::optional<ToolCall> function_call(std::string_view body, int64_t number,
                                      const ToolSchemas& tools) {
  const size_t mark = body.find('>');
  if (mark == body.npos || mark == 0) return std::nullopt;
  const std::string_view name = trimmed(body.substr(0, mark));
  const std::string_view given = trimmed(body.substr(mark + 1));
  std::optional<std::string> arguments;
  if (given.empty() || given.starts_with("<parameter=")) {
    arguments = parameters_of(given, name, tools);
  } else if (const std::optional<JsonValue> json = parsed(given)) {
    arguments = arguments_of(&*json);
  }
  if (!arguments) return std::nullopt;
  return ToolCall{numbered_call_id(number), std::string(name), *arguments};
}

std::string_view without_fence(std::string_view text) {
  text = trimmed(text);
  if (!text.starts_with("```") || !text.ends_with("```") || text.size() < 6) return text;
  const size_t line = text.find('\n');
  return line == text.npos ? text : trimmed(text.substr(line, text.size() - 3 - line));
}

std::optional<ToolCall> named_call(const CallTag& tag, std::string_view body, int64_t number) {
  ToolCall call{numbered_call_id(number), {}, {}};
  if (!tag.name_mark.empty()) {
    const size_t at = body.find(tag.name_mark);
    if (at == body.npos) return std::nullopt;
    if (at > 0) call.id = std::string(trimmed(body.substr(0, at)));
    body.remove_prefix(at + tag.name_mark.size());
  }
  const size_t at = body.find(tag.args_mark);
  if (at == body.npos) return std::nullopt;
  std::string_view name = trimmed(body.substr(0, at));
  std::string_view given = trimmed(body.substr(at + tag.args_mark.size()));
  if (!given.starts_with('{')) {  // TYPE MARK NAME newline ARGUMENTS
    const size_t line = std::min(given.find('\n'), given.size());
    name = trimmed(given.substr(0, line));
    given = without_fence(given.substr(line));
  }
  const std::optional<JsonValue> json = parsed(given);
  const std::optional<std::string> arguments = json ? arguments_of(&*json) : std::nullopt;
  if (name.empty() || !arguments) return std::nullopt;
  call.name = std::string(name);
  call.arguments_json = *arguments;
  return call;
}

// NAME [MARK ID] [MARK] {arguments}
std::optional<ToolCall> headed_call(const CallTag& tag, std::string_view body, int64_t number) {
  const size_t brace = std::min(body.find('{'), body.size());
  const auto head = read_head(tag, body.substr(0, brace));
  const std::optional<JsonValue> json = parsed(trimmed(body.substr(brace)));
  const std::optional<std::string> arguments = json ? arguments_of(&*json) : std::nullopt;
  if (!head || !arguments) return std::nullopt;
  const auto& [name, id] = *head;
  return ToolCall{id.empty() ? numbered_call_id(number) : id, name, *arguments};
}

std::vector<ToolCall> python_calls(std::string_view body, int64_t first_id) {
  PythonCalls reader;
  for (const char c : body)
    if (!reader.push(c)) return {};
  if (!reader.whole()) return {};
  std::vector<ToolCall> calls;
  for (PythonCalls::Piece& piece : reader.take()) {
    if (piece.begins)
      calls.push_back({numbered_call_id(first_id++), std::move(piece.text), {}});
    else
      calls.back().arguments_json += piece.text;
  }
  for (ToolCall& call : calls) {
    const std::optional<JsonValue> json = parsed(call.arguments_json);
    if (!json) return {};
    call.arguments_json = json->dump();
  }
  return calls;
}

}  // namespace

std::optional<std::pair<std::string, std::string>> read_head(const CallTag& tag,
                                                             std::string_view head) {
  head = trimmed(head);
  if (head.ends_with(tag.args_mark)) head.remove_suffix(tag.args_mark.size());
  const size_t mark = head.find(tag.name_mark);
  std::string_view id;
  if (mark != head.npos) {
    id = trimmed(head.substr(mark + tag.name_mark.size()));
    head = head.substr(0, mark);
  }
  const std::string_view name = trimmed(head);
  const bool plain = name.find_first_of(" \t\r\n[]<>\"'`{}") == name.npos &&
                     id.find_first_of(" \t\r\n[]<>\"'`{}") == id.npos;
  if (name.empty() || !plain) return std::nullopt;
  return std::pair{std::string(name), std::string(id)};
}

std::string numbered_call_id(int64_t number) {
  std::string digits = std::to_string(number);
  if (digits.size() < 5) digits.insert(0, 5 - digits.size(), '0');
  return "call" + digits;  // nine letters and digits, as the strictest templates ask for
}

std::optional<std::string> read_parameter(std::string_view text, std::string_view function,
                                          const ToolSchemas& tools) {
  std::optional<std::pair<std::string, JsonValue>> one = take_parameter(text, function, tools);
  if (!one) return std::nullopt;
  return JsonValue(one->first).dump() + ":" + one->second.dump();
}

std::vector<ToolCall> read_json_calls(std::string_view text, int64_t first_id) {
  const std::optional<JsonValue> json = parsed(trimmed(text));
  if (!json) return {};
  std::vector<ToolCall> calls;
  if (!json->is_array()) {
    if (std::optional<ToolCall> call = json_call(*json, first_id))
      calls.push_back(std::move(*call));
    return calls;
  }
  for (const JsonValue& item : json->as_array("tool calls")) {
    std::optional<ToolCall> call = json_call(item, first_id++);
    if (!call) return {};
    calls.push_back(std::move(*call));
  }
  return calls;
}

std::vector<ToolCall> read_calls(const CallTag& tag, std::string_view body, int64_t first_id,
                                 const ToolSchemas& tools) {
  if (tag.format == CallFormat::kPython) return python_calls(body, first_id);
  std::optional<ToolCall> call;
  if (tag.format == CallFormat::kHeaded) {
    const std::string_view text = trimmed(body);
    if (text.starts_with('[') || text.starts_with('{')) return read_json_calls(text, first_id);
    call = headed_call(tag, text, first_id);
  } else if (tag.format == CallFormat::kNamed) {
    call = named_call(tag, body, first_id);
  } else if (tag.format == CallFormat::kFunction) {
    call = function_call(body, first_id, tools);
  } else {
    constexpr std::string_view kOpen = "<function=";
    constexpr std::string_view kClose = "</function>";
    std::string_view text = trimmed(body);
    if (!text.starts_with(kOpen)) return read_json_calls(text, first_id);
    if (text.ends_with(kClose)) text.remove_suffix(kClose.size());
    call = function_call(text.substr(kOpen.size()), first_id, tools);
  }
  return call ? std::vector<ToolCall>{std::move(*call)} : std::vector<ToolCall>{};
}

}  // namespace onnuri
