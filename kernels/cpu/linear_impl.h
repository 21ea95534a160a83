// The loops around the quantised products, shared by the instruction sets.
//
// An including .cpp names its set as ONNURI_ISA and defines before:
//   Totals, zero_totals(), finish_totals()  running sums of 16 outputs and one input row
//   stream_block<Format, kRows>()           one block of weights in memory times input rows
// and the format structs, and after the include product_format<Format>(): any number of rows, from
// product_few_rows(), which streams the weights through registers, or in its own way. All add
// blocks in order, so the sums agree bit for bit.
#pragma once

#include "kernels/linear_kernels.h"

namespace onnuri::ONNURI_ISA {
namespace {

template <typename Format>
constexpr RecordLayout layout_of() {
  return record_layout(Format::kWeightFormat);
}

// Asks for the bytes of a block some way ahead: one core alone cannot keep enough misses in flight.
template <typename Format>
void prefetch_block(const uint8_t* record, int b) {
  constexpr RecordLayout kLayout = layout_of<Format>();
  constexpr int64_t kAhead = 4096;
  // An address, not a pointer: near the end it lies outside the matrix, and is harmless.
  const uintptr_t block = reinterpret_cast<uintptr_t>(record) +
                          static_cast<uintptr_t>(kLayout.block_begin + kAhead) +
                          static_cast<uintptr_t>(b * kLayout.block_bytes);
  for (uintptr_t i = 0; i < static_cast<uintptr_t>(kLayout.block_bytes); i += 64) {
    __builtin_prefetch(reinterpret_cast<const void*>(block + i));
  }
}

template <typename Format, int kRows>
void product_few_rows(const LinearChunk& c) {
  constexpr RecordLayout kLayout = layout_of<Format>();
  const Int8Block* x[kRows];
  for (int m = 0; m < kRows; ++m)
    x[m] = reinterpret_cast<const Int8Block*>(c.x + m * c.x_stride_bytes);
  const int64_t num_records = c.group_bytes / kLayout.bytes();
  for (int64_t g = 0; g < c.num_groups; ++g) {
    const uint8_t* record = reinterpret_cast<const uint8_t*>(c.weights + g * c.group_bytes);
    Totals totals[kRows];
    for (int m = 0; m < kRows; ++m) totals[m] = zero_totals();
    for (int64_t i = 0; i < num_records; ++i, record += kLayout.bytes()) {
      for (int b = 0; b < kLayout.num_blocks; ++b) {
        prefetch_block<Format>(record, b);
        stream_block<Format, kRows>(record, b, x, i * kLayout.num_blocks + b, totals);
      }
    }
    for (int m = 0; m < kRows; ++m) finish_totals(c, m, g, totals[m]);
  }
}

/// All rows of a chunk: each instruction set's own.
template <typename Format>
void product_format(const LinearChunk& c);

void product_quantized(const LinearChunk& c) {
  switch (c.format) {
    case WeightFormat::kQ4: return product_format<Q4Format>(c);
    case WeightFormat::kQ4M: return product_format<Q4MFormat>(c);
    case WeightFormat::kQ5: return product_format<Q5Format>(c);
    case WeightFormat::kQ5M: return product_format<Q5MFormat>(c);
    case WeightFormat::kQ8: return product_format<Q8Format>(c);
    case WeightFormat::kQ4S: return product_format<Q4SFormat>(c);
    case WeightFormat::kQ5S: return product_format<Q5SFormat>(c);
    case WeightFormat::kQ8S: return product_format<Q8SFormat>(c);
    case WeightFormat::kQ8M: return product_format<Q8MFormat>(c);
    case WeightFormat::kI4: return product_format<I4Format>(c);
    case WeightFormat::kF4: return product_format<F4Format>(c);
    case WeightFormat::kF4H: return product_format<F4HFormat>(c);
    case WeightFormat::kQ2K: return product_format<Q2KFormat>(c);
    case WeightFormat::kQ3K: return product_format<Q3KFormat>(c);
    case WeightFormat::kI4K: return product_format<I4KFormat>(c);
    case WeightFormat::kQ4K: return product_format<Q4KFormat>(c);
    case WeightFormat::kQ5K: return product_format<Q5KFormat>(c);
    case WeightFormat::kQ6K: return product_format<Q6KFormat>(c);
    case WeightFormat::kF32:
    case WeightFormat::kF16:
    case WeightFormat::kBF16:
    case WeightFormat::kBF16Pairs:
    case WeightFormat::kF8: return;  // not products of this kind
  }
}

}  // namespace
}  // namespace onnuri::ONNURI_ISA
