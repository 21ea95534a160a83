// Attention kernels of one table: a block of query rows against one key-value head, on one thread.
//
// Keys are cut into tiles of kKeyTile at absolute positions. A row's softmax is taken tile by tile
// (maximum, sum, weighted values), and tiles are combined in ascending order. Nothing in that
// order depends on the other rows of the block, so `attend` and `attend_tile` + `combine` agree to
// the last bit, as do all ways of cutting rows into blocks.
// Source: online softmax (Milakov & Gimelshein 2018), tiled as in FlashAttention (Dao et al. 2022).
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/kv_rows.h"
#include "kernels/ops.h"

namespace onnuri {

inline constexpr int64_t kKeyTile = 256;

/// Keys and values of one key-value head: pages of a cache, or strided float32 rows.
struct KeyRows {
  const KvView* kv = nullptr;  // pages; null: the strided rows below
  int64_t kv_head = 0;
  const int32_t* positions = nullptr;  // of key 0, 1, ... in the pages; null: 0, 1, ...
  const float* k = nullptr;            // (num_keys, k_dim), k_stride apart
  const float* v = nullptr;            // (num_keys, v_dim), v_stride apart
  int64_t k_stride = 0;
  int64_t v_stride = 0;
  int64_t k_dim = 0;
  int64_t v_dim = 0;
};

/// Query rows at positions [position, position + num_rows), each with the `group` query heads that
/// share one key-value head: q (num_rows, group, k_dim), out (num_rows, group, v_dim).
struct AttentionTask {
  const float* q = nullptr;
  float* out = nullptr;
  int64_t q_stride = 0;    // between rows; heads are k_dim apart
  int64_t out_stride = 0;  // between rows; heads are v_dim apart
  int64_t num_rows = 0;
  int64_t group = 1;
  int64_t position = 0;
  int64_t num_keys = 0;
  float scale = 1.0f;
  bool causal = false;
  int64_t window = 0;
  const float* sinks = nullptr;       // (group) or null
  const int32_t* key_ends = nullptr;  // (num_rows) or null: when causal, instead of position + 1
  KeyRows keys;
};

/// The keys [begin, end) that a position sees.
struct KeyRange {
  int64_t begin = 0;
  int64_t end = 0;
};
static inline KeyRange visible_keys(const AttentionTask& task, int64_t position) {
  KeyRange range{0, task.num_keys};
  if (task.causal) {
    const int64_t end =
        task.key_ends != nullptr ? task.key_ends[position - task.position] : position + 1;
    if (end < range.end) range.end = end;
  }
  if (task.window > 0 && position - task.window + 1 > 0) range.begin = position - task.window + 1;
  if (range.begin > range.end) range.begin = range.end;
  return range;
}

/// Consecutive keys that lie evenly spaced in memory.
struct KeyRun {
  const void* k = nullptr;
  const void* v = nullptr;
  int64_t k_stride = 0;  // in elements; in bytes where rows are coded
  int64_t v_stride = 0;
  int64_t count = 0;
};
/// The run that starts at `position`, at most `limit` keys long.
static inline KeyRun key_run(const KeyRows& rows, int64_t position, int64_t limit) {
  if (rows.kv == nullptr) {
    return {rows.k + position * rows.k_stride, rows.v + position * rows.v_stride, rows.k_stride,
            rows.v_stride, limit};
  }
  if (rows.positions != nullptr) {
    const int32_t* list = rows.positions + position;
    int64_t count = 1;
    while (count < limit && list[count] == list[0] + count) ++count;
    position = list[0];
    limit = count;
  }
  const KvView& kv = *rows.kv;
  const int64_t k_bytes = kv_row_bytes(kv.dtype, kv.k_dim);
  const int64_t v_bytes = kv_row_bytes(kv.dtype, kv.v_dim);
  const bool coded = is_coded_kv(kv.dtype);
  const int64_t k_stride = coded ? k_bytes : kv.k_dim;
  const int64_t in_page = position % kv.page_rows;
  const int64_t entry = position / kv.page_rows;
  const int64_t page = kv.page_table[kv.ring ? entry % kv.num_entries : entry];
  const int64_t row = (page * kv.num_kv_heads + rows.kv_head) * kv.page_rows + in_page;
  const int64_t k_page_heads = kv.k_page_heads > 0 ? kv.k_page_heads : kv.num_kv_heads;
  const int64_t k_row = (page * k_page_heads + rows.kv_head) * kv.page_rows + in_page;
  const int64_t left = kv.page_rows - in_page;
  const char* k = static_cast<const char*>(kv.k_pages) + k_row * k_bytes;
  if (kv.v_in_k) return {k, k, k_stride, k_stride, left < limit ? left : limit};
  return {k, static_cast<const char*>(kv.v_pages) + row * v_bytes, k_stride,
          coded ? v_bytes : kv.v_dim, left < limit ? left : limit};
}

struct AttentionKernels {
  /// Query rows times group that a block should hold to be efficient.
  int64_t (*block_rows)(int64_t k_dim, int64_t v_dim) = nullptr;
  /// Scratch of one thread for blocks of at most `rows` (num_rows * group).
  size_t (*workspace_bytes)(int64_t rows, int64_t num_keys, int64_t k_dim, int64_t v_dim) = nullptr;
  /// Writes the task's out. Rows that see no key become zero.
  void (*attend)(const AttentionTask& task, void* workspace) = nullptr;

  /// scores[i * scores_stride + j] = sum_h weights[i * weights_stride + h] relu(q_h k_j) for the
  /// keys of `range`, which starts at a tile: row i, `group` heads h.
  void (*index_scores)(const AttentionTask& task, const float* weights, int64_t weights_stride,
                       KeyRange range, float* scores, int64_t scores_stride,
                       void* workspace) = nullptr;

  // Splitting one task over threads; null where a table does not.
  /// Floats of one tile's partial result.
  int64_t (*partial_floats)(int64_t rows, int64_t v_dim) = nullptr;
  /// The partial result of keys [tile * kKeyTile, (tile + 1) * kKeyTile).
  void (*attend_tile)(const AttentionTask& task, int64_t tile, float* partial,
                      void* workspace) = nullptr;
  /// Combines the partials of `num_tiles` tiles, which lie one after the other, into out.
  void (*combine)(const AttentionTask& task, int64_t num_tiles, const float* partials,
                  void* workspace) = nullptr;
};

}  // namespace onnuri
