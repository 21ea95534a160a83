// Numbers from encoded weights (core/weight_encoding.h): decoded rows, and packed groups of 16 rows
// in about the width that is stored.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "core/tensor.h"
#include "kernels/linear_format.h"

namespace onnuri {

/// Decodes rows [begin, begin + count) of a kEncoded view into out (count, K), exactly:
/// (code - zero) * scale with one rounding to float32.
void decode_encoded_rows(const TensorView& weight, int64_t begin, int64_t count, float* out);

/// The packed form that keeps the codes of a kEncoded view, or kF32 where none does.
WeightFormat encoded_weight_format(const TensorView& weight);

/// Packs rows [first_row, first_row + num_rows) of a kEncoded view, 1..16 of them, into one group.
/// `format` is kF32 or encoded_weight_format(weight).
void pack_encoded_group(WeightFormat format, const TensorView& weight, int64_t first_row,
                        int64_t num_rows, std::byte* out);

/// The order of columns in which such a weight is packed, and inputs are to be read; null: as
/// stored.
std::shared_ptr<const std::vector<int32_t>> packed_column_order(WeightFormat format,
                                                                const TensorView& weight);

}  // namespace onnuri
