// Numbers as Python reads them from text: int(text, base) and float(text).
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace onnuri::jinja {

struct ReadInteger {
  int64_t value = 0;
  bool fits = true;  // in 64 bits
};

/// Nothing where Python has a ValueError. `base` is 0 (by the prefix) or 2 to 36; digits may be
/// parted by single underscores.
std::optional<ReadInteger> read_integer(std::string_view text, int64_t base);

/// Nothing where Python has a ValueError; what is too large is infinite.
std::optional<double> read_float(std::string_view text);

}  // namespace onnuri::jinja
