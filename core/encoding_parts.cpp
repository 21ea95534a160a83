#include "core/encoding_parts.h"

#include <algorithm>
#include <numeric>
#include <vector>

#include "core/check.h"
#include "core/printable.h"

namespace onnuri {
namespace {

int64_t ceil_div(int64_t value, int64_t unit) { return (value + unit - 1) / unit; }

[[noreturn]] void fail_part(const EncodingParts& parts, const char* part, const std::string& wanted,
                            const TensorView& found) {
  fail(ErrorCode::kCorruptData, parts.where, ": ", part, ": expected ", wanted, ", found ",
       found.empty() ? "none"
                     : std::string(dtype_name(found.dtype)) + " " + found.shape.to_string());
}

void require_part(const EncodingParts& parts, const char* part, const TensorView& view,
                  std::initializer_list<DType> dtypes, const Shape& shape) {
  const bool known = std::find(dtypes.begin(), dtypes.end(), view.dtype) != dtypes.end();
  if (view.empty() || !known || !(view.shape == shape)) {
    fail_part(parts, part, std::string(dtype_name(*dtypes.begin())) + " " + shape.to_string(),
              view);
  }
}

bool is_float(DType dtype) {
  return dtype == DType::kF32 || dtype == DType::kF16 || dtype == DType::kBF16;
}

void require_float_scales(const EncodingParts& parts, const char* part, const Shape& shape) {
  if (parts.scales.empty() || !is_float(parts.scales.dtype) || !(parts.scales.shape == shape)) {
    fail_part(parts, part, "f32, f16 or bf16 " + shape.to_string(), parts.scales);
  }
}

// Rows, columns and sizes that every scheme needs.
EncodedWeight begin_weight(const EncodingParts& parts, const char* scheme, Shape shape) {
  EncodedWeight out;
  out.shape = shape;
  WeightEncoding& e = out.encoding;
  e.scheme = scheme;
  e.cols = shape[-1];
  e.rows = shape.num_elements() / e.cols;
  e.matrix_rows = shape[-2];
  e.block_cols = e.cols;
  e.codes = parts.codes.as<uint8_t>();
  e.code_bytes = parts.codes.num_bytes();
  e.file = parts.codes.file;
  e.scales = parts.scales;
  for (const TensorView* view : {&parts.codes, &parts.scales, &parts.zeros, &parts.groups,
                                 &parts.tensor_scale, &parts.logical_shape}) {
    if (!view->empty()) e.stored_bytes += view->num_bytes();
  }
  return out;
}

// Extents of a tensor with elements are bounded by the file; those of an empty one may lie.
void require_elements(const EncodingParts& parts, const char* part) {
  if (parts.codes.num_elements() < 1) fail_part(parts, part, "weights", parts.codes);
}

void require_matrix(const EncodingParts& parts, const char* part, DType dtype) {
  require_elements(parts, part);
  if (parts.codes.dtype != dtype || parts.codes.shape.rank() != 2) {
    fail_part(parts, part, "a matrix of " + std::string(dtype_name(dtype)), parts.codes);
  }
}

// The group size that makes `groups` groups of `cols` columns.
int64_t find_group_size(const EncodingParts& parts, const QuantizationConfig& config, int64_t cols,
                        int64_t groups) {
  if (groups == 1) return cols;
  for (const int64_t size : config.group_sizes) {
    if (size > 0 && ceil_div(cols, size) == groups) return size;
  }
  if (!config.group_sizes.empty() || groups < 1 || cols % groups != 0) {
    std::string known;
    for (const int64_t size : config.group_sizes) {
      known += (known.empty() ? "" : ", ") + std::to_string(size);
    }
    fail(ErrorCode::kCorruptData, parts.where, ": ", groups, " groups for ", cols,
         " columns do not fit the group sizes of quantization_config (",
         known.empty() ? "not given" : known, ")");
  }
  return cols / groups;
}

// Groups of columns in any order. The order of whole groups needs no table.
void set_groups(const EncodingParts& parts, const char* part, WeightEncoding* e) {
  if (parts.groups.empty()) return;
  require_part(parts, part, parts.groups, {DType::kI32}, {e->cols});
  const auto group_of = [&](int64_t k) { return parts.groups.read<int32_t>(k); };
  // compressed-tensors marks a table that was never filled with -1.
  const auto is_unset = [&] {
    for (int64_t k = 0; k < e->cols; ++k) {
      if (group_of(k) != -1) return false;
    }
    return true;
  };
  bool in_order = true;
  for (int64_t k = 0; k < e->cols; ++k) {
    const int32_t group = group_of(k);
    if (group < 0 || group >= e->num_groups) {
      if (k == 0 && is_unset()) return;
      fail(ErrorCode::kCorruptData, parts.where, ": ", part, ": expected groups below ",
           e->num_groups, ", found ", group, " at column ", k);
    }
    in_order = in_order && group == k / e->block_cols;
  }
  if (in_order) return;
  e->group_of_column = parts.groups;
  std::vector<int32_t> order(static_cast<size_t>(e->cols));
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [&](int32_t a, int32_t b) { return group_of(a) < group_of(b); });
  for (int64_t k = 0; k < e->cols; ++k) {
    if (group_of(order[static_cast<size_t>(k)]) != k / e->block_cols) return;
  }
  e->column_order = std::make_shared<const std::vector<int32_t>>(std::move(order));
}

void set_column_scales(WeightEncoding* e) {  // scales (G, N)
  e->scale_row_stride = 1;
  e->scale_group_stride = e->rows;
}

}  // namespace

