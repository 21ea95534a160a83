// What a call that should fail says.
#pragma once

#include <functional>
#include <string>

#include "onnuri/error.h"

namespace onnuri {

inline std::string error_of(const std::function<void()>& call) {
  try {
    call();
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

}  // namespace onnuri
