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
    const float magnitude = std::fabs(x[i]);
    if (!std::isnan(max) && !(magnitude <= max)) max = magnitude;  // NaN stays
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

// Scales of one row of a block: w = scale[k / 16] * level(code) + min[k / 16].
struct BlockRow {
  float scale[2];
  float min[2] = {};
};

float half_at(const uint8_t* halves, int64_t i) {
  return float_from_half(load_half_bits(halves + i * 2));
}

float float_at(const uint8_t* floats, int64_t i) {
  float value;
  std::memcpy(&value, floats + i * 4, sizeof(value));
  return value;
}

// Formats with a scale per 16 columns; false for the others.
bool read_half_scales(WeightFormat format, const uint8_t* record, int64_t b, int64_t r,
                      BlockRow* row) {
  for (int64_t h = 0; h < 2; ++h) {
    const int64_t i = (b * 2 + h) * kGroupRows + r;
    switch (format) {
      case WeightFormat::kF4H: row->scale[h] = float_at(record, i); break;
      case WeightFormat::kQ3K:
      case WeightFormat::kQ6K:
        row->scale[h] =
            float_at(record, r) * static_cast<float>(static_cast<int8_t>(record[64 + i]));
        break;
      case WeightFormat::kQ2K:
        row->scale[h] = half_at(record, r) * static_cast<float>(record[64 + i] & 15);
        row->min[h] = -half_at(record + 32, r) * static_cast<float>(record[64 + i] >> 4);
        break;
      default: return false;
    }
  }
  return true;
}

void read_scales(WeightFormat format, const uint8_t* record, int64_t b, int64_t r, BlockRow* row) {
  if (read_half_scales(format, record, b, r, row)) return;
  const int64_t i = b * kGroupRows + r;
  switch (format) {
    case WeightFormat::kQ4K:
    case WeightFormat::kQ5K:
      row->scale[0] = half_at(record, r) * static_cast<float>(record[64 + i]);
      row->min[0] = -half_at(record + 32, r) * static_cast<float>(record[192 + i]);
      break;
    case WeightFormat::kI4K:
      row->scale[0] = half_at(record, r) * static_cast<float>(static_cast<int8_t>(record[32 + i]));
      break;
    case WeightFormat::kQ4S:
    case WeightFormat::kQ5S:
    case WeightFormat::kQ8S: row->scale[0] = float_at(record, i); break;
    case WeightFormat::kQ8M:
      row->scale[0] = float_at(record, i);
      row->min[0] = float_at(record + 128, i);
      break;
    case WeightFormat::kF4:
      row->scale[0] = float_from_bfloat16(load_half_bits(record + i * 2));
      break;
    default:
      row->scale[0] = half_at(record, i);
      if (format == WeightFormat::kQ4M || format == WeightFormat::kQ5M) {
        row->min[0] = half_at(record + 64, i);
      }
  }
  row->scale[1] = row->scale[0];
  row->min[1] = row->min[0];
}

// What a code stands for before its scale.
int level_of(WeightFormat format, int code) {
  switch (format) {
    case WeightFormat::kQ4:
    case WeightFormat::kQ4S: return code - 8;
    case WeightFormat::kQ5:
    case WeightFormat::kQ5S: return code - 16;
    case WeightFormat::kQ8:
    case WeightFormat::kQ8S:
    case WeightFormat::kQ8M: return static_cast<int8_t>(code);
    case WeightFormat::kQ3K: return code - 4;
    case WeightFormat::kQ6K: return code - 32;
    case WeightFormat::kI4:
    case WeightFormat::kI4K: return kIq4Values[code];
    case WeightFormat::kF4:
    case WeightFormat::kF4H: return kFp4Values[code];
    default: return code;
  }
}

int read_code(WeightFormat format, const uint8_t* block, int64_t r, int k) {
  const int v = k / 4;
  const int64_t lane = r * 4 + k % 4;
  const int64_t bytes = record_layout(format).block_bytes;
  if (bytes == 512) return block[v * 64 + lane];
  if (bytes < 256) {
    const int low = block[v / 4 * 64 + lane] >> (v % 4 * 2) & 3;
    return bytes == 192 ? low | (block[128 + lane] >> v & 1) << 2 : low;
  }
  const int low = block[v % 4 * 64 + lane] >> (v / 4 * 4) & 15;
  if (bytes == 384) return low | (block[256 + v / 4 * 64 + lane] >> (v % 4 * 2) & 3) << 4;
  return bytes == 320 ? low | (block[256 + lane] >> v & 1) << 4 : low;
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
    const uint8_t* block = record + layout.block_begin + b * layout.block_bytes;
    int dot[2] = {};
    for (int k = 0; k < 32; ++k) {
      dot[k / 16] += level_of(format, read_code(format, block, r, k)) * x[i].q[k];
    }
    for (int h = 0; h < 2; ++h) {
      sum += static_cast<float>(dot[h]) * (row.scale[h] * x[i].d);
      sum += row.min[h] * x[i].half_sum[h];
    }
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

float dot_f8(const std::byte* group, int64_t r, const float* x, int64_t cols) {
  float sum = 0.0f;
  for (int64_t k = 0; k < cols; ++k) {
    const std::byte* record = group + k / kF8Cols * kF8RecordBytes;
    float scale;
    std::memcpy(&scale, record + r * 4, sizeof(scale));
    const auto byte = static_cast<uint8_t>(record[64 + k % kF8Cols * kGroupRows + r]);
    sum += float_from_f8e4m3(byte) * (scale / 256.0f) * x[k];
  }
  return sum;
}

float dot_plain(WeightFormat format, const std::byte* group, int64_t r, const float* x,
                int64_t cols) {
  if (format == WeightFormat::kF8) return dot_f8(group, r, x, cols);
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