EncodedWeight encode_gptq(const EncodingParts& parts, const QuantizationConfig& config) {
  require_matrix(parts, "qweight", DType::kI32);
  const int64_t per_word = 32 / config.bits;
  const int64_t rows = parts.codes.shape[1];
  const int64_t cols = parts.codes.shape[0] * per_word;
  EncodedWeight out = begin_weight(parts,
                                   config.bits == 4   ? "gptq 4 bits"
                                   : config.bits == 8 ? "gptq 8 bits"
                                                      : "gptq 2 bits",
                                   {rows, cols});
  WeightEncoding& e = out.encoding;
  e.code_layout = CodeLayout::kWordsDown;
  e.bits = config.bits;
  if (parts.scales.empty() || parts.scales.shape.rank() != 2) {
    fail_part(parts, "scales", "(groups, " + std::to_string(rows) + ")", parts.scales);
  }
  e.num_groups = parts.scales.shape[0];
  e.block_cols = find_group_size(parts, config, cols, e.num_groups);
  require_float_scales(parts, "scales", {e.num_groups, rows});
  if (rows % per_word != 0) {
    fail(ErrorCode::kCorruptData, parts.where, ": qweight: expected a multiple of ", per_word,
         " rows, found ", rows);
  }
  require_part(parts, "qzeros", parts.zeros, {DType::kI32}, {e.num_groups, rows / per_word});
  set_column_scales(&e);
  e.zero_layout = ZeroLayout::kWordsAcross;
  e.zeros = parts.zeros;
  e.zero = config.zero_is_stored_less_one ? 1 : 0;
  if (config.act_order && parts.groups.empty()) {
    fail_part(parts, "g_idx", "the groups of " + std::to_string(cols) + " columns (desc_act)",
              parts.groups);
  }
  set_groups(parts, "g_idx", &e);
  return out;
}

EncodedWeight encode_awq(const EncodingParts& parts, const QuantizationConfig& config) {
  require_matrix(parts, "qweight", DType::kI32);
  const int64_t cols = parts.codes.shape[0];
  const int64_t words = parts.codes.shape[1];
  const int64_t rows = words * 8;
  EncodedWeight out = begin_weight(parts, "awq 4 bits", {rows, cols});
  WeightEncoding& e = out.encoding;
  e.code_layout = CodeLayout::kWordsAcross;
  e.bits = 4;
  if (parts.scales.empty() || parts.scales.shape.rank() != 2) {
    fail_part(parts, "scales", "(groups, " + std::to_string(rows) + ")", parts.scales);
  }
  e.num_groups = parts.scales.shape[0];
  e.block_cols = find_group_size(parts, config, cols, e.num_groups);
  require_float_scales(parts, "scales", {e.num_groups, rows});
  set_column_scales(&e);
  e.zero = 8;
  if (!config.centred) {
    require_part(parts, "qzeros", parts.zeros, {DType::kI32}, {e.num_groups, words});
    e.zero_layout = ZeroLayout::kInterleaved;
    e.zeros = parts.zeros;
    e.zero = 0;
  }
  return out;
}

