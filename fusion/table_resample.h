// A learned table over a square grid, seen on a grid of another size.
#pragma once

#include <cstdint>
#include <vector>

#include "core/tensor.h"
#include "kernels/matrix.h"

namespace onnuri {

/// table (side * side, D) in raster order; returns (h * w, D). Bicubic with a = -0.5, half-pixel
/// centres, the kernel widened by the ratio when the grid shrinks; columns first, then rows.
/// A grid of the table's own size is copied.
/// Source: torch.nn.functional.interpolate(mode="bicubic", antialias=True).
Tensor resample_table(ConstMatrixView table, int64_t side, int64_t h, int64_t w);

}  // namespace onnuri
