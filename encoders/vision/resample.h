// Picture resizing as Pillow does it, so that encoders see the pixels they were trained on.
#pragma once

#include <cstdint>

#include "core/thread_pool.h"
#include "encoders/vision/vision_config.h"
#include "onnuri/media.h"

namespace onnuri {

/// Resizes to (height, width) with an antialiased kernel: widened by the ratio when shrinking.
/// Two passes, 8 bits between them, fixed-point weights. `pool` may be null (one thread).
/// Throws kInvalidArgument for an empty picture or target.
Image resample(const Image& image, int64_t height, int64_t width, ResizeFilter filter,
               ThreadPool* pool);

}  // namespace onnuri
