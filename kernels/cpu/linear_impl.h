// The loops around the quantised products, shared by the instruction sets.
//
// An including .cpp names its set as ONNURI_ISA and defines before:
//   Totals, zero_totals(), finish_totals()      running sums of 16 outputs and one input row
//   stream_block<Format>()                      one block of weights in memory times one input row
//   Panel, kPanelBlocks, unpack_block<Format>() blocks of 16 rows unpacked to bytes
//   kTileRows, tile_rows(), multiply_tile<Format>()  a few input rows times a panel
// and the format structs. One input row streams the weights through registers; many rows unpack a
// panel first and reuse it. Both add blocks in order, so the sums agree bit for bit.
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

template <typename Format>
void product_one_row(const LinearChunk& c) {
  constexpr RecordLayout kLayout = layout_of<Format>();
  const Int8Block* x = reinterpret_cast<const Int8Block*>(c.x);
  const int64_t num_records = c.group_bytes / kLayout.bytes();
  for (int64_t g = 0; g < c.num_groups; ++g) {
    const uint8_t* record = reinterpret_cast<const uint8_t*>(c.weights + g * c.group_bytes);
    Totals totals = zero_totals();
    for (int64_t i = 0; i < num_records; ++i, record += kLayout.bytes()) {
      for (int b = 0; b < kLayout.num_blocks; ++b) {
        prefetch_block<Format>(record, b);
        stream_block<Format>(record, b, x[i * kLayout.num_blocks + b], totals);
      }
    }
    finish_totals(c, 0, g, totals);
  }
}

template <typename Format>
void multiply_panel(const LinearChunk& c, const Panel& panel, int64_t group, int64_t first_block,
                    int num_blocks) {
  for (int64_t m = 0; m < c.num_rows;) {
    const Int8Block* x[kTileRows] = {};
    const int count = tile_rows(c.num_rows - m);
    for (int i = 0; i < count; ++i) {
      x[i] = reinterpret_cast<const Int8Block*>(c.x + (m + i) * c.x_stride_bytes) + first_block;
    }
    multiply_tile<Format>(count, panel, num_blocks, x, first_block == 0,
                          workspace_sums(c, group, m));
    m += count;
  }
}

template <typename Format>
void product_many_rows(const LinearChunk& c) {
  constexpr RecordLayout kLayout = layout_of<Format>();
  const int64_t total_blocks = c.group_bytes / kLayout.bytes() * kLayout.num_blocks;
  Panel panel;
  for (int64_t first = 0; first < total_blocks; first += kPanelBlocks) {
    const int64_t left = total_blocks - first;
    const int count = static_cast<int>(left < kPanelBlocks ? left : kPanelBlocks);
    for (int64_t g = 0; g < c.num_groups; ++g) {
      const uint8_t* group = reinterpret_cast<const uint8_t*>(c.weights + g * c.group_bytes);
      for (int i = 0; i < count; ++i) {
        const int64_t block = first + i;
        unpack_block<Format>(group + block / kLayout.num_blocks * kLayout.bytes(),
                             static_cast<int>(block % kLayout.num_blocks), i, &panel);
      }
      multiply_panel<Format>(c, panel, g, first, count);
    }
  }
  finish_chunk(c);
}

template <typename Format>
void product_format(const LinearChunk& c) {
  if (c.num_rows == 1) {
    product_one_row<Format>(c);
  } else {
    product_many_rows<Format>(c);
  }
}

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
