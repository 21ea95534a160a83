// Tokens to a tree.
#pragma once

#include <string_view>

#include "fusion/jinja_ast.h"

namespace onnuri::jinja {

/// Throws kCorruptData with the line for syntax, kUnsupported for tags outside the subset.
Block parse(std::string_view source);

}  // namespace onnuri::jinja
