// What the AVX-512 product files share: entry points and the last step of a chunk.
#pragma once

#include "kernels/cpu/simd_avx512.h"
#include "kernels/int8_activation.h"
#include "kernels/linear_kernels.h"

namespace onnuri::avx512 {

void product_int8(const LinearChunk& chunk);
void product_float(const LinearChunk& chunk);
void product_bfloat16(const LinearChunk& chunk);

/// Adds the bias and stores 16 sums of one row, or fewer at the right edge.
static inline void finish_row(const LinearChunk& c, int64_t row, int64_t group, __m512 total) {
  const int64_t n = group * kGroupRows;
  float* y = c.y + row * c.y_stride + n;
  const int64_t count = c.num_outputs - n;
  if (count >= kGroupRows) {
    if (c.bias != nullptr) total = _mm512_add_ps(total, _mm512_loadu_ps(c.bias + n));
    if (c.accumulate) total = _mm512_add_ps(_mm512_loadu_ps(y), total);
    _mm512_storeu_ps(y, total);
    return;
  }
  float sums[kGroupRows];
  _mm512_storeu_ps(sums, total);
  for (int64_t i = 0; i < count; ++i) {
    const float sum = c.bias != nullptr ? sums[i] + c.bias[n + i] : sums[i];
    y[i] = c.accumulate ? y[i] + sum : sum;
  }
}

/// Sums of (group, row) in the workspace.
static inline float* workspace_sums(const LinearChunk& c, int64_t group, int64_t row) {
  return reinterpret_cast<float*>(c.workspace) + (group * c.num_rows + row) * kGroupRows;
}

static inline void finish_chunk(const LinearChunk& c) {
  for (int64_t g = 0; g < c.num_groups; ++g) {
    for (int64_t m = 0; m < c.num_rows; ++m) {
      finish_row(c, m, g, _mm512_loadu_ps(workspace_sums(c, g, m)));
    }
  }
}

}  // namespace onnuri::avx512
