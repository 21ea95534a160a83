// Which keys a query attends to: scores of all keys by a small indexer, then the best of them.
//
// Scores of a group of rows are shared among threads by row block and by run of keys, the choice by
// row. Equal scores at the edge are resolved as the reference implementation does, over every key
// of the prompt, unseen ones last.
#include <algorithm>
#include <cmath>
#include <limits>

#include "core/check.h"
#include "kernels/attention_kernels.h"
#include "kernels/kernel_table.h"
#include "kernels/top_k.h"

namespace onnuri {
namespace {

constexpr int64_t kMaxScores = int64_t{1} << 23;  // floats at a time
constexpr int64_t kKeysPerItem = 16 * kKeyTile;
constexpr int kWorkspaceSlot = 4;
constexpr int kScoreSlot = 5;
constexpr int kQueueSlot = 6;

float at_least_lowest(float score) {
  constexpr float kLowest = std::numeric_limits<float>::lowest();
  return score > kLowest ? score : kLowest;
}

// The `count` best of queue, their positions ascending.
void choose(std::span<ScoredIndex> queue, int64_t count, int32_t* chosen) {
  move_best_to_front(queue, count);
  for (int64_t i = 0; i < count; ++i) chosen[i] = queue[static_cast<size_t>(i)].index;
  std::sort(chosen, chosen + count);
}

// The rows of one segment that see more keys than they may keep.
struct IndexTask {
  ConstMatrixView q;
  ConstMatrixView weights;
  const AttentionSegment* segment;
  int64_t first = 0;  // row of the segment
  int64_t count = 0;
  float* scores = nullptr;  // (count, num_keys)
};

void score_rows(Backend& backend, const IndexTask& work, const IndexParams& params) {
  const AttentionKernels& kernels = backend.table().attention();
  const AttentionSegment& s = *work.segment;
  const int64_t dim = s.kv.k_dim;
  const int64_t step = std::max<int64_t>(1, kernels.block_rows(dim, dim) / params.num_heads);
  const int64_t blocks = (work.count + step - 1) / step;
  const int64_t runs = (s.num_keys + kKeysPerItem - 1) / kKeysPerItem;
  const size_t bytes =
      (kernels.workspace_bytes(step * params.num_heads, s.num_keys, dim, dim) + 127) / 64 * 64;
  auto* workspaces = static_cast<char*>(
      backend.scratch(kWorkspaceSlot, bytes * static_cast<size_t>(backend.num_threads())));
  backend.pool().run(blocks * runs, [&](int64_t item, int worker) {
    const int64_t row = item / runs * step;
    const int64_t begin = item % runs * kKeysPerItem;
    AttentionTask task;
    task.q = work.q.row(s.first_row + work.first + row);
    task.q_stride = work.q.stride;
    task.num_rows = std::min(step, work.count - row);
    task.group = params.num_heads;
    task.num_keys = s.num_keys;
    task.keys.kv = &s.kv;
    task.keys.k_dim = task.keys.v_dim = dim;
    kernels.index_scores(task, work.weights.row(s.first_row + work.first + row),
                         work.weights.stride, {begin, std::min(begin + kKeysPerItem, s.num_keys)},
                         work.scores + row * s.num_keys, s.num_keys,
                         workspaces + static_cast<size_t>(worker) * bytes);
  });
}

void choose_rows(Backend& backend, const IndexTask& work, const IndexParams& params,
                 int32_t* chosen) {
  const AttentionSegment& s = *work.segment;
  const auto num_keys = static_cast<size_t>(std::max(s.num_keys, s.final_keys));
  auto* queues = static_cast<ScoredIndex*>(backend.scratch(
      kQueueSlot, num_keys * sizeof(ScoredIndex) * static_cast<size_t>(backend.num_threads())));
  backend.pool().run(work.count, [&](int64_t row, int worker) {
    const std::span<ScoredIndex> queue(queues + static_cast<size_t>(worker) * num_keys, num_keys);
    const int64_t position = s.start_position + work.first + row;
    const float* scores = work.scores + row * s.num_keys;
    int32_t* row_chosen = chosen + (s.first_row + work.first + row) * params.top_k;
    if (std::any_of(scores, scores + position + 1, [](float x) { return std::isnan(x); })) {
      std::fill_n(row_chosen, params.top_k, -1);
      return;
    }
    for (size_t j = 0; j < num_keys; ++j) {
      // Whatever a key that is seen scores, it comes before the others: these may not be stored
      // yet.
      const bool seen = static_cast<int64_t>(j) <= position;
      queue[j] = {seen ? at_least_lowest(scores[j]) : -std::numeric_limits<float>::infinity(),
                  static_cast<int32_t>(j)};
    }
    choose(queue, params.top_k, row_chosen);
  });
}

}  // namespace

void select_keys(Backend& backend, ConstMatrixView q, ConstMatrixView weights,
                 std::span<const AttentionSegment> segments, const IndexParams& params,
                 std::span<int32_t> chosen) {
  ONNURI_CHECK(params.num_heads > 0 && params.top_k > 0 && q.rows == weights.rows);
  ONNURI_CHECK(weights.cols == params.num_heads && q.cols % params.num_heads == 0);
  ONNURI_CHECK(static_cast<int64_t>(chosen.size()) == q.rows * params.top_k);
  for (const AttentionSegment& s : segments) {
    ONNURI_CHECK(s.kv.num_kv_heads == 1 && !s.kv.ring && s.kv.k_pages != nullptr);
    ONNURI_CHECK(s.kv.k_dim * params.num_heads == q.cols);
    ONNURI_CHECK(s.first_row >= 0 && s.num_rows <= q.rows - s.first_row);
    ONNURI_CHECK(s.num_keys <= s.kv.num_entries * s.kv.page_rows);
    ONNURI_CHECK(s.start_position + s.num_rows <= s.num_keys);
    const int64_t first = std::max<int64_t>(0, params.top_k - s.start_position);
    const int64_t group = std::max<int64_t>(1, kMaxScores / std::max<int64_t>(1, s.num_keys));
    for (int64_t row = first; row < s.num_rows; row += group) {
      IndexTask work{q, weights, &s, row, std::min(group, s.num_rows - row)};
      work.scores = static_cast<float*>(backend.scratch(
          kScoreSlot, static_cast<size_t>(work.count * s.num_keys) * sizeof(float)));
      score_rows(backend, work, params);
      choose_rows(backend, work, params, chosen.data());
    }
  }
}

}  // namespace onnuri
