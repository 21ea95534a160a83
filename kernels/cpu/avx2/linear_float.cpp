// Products of float weights on AVX2: 6 input rows by 16 outputs in registers.
//
// Each output is one chain of fused multiply-adds over k, for any number of input rows. Narrow
// weights are widened into a panel once per chunk, or in registers for a single row.
#include "kernels/cpu/avx2/linear_avx2.h"

namespace onnuri::avx2 {
namespace {

constexpr int64_t kPanelCols = 256;
constexpr int kTileRows = 6;

// Columns [8 half, 8 half + 8) of step k as floats.
template <WeightFormat kFormat>
__m256 load_weights(const std::byte* group, int64_t k, int half) {
  const int64_t i = k * kGroupRows + half * 8;
  if constexpr (kFormat == WeightFormat::kF32) {
    return _mm256_loadu_ps(reinterpret_cast<const float*>(group) + i);
  } else if constexpr (kFormat == WeightFormat::kF8) {
    // The bits of E4M3 moved up are a binary16 value, 2^-8 times as large.
    const std::byte* record = group + k / kF8Cols * kF8RecordBytes;
    const __m128i bytes = _mm_loadl_epi64(
        reinterpret_cast<const __m128i*>(record + 64 + k % kF8Cols * kGroupRows + half * 8));
    const __m128i halves = _mm_and_si128(_mm_slli_epi16(_mm_cvtepi8_epi16(bytes), 7),
                                         _mm_set1_epi16(static_cast<int16_t>(0xbfff)));
    return _mm256_mul_ps(_mm256_cvtph_ps(halves),
                         _mm256_loadu_ps(reinterpret_cast<const float*>(record) + half * 8));
  } else {
    const __m128i bits = _mm_loadu_si128(reinterpret_cast<const __m128i*>(group + i * 2));
    if constexpr (kFormat == WeightFormat::kF16) {
      return _mm256_cvtph_ps(bits);
    } else {
      return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(bits), 16));
    }
  }
}

// One input row times kGroups groups at once: several chains hide the latency of one.
template <WeightFormat kFormat, int kGroups>
void stream_groups(const LinearChunk& c, int64_t g) {
  const float* x = reinterpret_cast<const float*>(c.x);
  const std::byte* group = c.weights + g * c.group_bytes;
  __m256 totals[kGroups][2];
  for (int i = 0; i < kGroups; ++i) totals[i][0] = totals[i][1] = _mm256_setzero_ps();
  for (int64_t k = 0; k < c.cols; ++k) {
    const __m256 value = _mm256_set1_ps(x[k]);
    for (int i = 0; i < kGroups; ++i) {
      for (int half = 0; half < 2; ++half) {
        const __m256 w = load_weights<kFormat>(group + i * c.group_bytes, k, half);
        totals[i][half] = _mm256_fmadd_ps(w, value, totals[i][half]);
      }
    }
  }
  for (int i = 0; i < kGroups; ++i) finish_row(c, 0, g + i, totals[i][0], totals[i][1]);
}

template <WeightFormat kFormat>
void product_one_row(const LinearChunk& c) {
  int64_t g = 0;
  for (; g + 4 <= c.num_groups; g += 4) stream_groups<kFormat, 4>(c, g);
  for (; g < c.num_groups; ++g) stream_groups<kFormat, 1>(c, g);
}

template <int kRows>
void multiply_tile(const float* weights, int64_t count, const float* x, int64_t x_stride,
                   bool first, float* sums) {
  __m256 totals[kRows][2];
  for (int m = 0; m < kRows; ++m) {
    for (int half = 0; half < 2; ++half) {
      totals[m][half] =
          first ? _mm256_setzero_ps() : _mm256_load_ps(sums + m * kGroupRows + half * 8);
    }
  }
  for (int64_t k = 0; k < count; ++k) {
    const __m256 w0 = _mm256_load_ps(weights + k * kGroupRows);
    const __m256 w1 = _mm256_load_ps(weights + k * kGroupRows + 8);
    for (int m = 0; m < kRows; ++m) {
      const __m256 value = _mm256_broadcast_ss(x + m * x_stride + k);
      totals[m][0] = _mm256_fmadd_ps(w0, value, totals[m][0]);
      totals[m][1] = _mm256_fmadd_ps(w1, value, totals[m][1]);
    }
  }
  for (int m = 0; m < kRows; ++m) {
    for (int half = 0; half < 2; ++half) {
      _mm256_store_ps(sums + m * kGroupRows + half * 8, totals[m][half]);
    }
  }
}

void multiply_rows(int count, const float* weights, int64_t cols, const float* x, int64_t x_stride,
                   bool first, float* sums) {
  switch (count) {
    case 1: return multiply_tile<1>(weights, cols, x, x_stride, first, sums);
    case 2: return multiply_tile<2>(weights, cols, x, x_stride, first, sums);
    case 3: return multiply_tile<3>(weights, cols, x, x_stride, first, sums);
    case 4: return multiply_tile<4>(weights, cols, x, x_stride, first, sums);
    case 5: return multiply_tile<5>(weights, cols, x, x_stride, first, sums);
    default: return multiply_tile<6>(weights, cols, x, x_stride, first, sums);
  }
}

template <WeightFormat kFormat>
void product_many_rows(const LinearChunk& c) {
  alignas(64) float panel[kPanelCols * kGroupRows];
  const int64_t x_stride = c.x_stride_bytes / static_cast<int64_t>(sizeof(float));
  for (int64_t k0 = 0; k0 < c.cols; k0 += kPanelCols) {
    const int64_t count = c.cols - k0 < kPanelCols ? c.cols - k0 : kPanelCols;
    for (int64_t g = 0; g < c.num_groups; ++g) {
      const std::byte* group = c.weights + g * c.group_bytes;
      const float* weights = panel;
      if constexpr (kFormat == WeightFormat::kF32) {
        weights = reinterpret_cast<const float*>(group) + k0 * kGroupRows;
      } else {
        for (int64_t k = 0; k < count; ++k) {
          _mm256_store_ps(panel + k * kGroupRows, load_weights<kFormat>(group, k0 + k, 0));
          _mm256_store_ps(panel + k * kGroupRows + 8, load_weights<kFormat>(group, k0 + k, 1));
        }
      }
      for (int64_t m = 0; m < c.num_rows; m += kTileRows) {
        const int64_t left = c.num_rows - m;
        multiply_rows(static_cast<int>(left < kTileRows ? left : kTileRows), weights, count,
                      reinterpret_cast<const float*>(c.x) + m * x_stride + k0, x_stride, k0 == 0,
                      workspace_sums(c, g, m));
      }
    }
  }
  finish_chunk(c);
}

template <WeightFormat kFormat>
void product_format(const LinearChunk& c) {
  if (c.num_rows == 1) {
    product_one_row<kFormat>(c);
  } else {
    product_many_rows<kFormat>(c);
  }
}

}  // namespace

void product_float(const LinearChunk& c) {
  switch (c.format) {
    case WeightFormat::kF16: return product_format<WeightFormat::kF16>(c);
    case WeightFormat::kBF16: return product_format<WeightFormat::kBF16>(c);
    case WeightFormat::kF8: return product_format<WeightFormat::kF8>(c);
    default: return product_format<WeightFormat::kF32>(c);
  }
}

}  // namespace onnuri::avx2
