#include "kernels/linear_format.h"

#include <cstring>

#include "core/check.h"
#include "kernels/ref/quant.h"

namespace onnuri {
namespace {

constexpr int64_t round_up(int64_t value, int64_t unit) { return (value + unit - 1) / unit * unit; }

// Float formats: decode the rows, then interleave.
void pack_f32(DType dtype, const std::byte* rows, int64_t row_bytes, int64_t num_rows, int64_t cols,
              float* row_scratch, std::byte* out) {
  for (int64_t r = 0; r < num_rows; ++r) {
    ref::dequantize_row(dtype, rows + r * row_bytes, cols, row_scratch + r * cols);
  }
  float* packed = reinterpret_cast<float*>(out);
  for (int64_t k = 0; k < cols; ++k) {
    for (int64_t r = 0; r < kGroupRows; ++r) {
      packed[k * kGroupRows + r] = r < num_rows ? row_scratch[r * cols + k] : 0.0f;
    }
  }
}

}  // namespace

int64_t packed_group_bytes(WeightFormat format, int64_t cols) {
  switch (format) {
    case WeightFormat::kF32: return cols * kGroupRows * 4;
    case WeightFormat::kF16:
    case WeightFormat::kBF16: return round_up(cols * kGroupRows * 2, 64);
    case WeightFormat::kBF16Pairs: return round_up(cols, 2) * kGroupRows * 2;
    default: break;
  }
  const RecordLayout layout = record_layout(format);
  const int64_t record_cols = layout.num_blocks * kBlockCols;
  return (cols + record_cols - 1) / record_cols * layout.bytes();
}

WeightFormat exact_weight_format(DType, WeightFormat) { return WeightFormat::kF32; }

void pack_group(WeightFormat format, DType dtype, const std::byte* rows, int64_t row_bytes,
                int64_t num_rows, int64_t cols, float* row_scratch, std::byte* out) {
  ONNURI_CHECK(num_rows >= 1 && num_rows <= kGroupRows);
  switch (format) {
    case WeightFormat::kF32:
      return pack_f32(dtype, rows, row_bytes, num_rows, cols, row_scratch, out);
    default: ONNURI_CHECK(false);
  }
}

}  // namespace onnuri
