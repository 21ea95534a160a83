// The last line of defence of every engine: memory that runs out is an onnuri::Error like any other
// failure, whatever the family and the call.
#pragma once

#include <memory>

#include "onnuri/engine.h"

namespace onnuri {

/// Calls go to `inner`; std::bad_alloc and std::length_error become kOutOfMemory.
std::unique_ptr<Engine> make_guarded_engine(std::unique_ptr<Engine> inner);

}  // namespace onnuri
