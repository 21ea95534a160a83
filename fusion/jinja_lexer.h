// Template text to tokens, with the white-space rules that chat templates are written for
// (trim_blocks and lstrip_blocks on, one newline at the end of the file dropped).
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace onnuri::jinja {

struct Token {
  enum class Kind {
    kData,
    kPrintBegin,
    kPrintEnd,
    kTagBegin,
    kTagEnd,
    kName,
    kString,
    kInteger,
    kFloat,
    kOperator,
    kEnd
  };
  Kind kind = Kind::kEnd;
  std::string text;  // data, name, operator; strings without quotes and escapes
  int line = 1;

  bool is(Kind k, std::string_view t) const { return kind == k && text == t; }
  bool is_op(std::string_view t) const { return is(Kind::kOperator, t); }
  bool is_name(std::string_view t) const { return is(Kind::kName, t); }
};

/// Throws kCorruptData with the line number.
std::vector<Token> tokenize(std::string_view source);

}  // namespace onnuri::jinja
