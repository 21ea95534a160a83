// Attention on the host: checks, cuts queries into blocks, and shares them among threads.
//
// A block is a few query rows of one key-value head. When blocks are few or uneven (decoding at
// depth), a block is also cut along its keys: tiles become partial results, combined in order. The
// kernels give the same bits either way, so the choice is free.
#include <algorithm>
#include <vector>

#include "core/check.h"
#include "kernels/attention_kernels.h"
#include "kernels/kernel_table.h"

namespace onnuri {
namespace {

// One unit of the parallel loop: a whole task, or one tile of a split task.
struct Item {
  int32_t task = 0;
  int32_t tile = -1;  // -1: the whole task
};

struct SplitTask {
  int32_t task = 0;
  int64_t first_tile = 0;
  int64_t num_tiles = 0;
  int64_t partial_offset = 0;  // floats
  int64_t partial_floats = 0;  // of one tile
};

struct Plan {
  std::vector<AttentionTask> tasks;
  std::vector<SplitTask> splits;
  std::vector<Item> items;
  std::vector<int32_t> split_of_task;  // -1: whole
  int64_t partial_floats = 0;
  int64_t max_rows = 0;
  int64_t max_keys = 0;
};

// Keys that any row of the task sees.
KeyRange keys_of_task(const AttentionTask& task) {
  const KeyRange first = visible_keys(task, task.position);
  const KeyRange last = visible_keys(task, task.position + task.num_rows - 1);
  return {first.begin, std::max(first.begin, last.end)};
}

double cost_of(const AttentionTask& task) {
  const KeyRange range = keys_of_task(task);
  return static_cast<double>(task.num_rows * task.group) *
         static_cast<double>((range.end - range.begin) * (task.keys.k_dim + task.keys.v_dim));
}

// About 10 us of one thread: below it, nobody is woken.
constexpr double kInlineCost = 200e3;

void add_split(const AttentionKernels& kernels, int32_t index, Plan* plan) {
  const AttentionTask& task = plan->tasks[static_cast<size_t>(index)];
  const KeyRange range = keys_of_task(task);
  SplitTask split;
  split.task = index;
  split.first_tile = range.begin / kKeyTile;
  split.num_tiles = (range.end + kKeyTile - 1) / kKeyTile - split.first_tile;
  split.partial_floats = kernels.partial_floats(task.num_rows * task.group, task.keys.v_dim);
  split.partial_offset = plan->partial_floats;
  plan->partial_floats += split.num_tiles * split.partial_floats;
  plan->split_of_task[static_cast<size_t>(index)] = static_cast<int32_t>(plan->splits.size());
  plan->splits.push_back(split);
  for (int64_t t = 0; t < split.num_tiles; ++t) {
    plan->items.push_back({index, static_cast<int32_t>(t)});
  }
}

// Long tasks first, so that the last ones to finish are short. Returns the total cost.
double make_items(const AttentionKernels& kernels, int num_threads, Plan* plan) {
  double total = 0.0;
  for (const AttentionTask& task : plan->tasks) total += cost_of(task);
  const double share = total / (2.0 * num_threads);
  const bool may_split = num_threads > 1 && kernels.attend_tile != nullptr && total > kInlineCost;
  plan->split_of_task.assign(plan->tasks.size(), -1);
  for (int32_t i = static_cast<int32_t>(plan->tasks.size()) - 1; i >= 0; --i) {
    const AttentionTask& task = plan->tasks[static_cast<size_t>(i)];
    const KeyRange range = keys_of_task(task);
    if (may_split && cost_of(task) > share && range.end - range.begin > kKeyTile) {
      add_split(kernels, i, plan);
    } else {
      plan->items.push_back({i, -1});
    }
  }
  return total;
}

void execute(Backend& backend, const AttentionKernels& kernels, Plan* plan) {
  if (plan->tasks.empty()) return;
  const double total = make_items(kernels, backend.num_threads(), plan);
  const KeyRows& keys = plan->tasks.front().keys;
  const size_t one =
      (kernels.workspace_bytes(plan->max_rows, plan->max_keys, keys.k_dim, keys.v_dim) + 127) / 64 *
      64;
  const auto num_workers = static_cast<size_t>(backend.num_threads());
  auto* workspaces = static_cast<char*>(backend.scratch(4, one * num_workers));
  auto* partials = static_cast<float*>(
      backend.scratch(5, static_cast<size_t>(plan->partial_floats) * sizeof(float)));
  if (!backend.computes()) return;
  auto run_item = [&](int64_t index, int worker) {
    const Item& item = plan->items[static_cast<size_t>(index)];
    const AttentionTask& task = plan->tasks[static_cast<size_t>(item.task)];
    char* workspace = workspaces + static_cast<size_t>(worker) * one;
    if (item.tile < 0) {
      kernels.attend(task, workspace);
      return;
    }
    const SplitTask& split =
        plan->splits[static_cast<size_t>(plan->split_of_task[static_cast<size_t>(item.task)])];
    kernels.attend_tile(task, split.first_tile + item.tile,
                        partials + split.partial_offset + item.tile * split.partial_floats,
                        workspace);
  };
  const auto num_items = static_cast<int64_t>(plan->items.size());
  if (total < kInlineCost) {
    for (int64_t i = 0; i < num_items; ++i) run_item(i, 0);
  } else {
    backend.pool().run(num_items, run_item);
  }
  auto combine = [&](int64_t index, int worker) {
    const SplitTask& split = plan->splits[static_cast<size_t>(index)];
    kernels.combine(plan->tasks[static_cast<size_t>(split.task)], split.num_tiles,
                    partials + split.partial_offset,
                    workspaces + static_cast<size_t>(worker) * one);
  };
  const auto num_splits = static_cast<int64_t>(plan->splits.size());
  if (plan->partial_floats < 32768) {
    for (int64_t i = 0; i < num_splits; ++i) combine(i, 0);
  } else {
    backend.pool().run(num_splits, combine);
  }
}

// Cuts rows [0, num_rows) of `whole` into blocks. Blocks of uneven length still give equal bits.
void add_tasks(const AttentionTask& whole, int64_t rows_per_block, Plan* plan) {
  for (int64_t begin = 0; begin < whole.num_rows; begin += rows_per_block) {
    AttentionTask task = whole;
    task.q += begin * whole.q_stride;
    task.out += begin * whole.out_stride;
    task.position += begin;
    if (task.key_ends != nullptr) task.key_ends += begin;
    task.num_rows = std::min(rows_per_block, whole.num_rows - begin);
    plan->max_rows = std::max(plan->max_rows, task.num_rows * task.group);
    plan->max_keys = std::max(plan->max_keys, task.num_keys);
    plan->tasks.push_back(task);
  }
}

// One task per row: each has keys of its own.
void add_list_tasks(const AttentionTask& whole, const AttentionSegment& segment, Plan* plan) {
  AttentionTask task = whole;
  task.num_rows = 1;
  task.num_keys = segment.keys_per_row;
  task.position = 0;
  task.causal = false;
  task.window = 0;
  task.key_ends = nullptr;
  for (int64_t row = 0; row < segment.num_rows; ++row) {
    task.keys.positions = segment.key_lists + row * segment.keys_per_row;
    add_tasks(task, 1, plan);
    task.q += whole.q_stride;
    task.out += whole.out_stride;
  }
}

void check_view(ConstMatrixView x, int64_t cols) {
  ONNURI_CHECK(x.rows >= 0 && x.cols == cols && x.stride >= x.cols);
  ONNURI_CHECK(x.data != nullptr || x.rows == 0);
}

void check_segment(const AttentionSegment& segment, const AttentionParams& params,
                   ConstMatrixView q) {
  const KvView& kv = segment.kv;
  ONNURI_CHECK(segment.first_row >= 0 && segment.num_rows >= 0 && segment.start_position >= 0);
  ONNURI_CHECK(segment.num_rows <= q.rows - segment.first_row && segment.num_keys >= 0);
  ONNURI_CHECK(is_kv_dtype(kv.dtype));
  ONNURI_CHECK(kv.num_kv_heads > 0 && kv.k_dim > 0 && kv.v_dim > 0 && kv.page_rows > 0);
  ONNURI_CHECK(!kv.v_in_k || kv.v_dim <= kv.k_dim);
  ONNURI_CHECK(params.num_heads % kv.num_kv_heads == 0);
  if (segment.num_rows == 0 || segment.num_keys == 0) return;
  ONNURI_CHECK(kv.k_pages != nullptr && kv.page_table != nullptr);
  ONNURI_CHECK(kv.v_in_k || kv.v_pages != nullptr);
  if (segment.key_lists != nullptr) {
    ONNURI_CHECK(segment.keys_per_row > 0 && segment.keys_per_row <= segment.num_keys && !kv.ring);
  }
  AttentionTask task;
  task.num_rows = segment.num_rows;
  task.position = segment.start_position;
  task.num_keys = segment.num_keys;
  task.causal = params.causal;
  task.window = params.window;
  task.key_ends = segment.key_ends;
  for (int64_t i = 0; segment.key_ends != nullptr && i < segment.num_rows; ++i) {
    ONNURI_CHECK(segment.key_ends[i] > segment.start_position + i);
    ONNURI_CHECK(i == 0 || segment.key_ends[i] >= segment.key_ends[i - 1]);
  }
  const KeyRange range = keys_of_task(task);
  const int64_t first = kv.ring ? range.begin : 0;  // a ring's live rows may share a page
  ONNURI_CHECK(range.end - first <= kv.num_entries * kv.page_rows);
}

}  // namespace

void attention_paged(Backend& backend, ConstMatrixView q,
                     std::span<const AttentionSegment> segments, const AttentionParams& params,
                     MatrixView out) {
  if (segments.empty()) return;
  const KvView& first = segments.front().kv;
  ONNURI_CHECK(params.num_heads > 0 && params.window >= 0);
  check_view(q, params.num_heads * first.k_dim);
  check_view(out, params.num_heads * first.v_dim);
  ONNURI_CHECK(q.rows == out.rows);
  const AttentionKernels& kernels = backend.table().attention();
  const int64_t block_rows = kernels.block_rows(first.k_dim, first.v_dim);
  Plan plan;
  for (const AttentionSegment& segment : segments) {
    check_segment(segment, params, q);
    ONNURI_CHECK(segment.kv.k_dim == first.k_dim && segment.kv.v_dim == first.v_dim);
    const int64_t group = params.num_heads / segment.kv.num_kv_heads;
    const int64_t rows_per_block = std::max<int64_t>(1, block_rows / group);
    for (int64_t h = 0; h < segment.kv.num_kv_heads; ++h) {
      AttentionTask task;
      task.q = q.row(segment.first_row) + h * group * segment.kv.k_dim;
      task.out = out.row(segment.first_row) + h * group * segment.kv.v_dim;
      task.q_stride = q.stride;
      task.out_stride = out.stride;
      task.num_rows = segment.num_rows;
      task.group = group;
      task.position = segment.start_position;
      task.num_keys = segment.num_keys;
      task.scale = params.scale;
      task.causal = params.causal;
      task.window = params.window;
      task.sinks = params.sinks != nullptr ? params.sinks + h * group : nullptr;
      task.key_ends = segment.key_ends;
      task.keys.kv = &segment.kv;
      task.keys.kv_head = h;
      task.keys.k_dim = segment.kv.k_dim;
      task.keys.v_dim = segment.kv.v_dim;
      if (segment.key_lists != nullptr) {
        add_list_tasks(task, segment, &plan);
      } else {
        add_tasks(task, rows_per_block, &plan);
      }
    }
  }
  execute(backend, kernels, &plan);
}

void attention_packed(Backend& backend, ConstMatrixView q, ConstMatrixView k, ConstMatrixView v,
                      std::span<const int64_t> offsets, int64_t num_heads, float scale,
                      MatrixView out, bool causal) {
  ONNURI_CHECK(num_heads > 0 && q.cols % num_heads == 0 && !offsets.empty());
  const int64_t head_dim = q.cols / num_heads;
  if (head_dim == 0) return;
  const int64_t num_kv_heads = k.cols / head_dim;
  ONNURI_CHECK(num_kv_heads > 0 && num_heads % num_kv_heads == 0);
  check_view(q, q.cols);
  check_view(k, num_kv_heads * head_dim);
  check_view(v, num_kv_heads * head_dim);
  check_view(out, q.cols);
  ONNURI_CHECK(k.rows == q.rows && v.rows == q.rows && out.rows == q.rows);
  const AttentionKernels& kernels = backend.table().attention();
  const int64_t block_rows = kernels.block_rows(head_dim, head_dim);
  Plan plan;
  for (size_t s = 0; s + 1 < offsets.size(); ++s) {
    ONNURI_CHECK(offsets[s] >= 0 && offsets[s] <= offsets[s + 1] && offsets[s + 1] <= q.rows);
    for (int64_t h = 0; h < num_heads; ++h) {
      AttentionTask task;
      task.q = q.row(offsets[s]) + h * head_dim;
      task.out = out.row(offsets[s]) + h * head_dim;
      task.q_stride = q.stride;
      task.out_stride = out.stride;
      task.num_rows = offsets[s + 1] - offsets[s];
      task.num_keys = task.num_rows;
      task.causal = causal;
      task.scale = scale;
      const int64_t kv_column = h / (num_heads / num_kv_heads) * head_dim;
      task.keys.k = k.row(offsets[s]) + kv_column;
      task.keys.v = v.row(offsets[s]) + kv_column;
      task.keys.k_stride = k.stride;
      task.keys.v_stride = v.stride;
      task.keys.k_dim = head_dim;
      task.keys.v_dim = head_dim;
      add_tasks(task, block_rows, &plan);
    }
  }
  execute(backend, kernels, &plan);
}

}  // namespace onnuri
