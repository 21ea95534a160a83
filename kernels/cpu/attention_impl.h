// Attention over the lanes of one instruction set: tiles of kKeyTile keys, each with its own
// softmax, combined in ascending order.
//
//   scores(M, 256) = q(M, k_dim) k^T     three rows times four keys in registers, lanes over dims
//   p = 2^(scores - max), sum
//   acc(M, v_dim) = p v                  four rows times a few vectors in registers, keys in order
//   total = total 2^(old - new) + acc 2^(max - new)
//
// M counts query rows times the heads that share the keys, so decoding with grouped heads and
// prefill are the same code. A row's arithmetic depends on absolute key positions only. q carries
// scale * log2(e), so that scores are exponents of two.
#pragma once

#include "kernels/attention_kernels.h"
#include "kernels/cpu/vec_math.h"

namespace onnuri::ONNURI_ISA {
namespace {

constexpr float kLog2E = 1.44269504f;
constexpr int64_t kDirectRows = 3;  // up to here, keys and values are used as they are stored
constexpr int64_t kMaxRun = 64;
constexpr int64_t kPadFloats = 16;  // keeps rows of a power of two off one cache set

inline int64_t round_up(int64_t n, int64_t unit) { return (n + unit - 1) / unit * unit; }
inline int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
inline int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }

struct LoadF32 {
  using Element = float;
  static Vec at(const float* p) { return v_load(p); }
};
struct LoadF16 {
  using Element = uint16_t;
  static Vec at(const uint16_t* p) { return v_load_f16(p); }
};
struct LoadBf16 {
  using Element = uint16_t;
  static Vec at(const uint16_t* p) { return v_load_bf16(p); }
};

// One thread's scratch, cut from the caller's bytes.
struct Workspace {
  int64_t rows = 0;       // M
  int64_t k_cols = 0;     // k_dim, whole vectors
  int64_t v_cols = 0;     // v_dim, whole vectors
  float* q = nullptr;       // (M, k_cols)
  float* scores = nullptr;  // (M, kKeyTile)
  float* acc = nullptr;     // (M, v_cols) of one tile
  float* total = nullptr;   // (M, v_cols) of all tiles so far
  float* tile_max = nullptr;   // (M)
  float* tile_sum = nullptr;   // (M)
  float* total_max = nullptr;  // (M)
  float* total_sum = nullptr;  // (M)
  float* run = nullptr;        // (kMaxRun, k_cols or v_cols + kPadFloats)
};

inline size_t workspace_floats(int64_t rows, int64_t k_cols, int64_t v_cols) {
  return static_cast<size_t>(rows * (k_cols + kKeyTile + 2 * v_cols) + 4 * round_up(rows, 16) +
                             kMaxRun * (larger(k_cols, v_cols) + kPadFloats));
}

size_t workspace_bytes(int64_t rows, int64_t /*num_keys*/, int64_t k_dim, int64_t v_dim) {
  return workspace_floats(rows, round_up(k_dim, kLanes), round_up(v_dim, kLanes)) * sizeof(float);
}

inline Workspace cut_workspace(const AttentionTask& task, void* bytes) {
  Workspace w;
  w.rows = task.num_rows * task.group;
  w.k_cols = round_up(task.keys.k_dim, kLanes);
  w.v_cols = round_up(task.keys.v_dim, kLanes);
  auto* p = static_cast<float*>(bytes);
  w.q = p;
  w.scores = w.q + w.rows * w.k_cols;
  w.acc = w.scores + w.rows * kKeyTile;
  w.total = w.acc + w.rows * w.v_cols;
  w.tile_max = w.total + w.rows * w.v_cols;
  w.tile_sum = w.tile_max + round_up(w.rows, 16);
  w.total_max = w.tile_sum + round_up(w.rows, 16);
  w.total_sum = w.total_max + round_up(w.rows, 16);
  w.run = w.total_sum + round_up(w.rows, 16);
  return w;
}

// Row m = i * group + g of q, scaled, padded with zeros.
void pack_queries(const AttentionTask& task, const Workspace& w) {
  const Vec scale = v_set(task.scale * kLog2E);
  const int64_t dim = task.keys.k_dim;
  const int64_t whole = dim / kLanes * kLanes;
  for (int64_t i = 0; i < task.num_rows; ++i) {
    for (int64_t g = 0; g < task.group; ++g) {
      const float* from = task.q + i * task.q_stride + g * dim;
      float* to = w.q + (i * task.group + g) * w.k_cols;
      for (int64_t d = 0; d < whole; d += kLanes) v_store(to + d, v_mul(scale, v_load(from + d)));
      if (whole < dim) v_store(to + whole, v_mul(scale, v_load_n(from + whole, dim - whole)));
    }
  }
}

// scores of R rows and up to four keys. The unused keys of a short group repeat the last one.
template <int R, typename Load>
inline void score_group(const float* q, int64_t q_stride, const typename Load::Element* k,
                        int64_t k_stride, int64_t num_keys, int64_t cols, float* scores) {
  const auto* k0 = k;
  const auto* k1 = k + (num_keys > 1 ? k_stride : 0);
  const auto* k2 = num_keys > 2 ? k1 + k_stride : k1;
  const auto* k3 = num_keys > 3 ? k2 + k_stride : k2;
  Vec acc[R][4];
  for (int r = 0; r < R; ++r) {
    for (int j = 0; j < 4; ++j) acc[r][j] = v_zero();
  }
  for (int64_t d = 0; d < cols; d += kLanes) {
    const Vec a = Load::at(k0 + d), b = Load::at(k1 + d), c = Load::at(k2 + d),
              e = Load::at(k3 + d);
    for (int r = 0; r < R; ++r) {
      const Vec x = v_load(q + r * q_stride + d);
      acc[r][0] = v_fma(x, a, acc[r][0]);
      acc[r][1] = v_fma(x, b, acc[r][1]);
      acc[r][2] = v_fma(x, c, acc[r][2]);
      acc[r][3] = v_fma(x, e, acc[r][3]);
    }
  }
  for (int r = 0; r < R; ++r) {
    float four[4];
    float* to = num_keys == 4 ? scores + r * kKeyTile : four;
    v_store_sums(to, acc[r][0], acc[r][1], acc[r][2], acc[r][3]);
    for (int64_t j = 0; num_keys < 4 && j < num_keys; ++j) scores[r * kKeyTile + j] = four[j];
  }
}

template <int R, typename Load>
inline void score_rows(const float* q, int64_t q_stride, const typename Load::Element* k,
                       int64_t k_stride, int64_t num_keys, int64_t cols, float* scores) {
  int64_t j = 0;
  for (; j + 4 <= num_keys; j += 4) {
    score_group<R, Load>(q, q_stride, k + j * k_stride, k_stride, 4, cols, scores + j);
  }
  if (j < num_keys) {
    score_group<R, Load>(q, q_stride, k + j * k_stride, k_stride, num_keys - j, cols, scores + j);
  }
}

// scores (M, num_keys of a tile) for all rows.
template <typename Load>
void score_run(const Workspace& w, const void* keys, int64_t k_stride, int64_t num_keys,
               float* scores) {
  const auto* k = static_cast<const typename Load::Element*>(keys);
  int64_t m = 0;
  for (; m + 3 <= w.rows; m += 3) {
    score_rows<3, Load>(w.q + m * w.k_cols, w.k_cols, k, k_stride, num_keys, w.k_cols,
                        scores + m * kKeyTile);
  }
  const float* q = w.q + m * w.k_cols;
  float* to = scores + m * kKeyTile;
  if (w.rows - m == 2) score_rows<2, Load>(q, w.k_cols, k, k_stride, num_keys, w.k_cols, to);
  if (w.rows - m == 1) score_rows<1, Load>(q, w.k_cols, k, k_stride, num_keys, w.k_cols, to);
}

// acc (R rows, N vectors) += p v, keys in ascending order.
template <int R, int N, typename Load>
inline void weigh_group(const float* p, const typename Load::Element* v, int64_t v_stride,
                        int64_t num_keys, float* acc, int64_t acc_stride) {
  Vec sum[R][N];
  for (int r = 0; r < R; ++r) {
    for (int i = 0; i < N; ++i) sum[r][i] = v_load(acc + r * acc_stride + i * kLanes);
  }
  for (int64_t j = 0; j < num_keys; ++j) {
    Vec x[N];
    for (int i = 0; i < N; ++i) x[i] = Load::at(v + j * v_stride + i * kLanes);
    for (int r = 0; r < R; ++r) {
      const Vec weight = v_set(p[r * kKeyTile + j]);
      for (int i = 0; i < N; ++i) sum[r][i] = v_fma(weight, x[i], sum[r][i]);
    }
  }
  for (int r = 0; r < R; ++r) {
    for (int i = 0; i < N; ++i) v_store(acc + r * acc_stride + i * kLanes, sum[r][i]);
  }
}

// One strip of N vectors for all rows.
template <int N, int RowTile, typename Load>
inline void weigh_strip(const Workspace& w, const float* p, const typename Load::Element* v,
                        int64_t v_stride, int64_t num_keys, float* acc) {
  int64_t m = 0;
  for (; m + RowTile <= w.rows; m += RowTile) {
    weigh_group<RowTile, N, Load>(p + m * kKeyTile, v, v_stride, num_keys, acc + m * w.v_cols,
                                  w.v_cols);
  }
  if constexpr (RowTile > 2) {
    if (w.rows - m >= 2) {
      weigh_group<2, N, Load>(p + m * kKeyTile, v, v_stride, num_keys, acc + m * w.v_cols,
                              w.v_cols);
      m += 2;
    }
  }
  if (m < w.rows) {
    weigh_group<1, N, Load>(p + m * kKeyTile, v, v_stride, num_keys, acc + m * w.v_cols,
                            w.v_cols);
  }
}

template <int N, int RowTile, typename Load>
inline int64_t weigh_strips(const Workspace& w, const float* p, const typename Load::Element* v,
                            int64_t v_stride, int64_t num_keys, int64_t col, float* acc) {
  for (; col + N * kLanes <= w.v_cols; col += N * kLanes) {
    weigh_strip<N, RowTile, Load>(w, p, v + col, v_stride, num_keys, acc + col);
  }
  return col;
}

// acc (M, v_cols) += p (M, num_keys) v (num_keys, v_cols).
template <typename Load>
void weigh_run(const Workspace& w, const float* p, const void* values, int64_t v_stride,
               int64_t num_keys, float* acc) {
  const auto* v = static_cast<const typename Load::Element*>(values);
  int64_t col = 0;
  if (w.rows == 1) {
    col = weigh_strips<8, 1, Load>(w, p, v, v_stride, num_keys, col, acc);
  } else if (w.rows == 2) {
    col = weigh_strips<4, 2, Load>(w, p, v, v_stride, num_keys, col, acc);
  } else if (w.rows == 3) {
    col = weigh_strips<4, 3, Load>(w, p, v, v_stride, num_keys, col, acc);
  } else {
    col = weigh_strips<kPvVecs, 4, Load>(w, p, v, v_stride, num_keys, col, acc);
  }
  col = weigh_strips<2, 4, Load>(w, p, v, v_stride, num_keys, col, acc);
  weigh_strips<1, 4, Load>(w, p, v, v_stride, num_keys, col, acc);
}

// Decodes rows of `dim` elements into rows of `cols` floats, `stride` apart, zeros behind.
template <typename Load>
void unpack_rows(const void* rows, int64_t row_stride, int64_t count, int64_t dim, float* out,
                 int64_t stride) {
  using Element = typename Load::Element;
  const auto* from = static_cast<const Element*>(rows);
  const int64_t whole = dim / kLanes * kLanes;
  for (int64_t j = 0; j < count; ++j) {
    const Element* row = from + j * row_stride;
    float* to = out + j * stride;
    for (int64_t d = 0; d < whole; d += kLanes) v_store(to + d, Load::at(row + d));
    if (whole < dim) {
      Element tail[kLanes] = {};
      memcpy(tail, row + whole, static_cast<size_t>(dim - whole) * sizeof(Element));
      v_store(to + whole, Load::at(tail));
    }
  }
}

// The rows as they are stored, or decoded into w.run, whichever is cheaper for M rows.
template <typename Load>
inline const void* usable_rows(const Workspace& w, const void* rows, int64_t* stride,
                               int64_t count, int64_t dim, int64_t cols) {
  if (w.rows <= kDirectRows && dim == cols) return rows;
  unpack_rows<Load>(rows, *stride, count, dim, w.run, cols + kPadFloats);
  *stride = cols + kPadFloats;
  return w.run;
}

template <typename Load>
void score_tile(const AttentionTask& task, const Workspace& w, KeyRange range, int64_t tile_begin) {
  const int64_t limit = w.k_cols <= 128 ? kMaxRun : kMaxRun / 2;
  for (int64_t j = range.begin; j < range.end;) {
    const KeyRun run = key_run(task.keys, j, smaller(limit, range.end - j));
    int64_t stride = run.k_stride;
    const void* k = usable_rows<Load>(w, run.k, &stride, run.count, task.keys.k_dim, w.k_cols);
    float* scores = w.scores + (j - tile_begin);
    if (k == run.k) {
      score_run<Load>(w, k, stride, run.count, scores);
    } else {
      score_run<LoadF32>(w, k, stride, run.count, scores);
    }
    j += run.count;
  }
}

template <typename Load>
void weigh_tile(const AttentionTask& task, const Workspace& w, KeyRange range, int64_t tile_begin) {
  const int64_t limit = w.v_cols <= 128 ? kMaxRun : kMaxRun / 2;
  for (int64_t i = 0; i < w.rows * w.v_cols; i += kLanes) v_store(w.acc + i, v_zero());
  for (int64_t j = range.begin; j < range.end;) {
    const KeyRun run = key_run(task.keys, j, smaller(limit, range.end - j));
    int64_t stride = run.v_stride;
    const void* v = usable_rows<Load>(w, run.v, &stride, run.count, task.keys.v_dim, w.v_cols);
    const float* p = w.scores + (j - tile_begin);
    if (v == run.v) {
      weigh_run<Load>(w, p, v, stride, run.count, w.acc);
    } else {
      weigh_run<LoadF32>(w, p, v, stride, run.count, w.acc);
    }
    j += run.count;
  }
}

// Turns one row's scores into weights over lanes [begin, end) of its tile, of which it sees
// [own.begin, own.end). Sums keep one order: lane by position, groups ascending.
inline void soften_row(float* scores, KeyRange span, KeyRange own, float* max, float* sum) {
  const float lowest = -__builtin_inff();
  const int64_t begin = span.begin / kLanes * kLanes;
  const int64_t end = round_up(span.end, kLanes);
  for (int64_t j = begin; j < own.begin; ++j) scores[j] = lowest;
  for (int64_t j = own.end; j < end; ++j) scores[j] = lowest;
  Vec m = v_set(lowest);
  for (int64_t j = begin; j < end; j += kLanes) m = v_max(m, v_load(scores + j));
  *max = v_max_lane(m);
  const Vec shift = v_set(own.begin < own.end ? *max : 0.0f);
  Vec s = v_zero();
  for (int64_t j = begin; j < end; j += kLanes) {
    const Vec p = v_exp2(v_sub(v_load(scores + j), shift));
    v_store(scores + j, p);
    s = v_add(s, p);
  }
  *sum = v_sum(s);
}

// Tile maximum, sum and weighted values of all rows.
void process_tile(const AttentionTask& task, const Workspace& w, int64_t tile) {
  const int64_t tile_begin = tile * kKeyTile;
  const int64_t tile_end = tile_begin + kKeyTile;
  const KeyRange first = visible_keys(task, task.position);
  const KeyRange last = visible_keys(task, task.position + task.num_rows - 1);
  const KeyRange range{larger(first.begin, tile_begin), smaller(last.end, tile_end)};
  const DType dtype = task.keys.kv != nullptr ? task.keys.kv->dtype : DType::kF32;
  if (dtype == DType::kF16) {
    score_tile<LoadF16>(task, w, range, tile_begin);
  } else if (dtype == DType::kBF16) {
    score_tile<LoadBf16>(task, w, range, tile_begin);
  } else {
    score_tile<LoadF32>(task, w, range, tile_begin);
  }
  const KeyRange span{range.begin - tile_begin, range.end - tile_begin};
  for (int64_t i = 0; i < task.num_rows; ++i) {
    const KeyRange seen = visible_keys(task, task.position + i);
    KeyRange own{larger(seen.begin, range.begin) - tile_begin,
                 smaller(seen.end, range.end) - tile_begin};
    if (own.begin >= own.end) own = {span.end, span.end};
    for (int64_t m = i * task.group; m < (i + 1) * task.group; ++m) {
      soften_row(w.scores + m * kKeyTile, span, own, w.tile_max + m, w.tile_sum + m);
    }
  }
  if (dtype == DType::kF16) {
    weigh_tile<LoadF16>(task, w, range, tile_begin);
  } else if (dtype == DType::kBF16) {
    weigh_tile<LoadBf16>(task, w, range, tile_begin);
  } else {
    weigh_tile<LoadF32>(task, w, range, tile_begin);
  }
}

inline float exp2_one(float x) { return v_first(v_exp2(v_set(x))); }

void begin_total(const Workspace& w) {
  for (int64_t i = 0; i < w.rows * w.v_cols; i += kLanes) v_store(w.total + i, v_zero());
  for (int64_t m = 0; m < w.rows; ++m) {
    w.total_max[m] = -__builtin_inff();
    w.total_sum[m] = 0.0f;
  }
}

// total = total 2^(old - new) + acc 2^(tile - new), row by row; tiles without keys change nothing.
void merge_tile(const Workspace& w, const float* tile_max, const float* tile_sum,
                const float* acc) {
  for (int64_t m = 0; m < w.rows; ++m) {
    const float before = w.total_max[m];
    const float max = tile_max[m] > before ? tile_max[m] : before;
    if (tile_max[m] == -__builtin_inff()) continue;
    const float keep = exp2_one(before - max);
    const float gain = exp2_one(tile_max[m] - max);
    w.total_max[m] = max;
    w.total_sum[m] = __builtin_fmaf(w.total_sum[m], keep, tile_sum[m] * gain);
    const Vec a = v_set(keep);
    const Vec b = v_set(gain);
    float* total = w.total + m * w.v_cols;
    const float* tile = acc + m * w.v_cols;
    for (int64_t d = 0; d < w.v_cols; d += kLanes) {
      v_store(total + d, v_fma(v_load(total + d), a, v_mul(v_load(tile + d), b)));
    }
  }
}

// Adds the sink's share to the sums and writes total / sum.
void write_out(const AttentionTask& task, const Workspace& w) {
  const int64_t dim = task.keys.v_dim;
  const int64_t whole = dim / kLanes * kLanes;
  for (int64_t m = 0; m < w.rows; ++m) {
    const float max = w.total_max[m];
    float scale = 0.0f;
    if (max > -__builtin_inff()) {
      scale = 1.0f / w.total_sum[m];
      if (task.sinks != nullptr) {
        const float sink = task.sinks[m % task.group] * kLog2E;
        const float top = sink > max ? sink : max;
        const float keep = exp2_one(max - top);
        scale = keep / __builtin_fmaf(w.total_sum[m], keep, exp2_one(sink - top));
      }
    }
    const Vec s = v_set(scale);
    const float* total = w.total + m * w.v_cols;
    float* out = task.out + m / task.group * task.out_stride + m % task.group * dim;
    for (int64_t d = 0; d < whole; d += kLanes) v_store(out + d, v_mul(v_load(total + d), s));
    if (whole < dim) v_store_n(out + whole, v_mul(v_load(total + whole), s), dim - whole);
  }
}

void attend(const AttentionTask& task, void* workspace) {
  const Workspace w = cut_workspace(task, workspace);
  pack_queries(task, w);
  begin_total(w);
  const int64_t begin = visible_keys(task, task.position).begin;
  const int64_t end = visible_keys(task, task.position + task.num_rows - 1).end;
  for (int64_t tile = begin / kKeyTile; tile * kKeyTile < end; ++tile) {
    process_tile(task, w, tile);
    merge_tile(w, w.tile_max, w.tile_sum, w.acc);
  }
  write_out(task, w);
}

// A partial is tile_max (M), tile_sum (M), acc (M, v_cols), each on whole cache lines.
int64_t partial_floats(int64_t rows, int64_t v_dim) {
  return 2 * round_up(rows, 16) + round_up(rows * round_up(v_dim, kLanes), 16);
}

void attend_tile(const AttentionTask& task, int64_t tile, float* partial, void* workspace) {
  Workspace w = cut_workspace(task, workspace);
  w.tile_max = partial;
  w.tile_sum = partial + round_up(w.rows, 16);
  w.acc = w.tile_sum + round_up(w.rows, 16);
  pack_queries(task, w);
  process_tile(task, w, tile);
}

void combine(const AttentionTask& task, int64_t num_tiles, const float* partials,
             void* workspace) {
  const Workspace w = cut_workspace(task, workspace);
  begin_total(w);
  const int64_t step = partial_floats(w.rows, task.keys.v_dim);
  const int64_t head = round_up(w.rows, 16);
  for (int64_t t = 0; t < num_tiles; ++t) {
    const float* partial = partials + t * step;
    merge_tile(w, partial, partial + head, partial + 2 * head);
  }
  write_out(task, w);
}

constexpr AttentionKernels kAttentionKernels{
    .block_rows = 60,
    .workspace_bytes = workspace_bytes,
    .attend = attend,
    .partial_floats = partial_floats,
    .attend_tile = attend_tile,
    .combine = combine,
};

}  // namespace
}  // namespace onnuri::ONNURI_ISA
