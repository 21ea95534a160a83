// What memory this process has taken and may still take.
#pragma once

#include <cstdint>

namespace onnuri {

/// Bytes of memory that hold no pages of a file, or 0 where the system does not tell.
int64_t anonymous_bytes();

/// Gives what was freed, and is kept for later, back to the system, so that sizes are true.
void return_free_memory();

/// Bytes that can be had without swapping: what the machine has free, or the rest of the control
/// group's limit where that is less. 0 where the system does not tell.
int64_t available_bytes();

}  // namespace onnuri