EncodedWeight encode_packed(const EncodingParts& parts, const QuantizationConfig& config) {
  require_matrix(parts, "weight_packed", DType::kI32);
  const TensorView& shape = parts.logical_shape;
  if (shape.empty() || !(shape.shape == Shape{2}) ||
      (shape.dtype != DType::kI64 && shape.dtype != DType::kI32)) {
    fail_part(parts, "weight_shape", "i64 (2)", shape);
  }
  const bool wide = shape.dtype == DType::kI64;
  const int64_t rows = wide ? shape.read<int64_t>(0) : shape.read<int32_t>(0);
  const int64_t cols = wide ? shape.read<int64_t>(1) : shape.read<int32_t>(1);
  const int64_t words = parts.codes.shape[1];
  int bits = 0;
  for (const int candidate : {4, 8, 2}) {
    if (bits == 0 && cols > 0 && cols <= words * 32 && ceil_div(cols * candidate, 32) == words)
      bits = candidate;
  }
  if (rows != parts.codes.shape[0] || bits == 0) {
    fail_part(parts, "weight_packed",
              "2, 4 or 8 bits for each of (" + std::to_string(rows) + ", " + std::to_string(cols) +
                  ") weights",
              parts.codes);
  }
  EncodedWeight out = begin_weight(parts,
                                   bits == 4   ? "pack-quantized 4 bits"
                                   : bits == 8 ? "pack-quantized 8 bits"
                                               : "pack-quantized 2 bits",
                                   {rows, cols});
  WeightEncoding& e = out.encoding;
  e.bits = bits;
  const TensorView& scales = parts.scales;
  const bool single = !scales.empty() && scales.shape.num_elements() == 1;
  const int64_t groups =
      single ? 1 : (scales.empty() || scales.shape.rank() != 2 ? 0 : scales.shape[1]);
  if (!single)
    require_float_scales(parts, "weight_scale", {rows, groups});
  else if (!is_float(scales.dtype))
    fail_part(parts, "weight_scale", "floats", scales);
  if (groups < 1) fail_part(parts, "weight_scale", "(rows, groups)", scales);
  e.num_groups = groups;
  e.block_cols = find_group_size(parts, config, cols, groups);
  e.scale_row_stride = single ? 0 : groups;
  e.scale_group_stride = 1;
  e.zero = 1 << (bits - 1);
  if (!parts.zeros.empty()) {
    require_part(parts, "weight_zero_point", parts.zeros, {DType::kI32},
                 {ceil_div(rows * bits, 32), groups});
    e.zero_layout = ZeroLayout::kRowWords;
    e.zeros = parts.zeros;
    e.zero = 0;
  } else if (config.needs_zeros) {
    fail_part(parts, "weight_zero_point", "zero points (symmetric is false)", parts.zeros);
  }
  set_groups(parts, "weight_g_idx", &e);
  return out;
}

namespace {

// Scales of a byte weight: per tensor, per row, per group of columns, or per block.
void set_byte_scales(const EncodingParts& parts, const QuantizationConfig& config,
                     const Shape& shape, WeightEncoding* e) {
  const TensorView& scales = parts.scales;
  const int64_t matrices = e->rows / e->matrix_rows;
  const int64_t n = e->matrix_rows, k = e->cols;
  const int rank = scales.shape.rank();
  const int64_t count = scales.shape.num_elements();
  if (scales.dtype == DType::kU8)
    e->scale_type = ScaleType::kE8M0;
  else if (!is_float(scales.dtype))
    fail_part(parts, "scale", "f32, f16 or bf16", scales);
  if (count == 1 || (count == matrices && (rank == 1 || (scales.shape[0] == matrices)))) {
    e->block_rows = n;
    e->scale_row_stride = count == 1 ? 0 : 1;
    e->scale_group_stride = 0;
    return;
  }
  if (count == e->rows && (rank == 1 || scales.shape[-1] == 1 || rank == shape.rank() - 1 ||
                           (rank == 3 && scales.shape[1] == 1))) {
    e->scale_row_stride = 1;
    return;
  }
  const bool stacked = shape.rank() == 3 && rank == 3 && scales.shape[0] == matrices;
  if (rank != 2 && !stacked) fail_part(parts, "scale", "one per tensor, row or block", scales);
  const int64_t found_rows = scales.shape[-2], found_cols = scales.shape[-1];
  const bool by_blocks = config.block[0] > 0 && found_rows == ceil_div(n, config.block[0]) &&
                         found_cols == ceil_div(k, config.block[1]) && (stacked || matrices == 1);
  if (by_blocks) {
    e->block_rows = config.block[0];
    e->block_cols = config.block[1];
  } else if (found_rows == n && (stacked || matrices == 1)) {
    e->block_cols = find_group_size(parts, config, k, found_cols);
  } else {
    fail_part(parts, "scale",
              "blocks of " + std::to_string(config.block[0]) + " x " +
                  std::to_string(config.block[1]) + " of " + shape.to_string(),
              scales);
  }
  e->num_groups = found_cols;
  e->scale_row_stride = found_cols;
  e->scale_group_stride = 1;
}

Shape matrix_shape(const EncodingParts& parts, const char* part) {
  require_elements(parts, part);
  const int rank = parts.codes.shape.rank();
  if (rank != 2 && rank != 3) {
    fail_part(parts, part, "a matrix or a stack of them", parts.codes);
  }
  return parts.codes.shape;
}

}  // namespace

