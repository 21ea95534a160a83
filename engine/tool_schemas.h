// What a request's tools say of their parameters, as far as reading calls needs it: a value written
// between tags does not say whether 123 is a number or text.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/json.h"

namespace onnuri {

class ToolSchemas {
 public:
  ToolSchemas() = default;
  /// A list of {"type": "function", "function": {"name", "parameters"}}, or of what stands under
  /// "function". What has another form is passed over.
  explicit ToolSchemas(const JsonValue& tools);

  /// Whether the parameter of this function is text and nothing else.
  bool is_text(std::string_view function, std::string_view parameter) const;

 private:
  std::vector<std::pair<std::string, std::string>> texts_;  // function and parameter
};

}  // namespace onnuri
