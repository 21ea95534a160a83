// Row-wise kernels of one table: each call handles the rows it is given on one thread.
//
// Shapes were checked by ops.cpp. A row's result depends on that row alone, so any split of rows
// over calls gives the same bits. The meaning of each function is that of its op in ops.h.
#pragma once

#include <cstdint>

#include "core/dtype.h"
#include "kernels/delta_rule.h"
#include "kernels/matrix.h"
#include "kernels/ops.h"

namespace onnuri {

struct VectorKernels {
  void (*rms_norm)(ConstMatrixView x, const float* weight, float weight_offset, float eps,
                   MatrixView y);
  void (*layer_norm)(ConstMatrixView x, const float* weight, const float* bias, float eps,
                     MatrixView y);
  void (*add_scaled)(ConstMatrixView x, float scale, MatrixView y);
  void (*scale_rows)(float scale, MatrixView x);
  void (*activate)(Activation kind, ConstMatrixView x, MatrixView y);
  /// gate, up and y (M, I).
  void (*glu)(const GluParams& params, ConstMatrixView gate, ConstMatrixView up, MatrixView y);
  /// cos and sin belong to row 0 of x.
  void (*apply_rope)(RopeLayout layout, int64_t num_heads, int64_t head_dim, int64_t rotary_dim,
                     const float* cos, const float* sin, MatrixView x);
  void (*qk_norm_rope)(const QkNormRope& params, int64_t num_heads, int64_t head_dim, MatrixView x);
  void (*softmax_rows)(MatrixView x);
  /// Rounds n values to f32, f16 or bf16 (to nearest, ties to even).
  void (*convert_row)(DType dtype, const float* source, int64_t n, void* target);
  /// rows (y.rows + taps - 1) pointers.
  void (*conv_silu)(const float* const* rows, const float* weight, int64_t taps, MatrixView y);
  void (*delta_rule)(const DeltaTask& task);
};

}  // namespace onnuri
