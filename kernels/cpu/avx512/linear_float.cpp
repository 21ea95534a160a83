// Products of float weights on AVX-512: 8 input rows by 16 outputs in registers.
//
// Each output is one chain over k, for any number of input rows. Narrow weights are widened into
// a panel once per chunk, or in registers for a single row. Brain floats multiply as pairs, with
// the input rows rounded to brain floats too.
#include "kernels/cpu/avx512/linear_avx512.h"

namespace onnuri::avx512 {
namespace {

constexpr int64_t kPanelCols = 256;

// A step of k: 16 rows of one column, or of a pair of columns.
struct F32Step {
  using Vector = __m512;
  static constexpr bool kWiden = false;
  static Vector load(const std::byte* group, int64_t k) {
    return _mm512_loadu_ps(reinterpret_cast<const float*>(group) + k * kGroupRows);
  }
  static __m512 add(__m512 total, Vector w, const std::byte* x, int64_t k) {
    return _mm512_fmadd_ps(w, _mm512_set1_ps(reinterpret_cast<const float*>(x)[k]), total);
  }
};

struct F16Step : F32Step {
  static constexpr bool kWiden = true;
  static Vector load(const std::byte* group, int64_t k) {
    return floats_from_halves(group + k * kGroupRows * 2);
  }
};

struct F8Step : F32Step {
  static constexpr bool kWiden = true;
  static Vector load(const std::byte* group, int64_t k) {
    const std::byte* record = group + k / kF8Cols * kF8RecordBytes;
    return _mm512_mul_ps(floats_from_f8e4m3_bits(record + 64 + k % kF8Cols * kGroupRows),
                         _mm512_loadu_ps(reinterpret_cast<const float*>(record)));
  }
};

struct PairStep {
  using Vector = __m512i;
  static constexpr bool kWiden = false;
  static Vector load(const std::byte* group, int64_t k) { return load_bytes(group + k * 64); }
  static __m512 add(__m512 total, Vector w, const std::byte* x, int64_t k) {
    return dot_bfloat16(total, w, broadcast_word(x + k * 4));
  }
};

// One input row times kGroups groups at once: several chains hide the latency of one.
template <typename Step, int kGroups>
void stream_groups(const LinearChunk& c, int64_t g, int64_t steps) {
  const std::byte* group = c.weights + g * c.group_bytes;
  __m512 totals[kGroups];
  for (int i = 0; i < kGroups; ++i) totals[i] = _mm512_setzero_ps();
  for (int64_t k = 0; k < steps; ++k) {
    for (int i = 0; i < kGroups; ++i) {
      totals[i] = Step::add(totals[i], Step::load(group + i * c.group_bytes, k), c.x, k);
    }
  }
  for (int i = 0; i < kGroups; ++i) finish_row(c, 0, g + i, totals[i]);
}

template <typename Step>
void product_one_row(const LinearChunk& c, int64_t steps) {
  int64_t g = 0;
  for (; g + 8 <= c.num_groups; g += 8) stream_groups<Step, 8>(c, g, steps);
  for (; g < c.num_groups; ++g) stream_groups<Step, 1>(c, g, steps);
}

template <typename Step, int kRows>
void multiply_tile(const std::byte* weights, int64_t steps, const std::byte* x,
                   int64_t x_stride_bytes, bool first, float* sums) {
  __m512 totals[kRows];
  for (int m = 0; m < kRows; ++m) {
    totals[m] = first ? _mm512_setzero_ps() : _mm512_loadu_ps(sums + m * kGroupRows);
  }
  for (int64_t k = 0; k < steps; ++k) {
    const typename Step::Vector w = Step::load(weights, k);
    for (int m = 0; m < kRows; ++m) totals[m] = Step::add(totals[m], w, x + m * x_stride_bytes, k);
  }
  for (int m = 0; m < kRows; ++m) _mm512_storeu_ps(sums + m * kGroupRows, totals[m]);
}

template <typename Step>
void multiply_rows(const LinearChunk& c, const std::byte* weights, int64_t group, int64_t k0,
                   int64_t steps) {
  for (int64_t m = 0; m < c.num_rows;) {
    const int64_t left = c.num_rows - m;
    const int count = left >= 8 ? 8 : (left >= 4 ? 4 : (left >= 2 ? 2 : 1));
    const std::byte* x = c.x + m * c.x_stride_bytes + k0 * 4;
    float* sums = workspace_sums(c, group, m);
    const bool first = k0 == 0;
    switch (count) {
      case 8: multiply_tile<Step, 8>(weights, steps, x, c.x_stride_bytes, first, sums); break;
      case 4: multiply_tile<Step, 4>(weights, steps, x, c.x_stride_bytes, first, sums); break;
      case 2: multiply_tile<Step, 2>(weights, steps, x, c.x_stride_bytes, first, sums); break;
      default: multiply_tile<Step, 1>(weights, steps, x, c.x_stride_bytes, first, sums);
    }
    m += count;
  }
}

template <typename Step>
void product_many_rows(const LinearChunk& c, int64_t steps) {
  alignas(64) float panel[kPanelCols * kGroupRows];
  for (int64_t k0 = 0; k0 < steps; k0 += kPanelCols) {
    const int64_t count = steps - k0 < kPanelCols ? steps - k0 : kPanelCols;
    for (int64_t g = 0; g < c.num_groups; ++g) {
      const std::byte* group = c.weights + g * c.group_bytes;
      if constexpr (Step::kWiden) {
        for (int64_t k = 0; k < count; ++k) {
          _mm512_store_ps(panel + k * kGroupRows, Step::load(group, k0 + k));
        }
        multiply_rows<F32Step>(c, reinterpret_cast<const std::byte*>(panel), g, k0, count);
      } else {
        multiply_rows<Step>(c, group + k0 * 64, g, k0, count);
      }
    }
  }
  finish_chunk(c);
}

template <typename Step>
void product_steps(const LinearChunk& c, int64_t steps) {
  if (c.num_rows == 1) {
    product_one_row<Step>(c, steps);
  } else {
    product_many_rows<Step>(c, steps);
  }
}

}  // namespace

void product_float(const LinearChunk& c) {
  if (c.format == WeightFormat::kF16) {
    product_steps<F16Step>(c, c.cols);
  } else if (c.format == WeightFormat::kF8) {
    product_steps<F8Step>(c, c.cols);
  } else {
    product_steps<F32Step>(c, c.cols);
  }
}

void product_bfloat16(const LinearChunk& c) { product_steps<PairStep>(c, (c.cols + 1) / 2); }

}  // namespace onnuri::avx512
