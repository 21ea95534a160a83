// Text from outside, made fit for one line of an error message.
#pragma once

#include <string>
#include <string_view>

namespace onnuri {

/// `text` in double quotes: at most `max_bytes` of it, control and non-ASCII bytes as \xNN.
std::string in_quotes(std::string_view text, size_t max_bytes = 96);

}  // namespace onnuri
