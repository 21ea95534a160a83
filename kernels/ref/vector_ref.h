// The plain row kernels, one file per kind; vector_kernels() in vector_table.cpp collects them.
#pragma once

#include "kernels/delta_rule.h"
#include "kernels/ops.h"

namespace onnuri::ref {

void rms_norm(ConstMatrixView x, const float* weight, float weight_offset, float eps, MatrixView y);
void layer_norm(ConstMatrixView x, const float* weight, const float* bias, float eps, MatrixView y);
void add_scaled(ConstMatrixView x, float scale, MatrixView y);
void scale_rows(float scale, MatrixView x);
void activate(Activation kind, ConstMatrixView x, MatrixView y);
void glu(const GluParams& params, ConstMatrixView gate, ConstMatrixView up, MatrixView y);
void apply_rope(RopeLayout layout, int64_t num_heads, int64_t head_dim, int64_t rotary_dim,
                const float* cos, const float* sin, MatrixView x);
void qk_norm_rope(const QkNormRope& params, int64_t num_heads, int64_t head_dim, MatrixView x);
void softmax_rows(MatrixView x);
void convert_row(DType dtype, const float* source, int64_t n, void* target);
void conv_silu(const float* const* rows, const float* weight, int64_t taps, MatrixView y);
void delta_rule(const DeltaTask& task);

}  // namespace onnuri::ref
