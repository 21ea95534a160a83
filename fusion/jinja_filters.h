// Filters: value|name(arguments). Those of collections are in jinja_filters.cpp, those of texts and
// numbers in jinja_scalar_filters.cpp.
#pragma once

#include <string_view>

#include "fusion/jinja_eval.h"

namespace onnuri::jinja {

using Filter = Value (*)(Interpreter&, const Value&, const Args&);

/// A filter of texts or numbers, or nullptr.
Filter find_scalar_filter(std::string_view name);
Value wordwrap(Interpreter& in, const Value& v, const Args& args);

}  // namespace onnuri::jinja
