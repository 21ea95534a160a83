// Matrix products as plain loops over the packed form, with int8 inputs for quantised weights.
#include "kernels/ref/linear.h"

#include <cmath>
#include <cstring>

#include "core/check.h"
#include "kernels/float_bits.h"
#include "kernels/int8_activation.h"
#include "kernels/kernel_table.h"
#include "kernels/quant_types.h"

namespace onnuri::ref {

ActivationKind activation_kind(WeightFormat format) {
  return is_quantized(format) ? ActivationKind::kInt8 : ActivationKind::kFloat;
}

int64_t activation_bytes(ActivationKind kind, int64_t cols) {
  if (kind == ActivationKind::kFloat) return 0;
  return int8_blocks(cols) * static_cast<int64_t>(sizeof(Int8Block));
}

void quantize_block(const float* x, int64_t count, Int8Block* block) {
  float values[32] = {};
  float max = 0.0f;
  for (int64_t i = 0; i < count; ++i) {
    values[i] = x[i];
    if (std::fabs(x[i]) > max) max = std::fabs(x[i]);
  }
  const float inverse = max > 0.0f ? 127.0f / max : 0.0f;
  int lane[2][2] = {};  // per half and lane
  for (int i = 0; i < 32; ++i) {
    const float scaled = std::nearbyint(values[i] * inverse);
    // Comparisons that not-a-number fails keep the conversion defined.
    const float clamped = scaled <= 127.0f ? (scaled >= -127.0f ? scaled : -127.0f) : 127.0f;
    block->q[i] = static_cast<int8_t>(clamped);
    lane[i / 16][i % 4 / 2] += block->q[i];
  }
  block->d = max / 127.0f;
  const int half[2] = {lane[0][0] + lane[0][1], lane[1][0] + lane[1][1]};
  block->sum = block->d * static_cast<float>(half[0] + half[1]);
  for (int l = 0; l < 2; ++l) {
    block->half_sum[l] = block->d * static_cast<float>(half[l]);
    block->minus_8[l] = static_cast<int16_t>(-8 * (lane[0][l] + lane[1][l]));
    block->minus_16[l] = static_cast<int16_t>(-16 * (lane[0][l] + lane[1][l]));
    block->minus_32[0][l] = static_cast<int16_t>(-32 * lane[0][l]);
    block->minus_32[1][l] = static_cast<int16_t>(-32 * lane[1][l]);
  }
}

void prepare(ActivationKind kind, const float* x, int64_t cols, std::byte* out) {
  ONNURI_CHECK(kind == ActivationKind::kInt8);
  Int8Block* blocks = reinterpret_cast<Int8Block*>(out);
  for (int64_t b = 0; b < int8_blocks(cols); ++b) {
    const int64_t begin = b * kBlockCols;
    const int64_t count = cols - begin < kBlockCols ? cols - begin : kBlockCols;
    quantize_block(x + (count > 0 ? begin : 0), count > 0 ? count : 0, blocks + b);
  }
}

namespace {

// One weight row of a block in integers: w = scale[k / 16] * q[k] + min.
struct BlockRow {
  int q[32];
  float scale[2];
  float min = 0.0f;
};

float half_at(const uint8_t* halves, int64_t i) {
  return float_from_half(load_half_bits(halves + i * 2));
}

void read_scales(WeightFormat format, const uint8_t* record, int64_t b, int64_t r, BlockRow* row) {
  const int64_t i = b * kGroupRows + r;
  switch (format) {
    case WeightFormat::kQ4K:
    case WeightFormat::kQ5K:
      row->scale[0] = half_at(record, r) * static_cast<float>(record[64 + i]);
      row->min = -half_at(record + 32, r) * static_cast<float>(record[192 + i]);
      break;
    case WeightFormat::kQ6K: {
      float d;
      std::memcpy(&d, record + r * 4, sizeof(d));
      const int8_t* scales = reinterpret_cast<const int8_t*>(record + 64);
      row->scale[0] = d * static_cast<float>(scales[b * 2 * kGroupRows + r]);
      row->scale[1] = d * static_cast<float>(scales[(b * 2 + 1) * kGroupRows + r]);
      return;
    }
    default:
      row->scale[0] = half_at(record, i);
      if (format == WeightFormat::kQ4M || format == WeightFormat::kQ5M) {
        row->min = half_at(record + 64, i);
      }
  }
  row->scale[1] = row->scale[0];
}

int offset_of(WeightFormat format) {
  switch (format) {
    case WeightFormat::kQ4: return 8;
    case WeightFormat::kQ5: return 16;
    case WeightFormat::kQ6K: return 32;
    default: return 0;
  }
}

void read_weights(WeightFormat format, const uint8_t* block, int64_t r, BlockRow* row) {
  for (int k = 0; k < 32; ++k) {
    const int v = k / 4;
    const int64_t lane = r * 4 + k % 4;
    if (format == WeightFormat::kQ8) {
      row->q[k] = static_cast<int8_t>(block[v * 64 + lane]);
      continue;
    }
    int q = block[v % 4 * 64 + lane] >> (v / 4 * 4) & 15;
    if (format == WeightFormat::kQ6K) {
      q |= (block[256 + v / 4 * 64 + lane] >> (v % 4 * 2) & 3) << 4;
    } else if (record_layout(format).block_bytes == 320) {
      q |= (block[256 + lane] >> v & 1) << 4;
    }
    row->q[k] = q - offset_of(format);
  }
}

float dot_quantized(WeightFormat format, const std::byte* group, int64_t r, const Int8Block* x,
                    int64_t cols) {
  const RecordLayout layout = record_layout(format);
  float sum = 0.0f;
  for (int64_t i = 0; i < (cols + kBlockCols - 1) / kBlockCols; ++i) {
    const uint8_t* record =
        reinterpret_cast<const uint8_t*>(group) + i / layout.num_blocks * layout.bytes();
    const int64_t b = i % layout.num_blocks;
    BlockRow row;
    read_scales(format, record, b, r, &row);
    read_weights(format, record + layout.block_begin + b * layout.block_bytes, r, &row);
    int dot[2] = {};
    for (int k = 0; k < 32; ++k) dot[k / 16] += row.q[k] * x[i].q[k];
    sum += static_cast<float>(dot[0]) * (row.scale[0] * x[i].d);
    sum += static_cast<float>(dot[1]) * (row.scale[1] * x[i].d);
    sum += row.min * x[i].sum;
  }
  return sum;
}

float plain_weight(WeightFormat format, const std::byte* group, int64_t r, int64_t k) {
  const int64_t i = k * kGroupRows + r;
  if (format == WeightFormat::kF32) {
    float value;
    std::memcpy(&value, group + i * 4, sizeof(value));
    return value;
  }
  uint16_t bits;
  std::memcpy(&bits, group + i * 2, sizeof(bits));
  return format == WeightFormat::kF16 ? float_from_half(bits) : float_from_bfloat16(bits);
}

float dot_plain(WeightFormat format, const std::byte* group, int64_t r, const float* x,
                int64_t cols) {
  float sum = 0.0f;
  for (int64_t k = 0; k < cols; ++k) sum += plain_weight(format, group, r, k) * x[k];
  return sum;
}

void product(const LinearChunk& c) {
  ONNURI_CHECK(c.format != WeightFormat::kBF16Pairs);
  for (int64_t m = 0; m < c.num_rows; ++m) {
    const std::byte* x = c.x + m * c.x_stride_bytes;
    for (int64_t n = 0; n < c.num_outputs; ++n) {
      const std::byte* group = c.weights + n / kGroupRows * c.group_bytes;
      const int64_t r = n % kGroupRows;
      float sum =
          is_quantized(c.format)
              ? dot_quantized(c.format, group, r, reinterpret_cast<const Int8Block*>(x), c.cols)
              : dot_plain(c.format, group, r, reinterpret_cast<const float*>(x), c.cols);
      if (c.bias != nullptr) sum += c.bias[n];
      float* y = c.y + m * c.y_stride + n;
      *y = c.accumulate ? *y + sum : sum;
    }
  }
}

}  // namespace

const LinearKernels& linear_kernels() {
  static constexpr LinearKernels kKernels = {activation_kind, activation_bytes, prepare, product,
                                             WeightFormat::kBF16};
  return kKernels;
}

}  // namespace onnuri::ref
