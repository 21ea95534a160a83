// Which of the special names of a macro its body reads.
#pragma once

#include "fusion/jinja_ast.h"

namespace onnuri::jinja {

struct SpecialNames {
  bool caller = false;
  bool kwargs = false;
  bool varargs = false;
};

/// Names that are read before anything in the body gives them a value, in the order of the text.
SpecialNames find_special_names(const Block& body);

}  // namespace onnuri::jinja
