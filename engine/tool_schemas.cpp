// See tool_schemas.h.
#include "engine/tool_schemas.h"

#include <algorithm>

namespace onnuri {
namespace {

constexpr std::string_view kWhere = "tools";

bool is_word(const JsonValue* value, std::string_view word) {
  return value != nullptr && value->is_string() && value->as_string(kWhere) == word;
}

// {"type": "string"}, {"type": ["string", "null"]}, {"enum": ["a", "b"]}
bool means_text(const JsonValue& schema) {
  const JsonValue* type = schema.find("type");
  if (type != nullptr && type->is_array()) {
    bool any = false;
    for (const JsonValue& one : type->as_array(kWhere)) {
      if (!is_word(&one, "string") && !is_word(&one, "null")) return false;
      any = any || is_word(&one, "string");
    }
    return any;
  }
  if (type != nullptr) return is_word(type, "string");
  const JsonValue* choices = schema.find("enum");
  if (choices == nullptr || !choices->is_array()) return false;
  const JsonValue::Array& all = choices->as_array(kWhere);
  return !all.empty() &&
         std::all_of(all.begin(), all.end(), [](const JsonValue& v) { return v.is_string(); });
}

}  // namespace

ToolSchemas::ToolSchemas(const JsonValue& tools) {
  if (!tools.is_array()) return;
  for (const JsonValue& tool : tools.as_array(kWhere)) {
    const JsonValue* inner = tool.find("function");
    const JsonValue& function = inner != nullptr ? *inner : tool;
    const JsonValue* name = function.find("name");
    const JsonValue* parameters = function.find("parameters");
    const JsonValue* members = parameters != nullptr ? parameters->find("properties") : nullptr;
    if (name == nullptr || !name->is_string() || members == nullptr || !members->is_object())
      continue;
    for (const auto& [key, schema] : members->as_object(kWhere))
      if (means_text(schema)) texts_.emplace_back(name->as_string(kWhere), key);
  }
}

bool ToolSchemas::is_text(std::string_view function, std::string_view parameter) const {
  return std::any_of(texts_.begin(), texts_.end(), [&](const auto& one) {
    return one.first == function && one.second == parameter;
  });
}

}  // namespace onnuri
