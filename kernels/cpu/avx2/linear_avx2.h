// What the AVX2 product files share: entry points and the last step of a chunk.
//
// Everything is static: this header is compiled for AVX2 and must not lend code to other units.
#pragma once

#include <immintrin.h>

#include "kernels/cpu/avx2/prepare_int8.h"
#include "kernels/linear_kernels.h"

namespace onnuri::avx2 {

void product_int8(const LinearChunk& chunk);
void product_float(const LinearChunk& chunk);

/// Adds the bias and stores 16 sums of one row, or fewer at the right edge.
static inline void finish_row(const LinearChunk& c, int64_t row, int64_t group, __m256 low,
                              __m256 high) {
  const int64_t n = group * kGroupRows;
  float* y = c.y + row * c.y_stride + n;
  const int64_t count = c.num_outputs - n;
  if (count >= kGroupRows) {
    if (c.bias != nullptr) {
      low = _mm256_add_ps(low, _mm256_loadu_ps(c.bias + n));
      high = _mm256_add_ps(high, _mm256_loadu_ps(c.bias + n + 8));
    }
    if (c.accumulate) {
      low = _mm256_add_ps(_mm256_loadu_ps(y), low);
      high = _mm256_add_ps(_mm256_loadu_ps(y + 8), high);
    }
    _mm256_storeu_ps(y, low);
    _mm256_storeu_ps(y + 8, high);
    return;
  }
  float sums[kGroupRows];
  _mm256_storeu_ps(sums, low);
  _mm256_storeu_ps(sums + 8, high);
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
      const float* sums = workspace_sums(c, g, m);
      finish_row(c, m, g, _mm256_load_ps(sums), _mm256_load_ps(sums + 8));
    }
  }
}

}  // namespace onnuri::avx2
