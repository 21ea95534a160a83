// Raising errors: `fail` for the outside world, ONNURI_CHECK for our own bugs.
#pragma once

#include <sstream>
#include <string>

#include "onnuri/error.h"

namespace onnuri {

/// Throws Error(code) with the parts streamed into one line.
template <typename... Parts>
[[noreturn]] void fail(ErrorCode code, const Parts&... parts) {
  std::ostringstream out;
  (out << ... << parts);
  throw Error(code, out.str());
}

}  // namespace onnuri

/// States what must hold inside our own code; a failure is kInternal and never depends on input.
#define ONNURI_CHECK(condition)                                                                    \
  do {                                                                                             \
    if (!(condition))                                                                              \
      ::onnuri::fail(::onnuri::ErrorCode::kInternal, "internal check failed: " #condition, " at ", \
                     __FILE__, ":", __LINE__);                                                     \
  } while (false)
