// Memory that runs out when a test says so.
#pragma once

#include <cstdint>

namespace onnuri {

/// From now on the `nth` allocation of the process fails, once; 0: none does.
void fail_allocation(int64_t nth);
/// Whether one has failed since a test last asked for it.
bool allocation_has_failed();

}  // namespace onnuri
