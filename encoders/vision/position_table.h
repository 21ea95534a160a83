// A learned table of positions over a square grid, seen on a grid of another size.
#pragma once

#include <cstdint>

#include "core/tensor.h"
#include "kernels/matrix.h"

namespace onnuri {

/// table (side * side, D) in raster order; returns (h * w, D). Bilinear, half-pixel centres, the
/// triangle widened by the ratio where the grid shrinks; columns first, then rows.
/// Source: torch.nn.functional.interpolate(mode="bilinear", antialias=True).
Tensor resample_positions(ConstMatrixView table, int64_t side, int64_t h, int64_t w);

}  // namespace onnuri
