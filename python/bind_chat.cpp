// Conversations in, tool calls in and out.
#include "onnuri/error.h"
#include "python/bindings.h"

namespace onnuri::python {
namespace {

std::string optional_text(const py::dict& dict, const char* key) {
  if (!dict.contains(key) || dict[key].is_none()) return {};
  const py::object value = dict[key];
  if (!py::isinstance<py::str>(value))
    refuse(std::string("expected text for ") + key + " in a message, found " + shown(value));
  return text_from(key, value);
}

// {"id", "function": {"name", "arguments"}}, the inner part alone, or a ToolCall.
ToolCall call_from(const py::handle& object) {
  if (py::isinstance<ToolCall>(object)) return object.cast<ToolCall>();
  if (!py::isinstance<py::dict>(object))
    refuse("expected every tool call to be a dict or a ToolCall");
  const auto outer = py::reinterpret_borrow<py::dict>(object);
  const bool wrapped = outer.contains("function") && py::isinstance<py::dict>(outer["function"]);
  const py::dict inner = wrapped ? outer["function"].cast<py::dict>() : outer;
  ToolCall call;
  call.id = optional_text(outer, "id");
  call.name = optional_text(inner, "name");
  if (call.name.empty()) refuse("expected a name in every tool call");
  if (!inner.contains("arguments") || inner["arguments"].is_none()) return call;
  const py::object arguments = inner["arguments"];
  call.arguments_json = py::isinstance<py::str>(arguments) ? text_from("arguments", arguments)
                                                           : json_text("arguments", arguments);
  return call;
}

void add_content(const py::dict& message, ChatMessage& out) {
  if (!message.contains("content") || message["content"].is_none()) return;
  const py::object content = message["content"];
  if (py::isinstance<py::str>(content)) {
    out.content.push_back({false, text_from("content", content), {}});
    return;
  }
  for (const py::handle part : items_from("content", "parts, or text,", content)) {
    if (!py::isinstance<py::dict>(part)) refuse("expected every part of a message to be a dict");
    out.content.push_back(part_from(py::reinterpret_borrow<py::dict>(part)));
  }
}

ChatMessage message_from(const py::dict& message) {
  if (!message.contains("role")) refuse("expected role and content in every message");
  const bool calls = message.contains("tool_calls") && !message["tool_calls"].is_none();
  if (!calls && !message.contains("content")) refuse("expected role and content in every message");
  ChatMessage out;
  out.role = optional_text(message, "role");
  out.name = optional_text(message, "name");
  out.tool_call_id = optional_text(message, "tool_call_id");
  for (const char* key : {"reasoning_content", "reasoning", "thinking"})
    if (out.reasoning_content.empty()) out.reasoning_content = optional_text(message, key);
  if (calls)
    for (const py::handle call : items_from("tool_calls", "calls", message["tool_calls"]))
      out.tool_calls.push_back(call_from(call));
  add_content(message, out);
  return out;
}

}  // namespace

std::vector<ChatMessage> messages_from(const py::object& object) {
  std::vector<ChatMessage> out;
  if (object.is_none()) return out;
  for (const py::handle item : items_from("messages", "dicts", object)) {
    if (!py::isinstance<py::dict>(item)) refuse("expected every message to be a dict");
    out.push_back(message_from(py::reinterpret_borrow<py::dict>(item)));
  }
  return out;
}

void bind_chat(py::module_& module) {
  py::class_<ToolCallDelta>(module, "ToolCallDelta",
                            "A piece of a tool call while it is written: id and name first.")
      .def_readonly("index", &ToolCallDelta::index)
      .def_readonly("id", &ToolCallDelta::id)
      .def_readonly("name", &ToolCallDelta::name)
      .def_readonly("arguments", &ToolCallDelta::arguments)
      .def("__repr__", [](const ToolCallDelta& self) {
        return "<ToolCallDelta " + std::to_string(self.index) +
               (self.name.empty() ? "" : " " + self.name) + " " + self.arguments + ">";
      });
  py::class_<ToolCall>(module, "ToolCall", "A tool that the model wants to be run.")
      .def_readonly("id", &ToolCall::id)
      .def_readonly("name", &ToolCall::name)
      .def_readonly("arguments_json", &ToolCall::arguments_json)
      .def_property_readonly("arguments",
                             [](const ToolCall& self) { return json_object(self.arguments_json); })
      .def("to_dict",
           [](const ToolCall& self) {
             py::dict function;
             function["name"] = self.name;
             function["arguments"] = json_object(self.arguments_json);
             py::dict out;
             out["id"] = self.id;
             out["type"] = "function";
             out["function"] = function;
             return out;
           })
      .def("__repr__", [](const ToolCall& self) {
        return "<ToolCall " + self.name + "(" + self.arguments_json + ")>";
      });
}

}  // namespace onnuri::python
