// The inner loops of matrix products: one chunk on one thread, per kernel table.
//
// Weights are packed in groups of 16 output rows (linear_format.h); a chunk is a run of groups
// times a run of input rows. A table may quantise the input rows first ("prepare"); the prepared
// form is its own business and is told apart by `ActivationKind`.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/linear_format.h"

namespace onnuri {

enum class ActivationKind : uint8_t {
  kFloat,     // the caller's rows as they are
  kInt8,      // int8 values with one scale per 32
  kBfloat16,  // rounded to 16 bits
};

struct LinearChunk {
  WeightFormat format = WeightFormat::kF32;
  int64_t cols = 0;                    // K
  const std::byte* weights = nullptr;  // the first group
  int64_t group_bytes = 0;
  int64_t num_groups = 0;
  int64_t num_outputs = 0;       // rows of W in the chunk: the last group may be partly padding
  const std::byte* x = nullptr;  // first input row in the form of activation_kind(format)
  int64_t x_stride_bytes = 0;
  int64_t num_rows = 0;         // input rows
  const float* bias = nullptr;  // (num_outputs) or null
  float* y = nullptr;           // (num_rows, num_outputs), y_stride apart
  int64_t y_stride = 0;
  bool accumulate = false;
  std::byte* workspace = nullptr;  // kLinearWorkspaceBytes of this thread, 64-byte aligned
};

/// Upper bound of input rows per chunk that the planner promises; sums of a chunk fit a cache.
inline constexpr int64_t kMaxChunkRows = 128;
inline constexpr int64_t kMaxChunkGroups = 8;
inline constexpr int64_t kLinearWorkspaceBytes =
    kMaxChunkRows * kMaxChunkGroups * kGroupRows * static_cast<int64_t>(sizeof(float));

struct LinearKernels {
  ActivationKind (*activation_kind)(WeightFormat format);
  /// Bytes of one prepared row, a multiple of 64; 0 for kFloat.
  int64_t (*activation_bytes)(ActivationKind kind, int64_t cols);
  void (*prepare)(ActivationKind kind, const float* x, int64_t cols, std::byte* out);
  void (*product)(const LinearChunk& chunk);
  /// How this table wants 16-bit brain floats: kBF16 or kBF16Pairs.
  WeightFormat bfloat16_format;
};

}  // namespace onnuri
