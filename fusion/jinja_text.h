// Python's string operations, shared by filters and methods.
#pragma once

#include <string>
#include <string_view>

#include "fusion/jinja_eval.h"

namespace onnuri::jinja {

/// Without the characters of `chars` (white space when null) at either end.
std::string strip(const std::string& text, const std::string* chars, bool left, bool right);
/// At most `count` replacements (< 0: all); an empty `from` stands between all characters.
std::string replaced(Interpreter& in, std::string_view text, std::string_view from,
                     std::string_view to, int64_t count);
/// First letter raised, the rest lowered.
std::string capitalized(const std::string& text);
/// `text` in the middle of `width` characters, as str.center has it.
std::string centered(Interpreter& in, const std::string& text, int64_t width,
                     const std::string& fill);
List split_lines(std::string_view text, bool keep_ends);
/// split(): at white space when `separator` is null; at most `limit` cuts (< 0: all).
List split(Interpreter& in, std::string_view text, const std::string* separator, int64_t limit,
           bool from_right);
/// "%s and %d" % values; `{}` and `{name}` with str.format.
std::string printf_format(Interpreter& in, const std::string& text, const Args& args);
std::string brace_format(Interpreter& in, const std::string& text, const Args& args);

}  // namespace onnuri::jinja
