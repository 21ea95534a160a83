// The pages of a mapped file behind a tensor.
#pragma once

#include "core/tensor.h"

namespace onnuri {

/// Lets go of the memory pages that hold the stored bytes of `view`, for weights that have been
/// packed or copied: loading then never holds a whole model twice. Views stay valid; touching them
/// again reads the file again. Does nothing for views that lie in memory of our own. Thread-safe.
void release_pages(const TensorView& view);

}  // namespace onnuri
