#include "kernels/encoded_weight.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "core/check.h"
#include "core/weight_encoding.h"
#include "kernels/float_bits.h"
#include "kernels/quant_types.h"
#include "kernels/ref/convert.h"
#include "kernels/ref/quant.h"

namespace onnuri {
namespace {

// Up to 16 rows taken apart: codes as stored bits, and per group a scale and a zero.
struct Rows {
  int64_t count = 0;
  int64_t first[kGroupRows] = {};  // row numbers in the matrix
  std::vector<uint8_t> codes;      // (count, K)
  std::vector<float> scales;       // (count, G)
  std::vector<float> zeros;        // (count, G)
};

uint32_t load_word(const void* data, int64_t index) {
  uint32_t word;
  std::memcpy(&word, static_cast<const char*>(data) + index * 4, sizeof(word));
  return word;
}

// Where AWQ keeps row j of eight: nibble kNibbleOfRow[j].
constexpr int kNibbleOfRow[8] = {0, 4, 1, 5, 2, 6, 3, 7};

void read_row_codes(const WeightEncoding& e, int64_t row, uint8_t* out) {
  const uint8_t* bytes = e.codes + row * e.code_row_bytes();
  if (e.bits == 8) {
    std::memcpy(out, bytes, static_cast<size_t>(e.cols));
    return;
  }
  const int mask = (1 << e.bits) - 1;
  for (int64_t k = 0; k < e.cols; ++k) {
    out[k] = static_cast<uint8_t>(bytes[k * e.bits / 8] >> (k * e.bits % 8) & mask);
  }
}

// Words of neighbouring rows lie side by side: columns outside, rows inside.
void read_column_codes(const WeightEncoding& e, Rows* rows) {
  const int64_t per_word = 32 / e.bits;
  const uint32_t mask = (1u << e.bits) - 1;
  for (int64_t k = 0; k < e.cols; ++k) {
    for (int64_t r = 0; r < rows->count; ++r) {
      const int64_t n = rows->first[r];
      uint32_t code = 0;
      if (e.code_layout == CodeLayout::kWordsDown) {
        code = load_word(e.codes, k / per_word * e.rows + n) >> (k % per_word * e.bits);
      } else {
        code = load_word(e.codes, k * (e.rows / 8) + n / 8) >> (4 * kNibbleOfRow[n % 8]);
      }
      rows->codes[static_cast<size_t>(r * e.cols + k)] = static_cast<uint8_t>(code & mask);
    }
  }
}

float read_real(const TensorView& view, int64_t index) {
  float value = 0.0f;
  ref::dequantize_row(view.dtype, view.as<std::byte>() + index * dtype_info(view.dtype).block_bytes,
                      1, &value);
  return value;
}

float scale_of(const WeightEncoding& e, int64_t row, int64_t group, int64_t* index) {
  const int64_t matrix = row / e.matrix_rows;
  const int64_t blocks = (e.matrix_rows + e.block_rows - 1) / e.block_rows;
  const int64_t block = matrix * blocks + row % e.matrix_rows / e.block_rows;
  *index = block * e.scale_row_stride + group * e.scale_group_stride;
  if (e.scale_type == ScaleType::kE8M0) {
    const uint8_t byte = e.scales.as<uint8_t>()[*index];
    return byte == 255 ? float_from_bits(0x7fc00000u) : half_of_e8m0(byte) * 2.0f;
  }
  const float scale = read_real(e.scales, *index);
  if (e.tensor_scale.empty()) return scale;
  const float second = read_real(e.tensor_scale, e.tensor_scale.num_elements() == 1 ? 0 : matrix);
  return e.divide_tensor_scale ? scale / second : scale * second;
}

float zero_of(const WeightEncoding& e, int64_t row, int64_t group, int64_t scale_index) {
  const int64_t per_word = 32 / e.bits;
  const uint32_t mask = (1u << e.bits) - 1;
  uint32_t word = 0;
  switch (e.zero_layout) {
    case ZeroLayout::kConstant: return static_cast<float>(e.zero);
    case ZeroLayout::kBytes: return static_cast<float>(e.zeros.as<int8_t>()[scale_index]);
    case ZeroLayout::kRowWords:
      word = load_word(e.zeros.data, row / per_word * e.num_groups + group) >>
             (row % per_word * e.bits);
      break;
    case ZeroLayout::kWordsAcross:
      word = load_word(e.zeros.data, group * (e.rows / per_word) + row / per_word) >>
             (row % per_word * e.bits);
      // A stored zero less one wraps: the largest code stands for zero.
      return static_cast<float>((word + static_cast<uint32_t>(e.zero)) & mask);
    case ZeroLayout::kInterleaved:
      word = load_word(e.zeros.data, group * (e.rows / 8) + row / 8) >> (4 * kNibbleOfRow[row % 8]);
      break;
  }
  return static_cast<float>(word & mask);
}

Rows read_rows(const TensorView& weight, int64_t begin, int64_t count) {
  const WeightEncoding& e = *weight.encoding;
  Rows rows;
  rows.count = count;
  rows.codes.resize(static_cast<size_t>(count * e.cols));
  rows.scales.resize(static_cast<size_t>(count * e.num_groups));
  rows.zeros.resize(static_cast<size_t>(count * e.num_groups));
  for (int64_t r = 0; r < count; ++r) {
    const int64_t row = weight.first_row + (begin + r) * weight.row_step;
    ONNURI_CHECK(row >= 0 && row < e.rows);
    rows.first[r] = row;
    if (e.code_layout == CodeLayout::kRows) {
      read_row_codes(e, row, rows.codes.data() + r * e.cols);
    }
    for (int64_t g = 0; g < e.num_groups; ++g) {
      const auto i = static_cast<size_t>(r * e.num_groups + g);
      int64_t index = 0;
      rows.scales[i] = scale_of(e, row, g, &index);
      rows.zeros[i] = zero_of(e, row, g, index);
    }
  }
  if (e.code_layout != CodeLayout::kRows) read_column_codes(e, &rows);
  return rows;
}

// What a code stands for before zero and scale.
void fill_levels(const WeightEncoding& e, float* levels) {
  for (int code = 0; code < (1 << e.bits); ++code) {
    const auto byte = static_cast<uint8_t>(code);
    switch (e.code_type) {
      case CodeType::kUnsigned: levels[code] = static_cast<float>(code); break;
      case CodeType::kSigned: levels[code] = static_cast<float>(static_cast<int8_t>(byte)); break;
      case CodeType::kFloat8: levels[code] = float_from_f8e4m3(byte); break;
      case CodeType::kFloat4:
        levels[code] = 0.5f * static_cast<float>(kFp4Values[code]);
        if (code == 8) levels[code] = -0.0f;
        break;
    }
  }
}

int64_t group_of(const WeightEncoding& e, int64_t k) {
  return e.group_of_column.empty() ? k / e.block_cols : e.group_of_column.read<int32_t>(k);
}

// Rows as float32 (count, K).
void decode_rows(const WeightEncoding& e, const Rows& rows, float* out) {
  float levels[256];
  fill_levels(e, levels);
  const bool has_zeros = e.zero_layout != ZeroLayout::kConstant || e.zero != 0;
  for (int64_t r = 0; r < rows.count; ++r) {
    const float* scales = rows.scales.data() + r * e.num_groups;
    const float* zeros = rows.zeros.data() + r * e.num_groups;
    const uint8_t* codes = rows.codes.data() + r * e.cols;
    for (int64_t k = 0; k < e.cols; ++k) {
      const int64_t g = group_of(e, k);
      const float level = has_zeros ? levels[codes[k]] - zeros[g] : levels[codes[k]];
      out[r * e.cols + k] = level * scales[g];
    }
  }
}

void pack_f32(const WeightEncoding& e, const Rows& rows, std::byte* out) {
  std::vector<float> decoded(static_cast<size_t>(rows.count * e.cols));
  decode_rows(e, rows, decoded.data());
  float* packed = reinterpret_cast<float*>(out);
  for (int64_t k = 0; k < e.cols; ++k) {
    for (int64_t r = 0; r < kGroupRows; ++r) {
      packed[k * kGroupRows + r] =
          r < rows.count ? decoded[static_cast<size_t>(r * e.cols + k)] : 0.0f;
    }
  }
}

}  // namespace

void decode_encoded_rows(const TensorView& weight, int64_t begin, int64_t count, float* out) {
  for (int64_t done = 0; done < count; done += kGroupRows) {
    const Rows rows = read_rows(weight, begin + done, std::min(kGroupRows, count - done));
    decode_rows(*weight.encoding, rows, out + done * weight.encoding->cols);
  }
}

namespace {

bool shares_groups(const WeightEncoding& e, int64_t columns) {
  if (!e.group_of_column.empty() && e.column_order == nullptr) return false;
  return e.num_groups == 1 || e.block_cols % columns == 0;
}

// The group of column k of the packed form.
int64_t packed_group_of(const WeightEncoding& e, int64_t k) {
  return e.column_order != nullptr ? k / e.block_cols : group_of(e, k);
}

// Codes in the order of columns in which they are packed.
void sort_columns(const WeightEncoding& e, Rows* rows) {
  if (e.column_order == nullptr) return;
  std::vector<uint8_t> row(static_cast<size_t>(e.cols));
  for (int64_t r = 0; r < rows->count; ++r) {
    uint8_t* codes = rows->codes.data() + r * e.cols;
    std::copy_n(codes, e.cols, row.data());
    for (int64_t k = 0; k < e.cols; ++k) {
      codes[k] = row[static_cast<size_t>((*e.column_order)[static_cast<size_t>(k)])];
    }
  }
}

// The zero that formats without one have in the middle of their codes.
int centre_of(const WeightEncoding& e) {
  return e.code_type == CodeType::kSigned ? 0 : 1 << (e.bits - 1);
}

// The scale of integer codes: E2M1 codes count halves.
float code_scale(const WeightEncoding& e, float scale) {
  return e.code_type == CodeType::kFloat4 ? scale * 0.5f : scale;
}

// Asks `accept` about the scale and the zero of every group.
template <typename F>
bool all_groups(const TensorView& weight, F&& accept) {
  const WeightEncoding& e = *weight.encoding;
  const int64_t rows = weight.num_elements() / e.cols;
  for (int64_t r = 0; r < rows; ++r) {
    const int64_t row = weight.first_row + r * weight.row_step;
    for (int64_t g = 0; g < e.num_groups; ++g) {
      int64_t index = 0;
      const float scale = scale_of(e, row, g, &index);
      if (!accept(scale, zero_of(e, row, g, index))) return false;
    }
  }
  return true;
}

// Symmetric GPTQ stores zeros that it could leave out.
bool all_zeros_are(const TensorView& weight, int value) {
  const WeightEncoding& e = *weight.encoding;
  if (e.zero_layout == ZeroLayout::kConstant) return e.zero == value;
  return all_groups(weight, [&](float, float zero) { return zero == static_cast<float>(value); });
}

bool halves_hold_scales(const TensorView& weight) {
  const WeightEncoding& e = *weight.encoding;
  return all_groups(weight, [&](float scale, float) {
    const float wanted = code_scale(e, scale);
    return ref::f16_to_f32(ref::f32_to_f16(wanted)) == wanted;
  });
}

// Decoded weights as halves, three bits short of a product of code and scale, unless one might lie
// beyond 65504.
WeightFormat float_format(const TensorView& weight) {
  const bool is_float8 = weight.encoding->code_type == CodeType::kFloat8;
  const float limit = 65504.0f / (is_float8 ? 448.0f : 256.0f);
  const bool fits =
      all_groups(weight, [&](float scale, float) { return scale >= -limit && scale <= limit; });
  return fits ? WeightFormat::kF16 : WeightFormat::kF32;
}

// 32 columns of one row as codes of the format; columns past K meet inputs of zero.
void block_codes(WeightFormat format, const WeightEncoding& e, const Rows& rows, int64_t r,
                 int64_t k0, uint8_t* codes) {
  const int64_t count = std::min(kBlockCols, e.cols - k0);
  const uint8_t* source = rows.codes.data() + r * e.cols + k0;
  const int64_t g = packed_group_of(e, k0);
  const int zero = static_cast<int>(rows.zeros[static_cast<size_t>(r * e.num_groups + g)]);
  std::memset(codes, 0, static_cast<size_t>(kBlockCols));
  for (int64_t k = 0; k < count; ++k) {
    int code = source[k];
    if (format == WeightFormat::kQ5 || format == WeightFormat::kQ5S) code += 16 - zero;
    if (format == WeightFormat::kQ8 || format == WeightFormat::kQ8S) code -= zero;
    if (format == WeightFormat::kQ8M) code -= centre_of(e);
    codes[k] = static_cast<uint8_t>(code);
  }
}

// Scale `index` of a record, in the type of the format.
void put_scale(WeightFormat format, float scale, int64_t index, uint8_t* record) {
  switch (format) {
    case WeightFormat::kQ4:
    case WeightFormat::kQ5:
    case WeightFormat::kQ8: {
      const uint16_t half = ref::f32_to_f16(scale);
      std::memcpy(record + index * 2, &half, sizeof(half));
      return;
    }
    case WeightFormat::kF4: {
      const uint16_t brain = ref::f32_to_bf16(scale);
      std::memcpy(record + index * 2, &brain, sizeof(brain));
      return;
    }
    default: std::memcpy(record + index * 4, &scale, sizeof(scale));
  }
}

void pack_blocks(WeightFormat format, const WeightEncoding& e, const Rows& rows, std::byte* out) {
  const RecordLayout layout = record_layout(format);
  const int64_t scales_per_block = format == WeightFormat::kF4H ? 2 : 1;
  std::memset(out, 0, static_cast<size_t>(packed_group_bytes(format, e.cols)));
  for (int64_t k0 = 0; k0 < e.cols; k0 += kBlockCols) {
    const int64_t b = k0 / kBlockCols;
    const int64_t in_record = b % layout.num_blocks;
    auto* record = reinterpret_cast<uint8_t*>(out + b / layout.num_blocks * layout.bytes());
    for (int64_t r = 0; r < rows.count; ++r) {
      uint8_t codes[kBlockCols];
      block_codes(format, e, rows, r, k0, codes);
      put_codes(format, codes, r, record + layout.block_begin + in_record * layout.block_bytes);
      for (int64_t i = 0; i < scales_per_block; ++i) {
        const int64_t k = std::min(k0 + i * (kBlockCols / scales_per_block), e.cols - 1);
        const auto group = static_cast<size_t>(r * e.num_groups + packed_group_of(e, k));
        const float scale = code_scale(e, rows.scales[group]);
        const int64_t index = (in_record * scales_per_block + i) * kGroupRows + r;
        put_scale(format, scale, index, record);
        if (format != WeightFormat::kQ8M) continue;
        const float min = (static_cast<float>(centre_of(e)) - rows.zeros[group]) * scale;
        put_scale(format, min, index, record + 128);
      }
    }
  }
}

void pack_f8(const WeightEncoding& e, const Rows& rows, std::byte* out) {
  std::memset(out, 0, static_cast<size_t>(packed_group_bytes(WeightFormat::kF8, e.cols)));
  for (int64_t k0 = 0; k0 < e.cols; k0 += kF8Cols, out += kF8RecordBytes) {
    const int64_t count = std::min(kF8Cols, e.cols - k0);
    for (int64_t r = 0; r < rows.count; ++r) {
      const auto group = static_cast<size_t>(r * e.num_groups + group_of(e, k0));
      float scale = rows.scales[group] * 256.0f;  // kernels read the bytes 256 times too small
      for (int64_t k = 0; k < count; ++k) {
        const uint8_t code = rows.codes[static_cast<size_t>(r * e.cols + k0 + k)];
        if ((code & 0x7f) == 0x7f) scale = float_from_bits(0x7fc00000u);
        out[kGroupRows * 4 + k * kGroupRows + r] = static_cast<std::byte>(code);
      }
      std::memcpy(out + r * 4, &scale, sizeof(scale));
    }
  }
}

void pack_f16(const WeightEncoding& e, const Rows& rows, std::byte* out) {
  std::vector<float> decoded(static_cast<size_t>(rows.count * e.cols));
  decode_rows(e, rows, decoded.data());
  std::memset(out, 0, static_cast<size_t>(packed_group_bytes(WeightFormat::kF16, e.cols)));
  for (int64_t r = 0; r < rows.count; ++r) {
    for (int64_t k = 0; k < e.cols; ++k) {
      const uint16_t half = ref::f32_to_f16(decoded[static_cast<size_t>(r * e.cols + k)]);
      std::memcpy(out + (k * kGroupRows + r) * 2, &half, sizeof(half));
    }
  }
}

}  // namespace

WeightFormat encoded_weight_format(const TensorView& weight) {
  const WeightEncoding& e = *weight.encoding;
  if (e.code_type == CodeType::kFloat8 && e.group_of_column.empty() && shares_groups(e, kF8Cols)) {
    return WeightFormat::kF8;
  }
  if (e.code_type == CodeType::kFloat4 && e.group_of_column.empty()) {
    return e.scale_type == ScaleType::kE8M0 ? WeightFormat::kF4 : WeightFormat::kF4H;
  }
  if (e.code_type == CodeType::kFloat8 || !shares_groups(e, kBlockCols)) {
    return float_format(weight);
  }
  const bool halves = halves_hold_scales(weight);
  if (e.bits != 2 && all_zeros_are(weight, centre_of(e))) {
    if (e.bits == 8) return halves ? WeightFormat::kQ8 : WeightFormat::kQ8S;
    return halves ? WeightFormat::kQ4 : WeightFormat::kQ4S;
  }
  // A code less its zero, and 16 to it, has five bits.
  if (e.bits <= 4) return halves ? WeightFormat::kQ5 : WeightFormat::kQ5S;
  return WeightFormat::kQ8M;
}

std::shared_ptr<const std::vector<int32_t>> packed_column_order(WeightFormat format,
                                                                const TensorView& weight) {
  return is_quantized(format) ? weight.encoding->column_order : nullptr;
}

void pack_encoded_group(WeightFormat format, const TensorView& weight, int64_t first_row,
                        int64_t num_rows, std::byte* out) {
  ONNURI_CHECK(num_rows >= 1 && num_rows <= kGroupRows);
  const WeightEncoding& e = *weight.encoding;
  Rows rows = read_rows(weight, first_row, num_rows);
  if (is_quantized(format)) sort_columns(e, &rows);
  switch (format) {
    case WeightFormat::kF32: return pack_f32(e, rows, out);
    case WeightFormat::kF16: return pack_f16(e, rows, out);
    case WeightFormat::kF8: return pack_f8(e, rows, out);
    default: return pack_blocks(format, e, rows, out);
  }
}

}  // namespace onnuri