EncodedWeight encode_scaled(const EncodingParts& parts, const QuantizationConfig& config) {
  const bool is_float8 = parts.codes.dtype == DType::kF8E4M3;
  const Shape shape = matrix_shape(parts, "weight");
  EncodedWeight out = begin_weight(parts, is_float8 ? "f8_e4m3 scaled" : "int8 scaled", shape);
  WeightEncoding& e = out.encoding;
  e.code_type = is_float8 ? CodeType::kFloat8 : CodeType::kSigned;
  e.bits = 8;
  set_byte_scales(parts, config, shape, &e);
  if (parts.zeros.empty()) return out;
  if (is_float8) fail_part(parts, "weight_zero_point", "none beside E4M3", parts.zeros);
  // Zero points lie as the scales do.
  require_part(parts, "weight_zero_point", parts.zeros, {DType::kI8}, parts.scales.shape);
  e.zero_layout = ZeroLayout::kBytes;
  e.zeros = parts.zeros;
  return out;
}

EncodedWeight encode_float4(const EncodingParts& parts, const QuantizationConfig&) {
  const Shape pairs = matrix_shape(parts, "weight");
  const TensorView& scales = parts.scales;
  const bool is_nv = !scales.empty() && scales.dtype == DType::kF8E4M3;
  const bool is_mx = !scales.empty() && scales.dtype == DType::kU8;
  if (!is_nv && !is_mx) fail_part(parts, "weight_scale", "f8_e4m3 or E8M0 bytes", scales);
  const int64_t group = is_nv ? 16 : 32;
  const int64_t cols = pairs[-1] * 2;
  const bool stacked = pairs.rank() == 3;
  if (cols % group != 0) {
    fail_part(parts, "weight", "a multiple of " + std::to_string(group) + " columns", parts.codes);
  }
  const Shape shape = stacked ? Shape{pairs[0], pairs[1], cols} : Shape{pairs[0], cols};
  EncodedWeight out = begin_weight(parts, is_nv ? "nvfp4" : "mxfp4", shape);
  WeightEncoding& e = out.encoding;
  e.code_type = CodeType::kFloat4;
  e.bits = 4;
  e.block_cols = group;
  e.num_groups = cols / group;
  e.scale_type = is_mx ? ScaleType::kE8M0 : ScaleType::kReal;
  e.scale_row_stride = e.num_groups;
  e.scale_group_stride = 1;
  const Shape wanted =
      stacked ? Shape{pairs[0], pairs[1], e.num_groups} : Shape{pairs[0], e.num_groups};
  if (!(scales.shape == wanted)) fail_part(parts, "weight_scale", wanted.to_string(), scales);
  const int64_t matrices = e.rows / e.matrix_rows;
  const TensorView& second = parts.tensor_scale;
  if (is_nv || !second.empty()) {
    const bool fits = !second.empty() && second.dtype == DType::kF32 &&
                      (second.shape.num_elements() == 1 || second.shape.num_elements() == matrices);
    if (!fits) {
      fail_part(parts, parts.divide_tensor_scale ? "weight_global_scale" : "weight_scale_2",
                "f32 (1)", second);
    }
    e.tensor_scale = second;
    e.divide_tensor_scale = parts.divide_tensor_scale;
  }
  if (!parts.zeros.empty()) {
    fail(ErrorCode::kUnsupported, parts.where, ": zero points of 4-bit floats are not supported");
  }
  return out;
}

EncodedWeight encode_blocks(const EncodingParts& parts) {
  require_elements(parts, "blocks");
  const Shape& blocks = parts.codes.shape;
  if (blocks.rank() != 4 || blocks[3] != 16) {
    fail_part(parts, "blocks", "u8 (experts, rows, columns / 32, 16)", parts.codes);
  }
  const int64_t cols = blocks[2] * 32;
  EncodedWeight out = begin_weight(parts, "mxfp4", {blocks[0], blocks[1], cols});
  require_part(parts, "scales", parts.scales, {DType::kU8}, {blocks[0], blocks[1], blocks[2]});
  WeightEncoding& e = out.encoding;
  e.code_type = CodeType::kFloat4;
  e.bits = 4;
  e.block_cols = 32;
  e.num_groups = blocks[2];
  e.scale_type = ScaleType::kE8M0;
  e.scale_row_stride = e.num_groups;
  e.scale_group_stride = 1;
  return out;
}

}  // namespace onnuri
