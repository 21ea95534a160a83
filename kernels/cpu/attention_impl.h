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

// Keeps accumulator arrays in registers: every loop over them must vanish.
#ifdef __clang__
#define ONNURI_UNROLL _Pragma("unroll")
#else
#define ONNURI_UNROLL _Pragma("GCC unroll 16")
#endif

namespace onnuri::ONNURI_ISA {
namespace {

constexpr float kLog2E = 1.44269504f;
constexpr int64_t kDirectRows = 3;  // up to here, keys and values are used as they are stored
constexpr int64_t kFewRows = 16;    // up to here, memory may be the limit
constexpr int64_t kMaxRun = 64;
constexpr int64_t kPadFloats = 16;  // keeps rows of a power of two off one cache set

inline int64_t round_up(int64_t n, int64_t unit) { return (n + unit - 1) / unit * unit; }
inline int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
inline int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }

// Rows that are used as they are, or decoded into floats.
struct LoadF32 {
  static constexpr bool kCoded = false;
  using Element = float;
  static Vec at(const float* p) { return v_load(p); }
};
struct LoadF16 {
  static constexpr bool kCoded = false;
  using Element = uint16_t;
  static Vec at(const uint16_t* p) { return v_load_f16(p); }
};
struct LoadBf16 {
  static constexpr bool kCoded = false;
  using Element = uint16_t;
  static Vec at(const uint16_t* p) { return v_load_bf16(p); }
};

// Rows of bytes with scales (kernels/kv_rows.h), always decoded: plain loops, which compilers turn
// into vectors.
struct LoadInt8 {
  static constexpr bool kCoded = true;
  using Element = uint8_t;
  static void decode(const uint8_t* row, int64_t dim, float* out) {
    float scale;
    memcpy(&scale, row, sizeof(scale));
    const auto* codes = reinterpret_cast<const int8_t*>(row + kKvScaleBytes);
    for (int64_t d = 0; d < dim; ++d) out[d] = scale * static_cast<float>(codes[d]);
  }
};
struct LoadFloat8 {
  static constexpr bool kCoded = true;
  using Element = uint8_t;
  // The bits of a byte, moved to a float's place, are 2^-120 of its value.
  static void decode(const uint8_t* row, int64_t dim, float* out) {
    float scale;
    memcpy(&scale, row, sizeof(scale));
    const uint8_t* codes = row + kKvScaleBytes;
    for (int64_t d = 0; d < dim; ++d) {
      const uint32_t byte = codes[d];
      const uint32_t bits = (byte & 0x80u) << 24 | (byte & 0x7fu) << 20;
      float value;
      memcpy(&value, &bits, sizeof(value));
      out[d] = scale * (value * 0x1p120f);
    }
  }
};
struct LoadInt4 {
  static constexpr bool kCoded = true;
  using Element = uint8_t;
  static void decode_group(const uint8_t* group, float* out) {
    uint16_t bits[kLanes] = {};
    memcpy(bits, group, 4);
    float numbers[kLanes];
    v_store(numbers, v_load_f16(bits));
    const float scale = numbers[0], least = numbers[1];
    const uint8_t* codes = group + 4;
    for (int64_t i = 0; i < kKvGroup / 2; ++i) {
      out[i] = least + scale * static_cast<float>(codes[i] & 15);
      out[i + kKvGroup / 2] = least + scale * static_cast<float>(codes[i] >> 4);
    }
  }
  static void decode(const uint8_t* row, int64_t dim, float* out) {
    int64_t d = 0;
    for (; d + kKvGroup <= dim; d += kKvGroup, row += kKvGroupBytes) decode_group(row, out + d);
    if (d == dim) return;
    float last[kKvGroup];
    decode_group(row, last);
    memcpy(out + d, last, static_cast<size_t>(dim - d) * sizeof(float));
  }
};

// One thread's scratch, cut from the caller's bytes.
struct Workspace {
  int64_t rows = 0;            // M
  int64_t k_cols = 0;          // k_dim, whole vectors
  int64_t v_cols = 0;          // v_dim, whole vectors
  float* q = nullptr;          // (M, k_cols)
  float* scores = nullptr;     // (M, kKeyTile)
  float* acc = nullptr;        // (M, v_cols) of one tile
  float* total = nullptr;      // (M, v_cols) of all tiles so far
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

// scores of R rows and four keys at k0..k3; only the first `num_keys` are stored.
template <int R, typename Load>
inline void score_group(const float* q, int64_t q_stride, const typename Load::Element* const* k,
                        int64_t num_keys, int64_t cols, float* scores) {
  const auto *k0 = k[0], *k1 = k[1], *k2 = k[2], *k3 = k[3];
  Vec acc[R][4];
  ONNURI_UNROLL
  for (int r = 0; r < R; ++r) acc[r][0] = acc[r][1] = acc[r][2] = acc[r][3] = v_zero();
  for (int64_t d = 0; d < cols; d += kLanes) {
    const Vec a = Load::at(k0 + d), b = Load::at(k1 + d), c = Load::at(k2 + d),
              e = Load::at(k3 + d);
    ONNURI_UNROLL
    for (int r = 0; r < R; ++r) {
      const Vec x = v_load(q + r * q_stride + d);
      acc[r][0] = v_fma(x, a, acc[r][0]);
      acc[r][1] = v_fma(x, b, acc[r][1]);
      acc[r][2] = v_fma(x, c, acc[r][2]);
      acc[r][3] = v_fma(x, e, acc[r][3]);
    }
  }
  if (num_keys == 4) {
    ONNURI_UNROLL
    for (int r = 0; r < R; ++r) {
      v_store_sums(scores + r * kKeyTile, acc[r][0], acc[r][1], acc[r][2], acc[r][3]);
    }
    return;
  }
  ONNURI_UNROLL
  for (int r = 0; r < R; ++r) {
    float four[4];
    v_store_sums(four, acc[r][0], acc[r][1], acc[r][2], acc[r][3]);
    for (int64_t j = 0; j < num_keys; ++j) scores[r * kKeyTile + j] = four[j];
  }
}

template <int R, typename Load>
inline void score_rows(const float* q, int64_t q_stride, const typename Load::Element* k,
                       int64_t k_stride, int64_t num_keys, int64_t cols, float* scores) {
  for (int64_t j = 0; j < num_keys; j += 4) {
    const int64_t n = smaller(4, num_keys - j);
    const typename Load::Element* rows[4];  // a short group repeats its last key
    for (int64_t i = 0; i < 4; ++i) rows[i] = k + (j + smaller(i, n - 1)) * k_stride;
    score_group<R, Load>(q, q_stride, rows, n, cols, scores + j);
  }
}

// scores (M, num_keys of a tile) for all rows: threes, and a rest of four as two and two, because
// a single row cannot fill the pipeline.
template <typename Load>
void score_run(const Workspace& w, const void* keys, int64_t k_stride, int64_t num_keys,
               float* scores) {
  const auto* k = static_cast<const typename Load::Element*>(keys);
  for (int64_t m = 0; m < w.rows;) {
    const int64_t left = w.rows - m;
    const float* q = w.q + m * w.k_cols;
    float* to = scores + m * kKeyTile;
    if (left == 1) {
      score_rows<1, Load>(q, w.k_cols, k, k_stride, num_keys, w.k_cols, to);
      m += 1;
    } else if (left == 2 || left == 4) {
      score_rows<2, Load>(q, w.k_cols, k, k_stride, num_keys, w.k_cols, to);
      m += 2;
    } else {
      score_rows<3, Load>(q, w.k_cols, k, k_stride, num_keys, w.k_cols, to);
      m += 3;
    }
  }
}

// acc (R rows, N vectors) += p v, keys in ascending order.
template <int R, int N, typename Load>
inline void weigh_group(const float* p, const typename Load::Element* v, int64_t v_stride,
                        int64_t num_keys, float* acc, int64_t acc_stride) {
  Vec sum[R][N];
  ONNURI_UNROLL
  for (int r = 0; r < R; ++r) {
    ONNURI_UNROLL
    for (int i = 0; i < N; ++i) sum[r][i] = v_load(acc + r * acc_stride + i * kLanes);
  }
  for (int64_t j = 0; j < num_keys; ++j) {
    Vec x[N];
    ONNURI_UNROLL
    for (int i = 0; i < N; ++i) x[i] = Load::at(v + j * v_stride + i * kLanes);
    ONNURI_UNROLL
    for (int r = 0; r < R; ++r) {
      const Vec weight = v_set(p[r * kKeyTile + j]);
      ONNURI_UNROLL
      for (int i = 0; i < N; ++i) sum[r][i] = v_fma(weight, x[i], sum[r][i]);
    }
  }
  ONNURI_UNROLL
  for (int r = 0; r < R; ++r) {
    ONNURI_UNROLL
    for (int i = 0; i < N; ++i) v_store(acc + r * acc_stride + i * kLanes, sum[r][i]);
  }
}

// The strips of N vectors from `col` on, for rows [begin, end) in steps of R. Returns the column
// where they end.
template <int R, int N, typename Load>
inline int64_t weigh_strips(const Workspace& w, const float* p, const typename Load::Element* v,
                            int64_t v_stride, int64_t num_keys, KeyRange rows, int64_t col,
                            float* acc) {
  for (; col + N * kLanes <= w.v_cols; col += N * kLanes) {
    for (int64_t m = rows.begin; m < rows.end; m += R) {
      weigh_group<R, N, Load>(p + m * kKeyTile, v + col, v_stride, num_keys,
                              acc + m * w.v_cols + col, w.v_cols);
    }
  }
  return col;
}

// All columns for rows [begin, end): wide strips, then pairs and single vectors.
template <int R, int N, typename Load>
inline void weigh_rows(const Workspace& w, const float* p, const typename Load::Element* v,
                       int64_t v_stride, int64_t num_keys, KeyRange rows, float* acc) {
  int64_t col = weigh_strips<R, N, Load>(w, p, v, v_stride, num_keys, rows, 0, acc);
  col = weigh_strips<R, 2, Load>(w, p, v, v_stride, num_keys, rows, col, acc);
  weigh_strips<R, 1, Load>(w, p, v, v_stride, num_keys, rows, col, acc);
}

// acc (M, v_cols) += p (M, num_keys) v (num_keys, v_cols): fours, then the rest in wider strips.
template <typename Load>
void weigh_run(const Workspace& w, const float* p, const void* values, int64_t v_stride,
               int64_t num_keys, float* acc) {
  const auto* v = static_cast<const typename Load::Element*>(values);
  const int64_t fours = w.rows / 4 * 4;
  const KeyRange rest{fours, w.rows};
  if (fours > 0) weigh_rows<4, kPvVecs, Load>(w, p, v, v_stride, num_keys, {0, fours}, acc);
  switch (w.rows - fours) {
    case 3: weigh_rows<3, kPvVecs, Load>(w, p, v, v_stride, num_keys, rest, acc); break;
    case 2: weigh_rows<2, 4, Load>(w, p, v, v_stride, num_keys, rest, acc); break;
    case 1: weigh_rows<1, 8, Load>(w, p, v, v_stride, num_keys, rest, acc); break;
    default: break;
  }
}

inline void prefetch_row(const void* row, int64_t bytes) {
  for (int64_t b = 0; b < bytes; b += 64) v_prefetch(static_cast<const char*>(row) + b);
}

// Decodes rows of `dim` elements into rows of `cols` floats, `stride` apart, zeros behind.
template <typename Load>
void unpack_rows(const void* rows, int64_t row_stride, int64_t count, int64_t dim, float* out,
                 int64_t stride) {
  using Element = typename Load::Element;
  const auto* from = static_cast<const Element*>(rows);
  const int64_t whole = dim / kLanes * kLanes;
  constexpr int64_t kAhead = 16;
  constexpr auto element_bytes = static_cast<int64_t>(sizeof(Element));
  const bool scattered = row_stride != dim;  // else the processor foresees it by itself
  for (int64_t j = 0; scattered && j < smaller(kAhead, count); ++j) {
    prefetch_row(from + j * row_stride, dim * element_bytes);
  }
  for (int64_t j = 0; j < count; ++j) {
    const Element* row = from + j * row_stride;
    float* to = out + j * stride;
    if constexpr (Load::kCoded) {
      Load::decode(row, dim, to);
      for (int64_t d = dim; d < round_up(dim, kLanes); ++d) to[d] = 0.0f;
      continue;
    } else {
      if (scattered && j + kAhead < count)
        prefetch_row(row + kAhead * row_stride, dim * element_bytes);
      int64_t d = 0;
      for (; d + 4 * kLanes <= whole; d += 4 * kLanes) {
        v_store(to + d, Load::at(row + d));
        v_store(to + d + kLanes, Load::at(row + d + kLanes));
        v_store(to + d + 2 * kLanes, Load::at(row + d + 2 * kLanes));
        v_store(to + d + 3 * kLanes, Load::at(row + d + 3 * kLanes));
      }
      for (; d < whole; d += kLanes) v_store(to + d, Load::at(row + d));
      if (whole < dim) {
        Element tail[kLanes] = {};
        memcpy(tail, row + whole, static_cast<size_t>(dim - whole) * sizeof(Element));
        v_store(to + whole, Load::at(tail));
      }
    }
  }
}

// The rows as they are stored, or decoded into w.run, whichever is cheaper for M rows.
template <typename Load>
inline const void* usable_rows(const Workspace& w, const void* rows, int64_t* stride, int64_t count,
                               int64_t dim, int64_t cols) {
  if (!Load::kCoded && w.rows <= kDirectRows && dim == cols) return rows;
  unpack_rows<Load>(rows, *stride, count, dim, w.run, cols + kPadFloats);
  *stride = cols + kPadFloats;
  return w.run;
}

template <typename Load>
inline void score_usable(const Workspace& w, const void* k, bool as_stored, int64_t stride,
                         int64_t count, float* scores) {
  if constexpr (!Load::kCoded) {
    if (as_stored) return score_run<Load>(w, k, stride, count, scores);
  }
  score_run<LoadF32>(w, k, stride, count, scores);
}

template <typename Load>
inline void weigh_usable(const Workspace& w, const float* p, const void* v, bool as_stored,
                         int64_t stride, int64_t count) {
  if constexpr (!Load::kCoded) {
    if (as_stored) return weigh_run<Load>(w, p, v, stride, count, w.acc);
  }
  weigh_run<LoadF32>(w, p, v, stride, count, w.acc);
}

// Keys [begin, begin + count) of a list, decoded one after the other into w.run.
template <typename Load>
void gather_rows(const AttentionTask& task, const Workspace& w, int64_t begin, int64_t count,
                 bool values) {
  const int64_t dim = values ? task.keys.v_dim : task.keys.k_dim;
  const int64_t stride = (values ? w.v_cols : w.k_cols) + kPadFloats;
  for (int64_t j = 0; j < count;) {
    const KeyRun run = key_run(task.keys, begin + j, count - j);
    unpack_rows<Load>(values ? run.v : run.k, values ? run.v_stride : run.k_stride, run.count, dim,
                      w.run + j * stride, stride);
    j += run.count;
  }
}

template <typename Load>
void score_tile(const AttentionTask& task, const Workspace& w, KeyRange range, int64_t tile_begin) {
  const int64_t limit = w.k_cols <= 128 ? kMaxRun : kMaxRun / 2;
  for (int64_t j = range.begin; task.keys.positions != nullptr && j < range.end; j += limit) {
    const int64_t count = smaller(limit, range.end - j);
    gather_rows<Load>(task, w, j, count, false);
    score_run<LoadF32>(w, w.run, w.k_cols + kPadFloats, count, w.scores + (j - tile_begin));
  }
  if (task.keys.positions != nullptr) return;
  for (int64_t j = range.begin; j < range.end;) {
    const KeyRun run = key_run(task.keys, j, smaller(limit, range.end - j));
    int64_t stride = run.k_stride;
    const void* k = usable_rows<Load>(w, run.k, &stride, run.count, task.keys.k_dim, w.k_cols);
    float* scores = w.scores + (j - tile_begin);
    if (w.rows <= kFewRows) {  // memory is the limit: fetch the values while scoring
      constexpr auto element_bytes = static_cast<int64_t>(sizeof(typename Load::Element));
      for (int64_t i = 0; i < run.count; ++i) {
        prefetch_row(static_cast<const typename Load::Element*>(run.v) + i * run.v_stride,
                     (Load::kCoded ? run.v_stride : task.keys.v_dim) * element_bytes);
      }
    }
    score_usable<Load>(w, k, k == run.k, stride, run.count, scores);
    j += run.count;
  }
}

template <typename Load>
void weigh_tile(const AttentionTask& task, const Workspace& w, KeyRange range, int64_t tile_begin) {
  const int64_t limit = w.v_cols <= 128 ? kMaxRun : kMaxRun / 2;
  for (int64_t i = 0; i < w.rows * w.v_cols; i += kLanes) v_store(w.acc + i, v_zero());
  for (int64_t j = range.begin; task.keys.positions != nullptr && j < range.end; j += limit) {
    const int64_t count = smaller(limit, range.end - j);
    gather_rows<Load>(task, w, j, count, true);
    weigh_run<LoadF32>(w, w.scores + (j - tile_begin), w.run, w.v_cols + kPadFloats, count, w.acc);
  }
  if (task.keys.positions != nullptr) return;
  for (int64_t j = range.begin; j < range.end;) {
    const KeyRun run = key_run(task.keys, j, smaller(limit, range.end - j));
    int64_t stride = run.v_stride;
    const void* v = usable_rows<Load>(w, run.v, &stride, run.count, task.keys.v_dim, w.v_cols);
    const float* p = w.scores + (j - tile_begin);
    weigh_usable<Load>(w, p, v, v == run.v, stride, run.count);
    j += run.count;
  }
}

// Turns one row's scores into weights over lanes [begin, end) of its tile, of which it sees
// [own.begin, own.end). Sums keep one order: lane by position, groups ascending. The maximum may
// lose a score that is not a number, the sum keeps it.
inline void soften_row(float* scores, KeyRange span, KeyRange own, float* max, float* sum) {
  const float lowest = -__builtin_inff();
  const int64_t begin = span.begin / kLanes * kLanes;
  const int64_t end = round_up(span.end, kLanes);
  for (int64_t j = begin; j < own.begin; ++j) scores[j] = lowest;
  for (int64_t j = own.end; j < end; ++j) scores[j] = lowest;
  Vec m = v_set(lowest);
  for (int64_t j = begin; j < end; j += kLanes) m = v_max(m, v_load(scores + j));
  *max = v_max_lane(m);
  const Vec shift = v_set(*max > lowest ? *max : 0.0f);
  Vec s = v_zero();
  for (int64_t j = begin; j < end; j += kLanes) {
    const Vec p = v_exp2(v_sub(v_load(scores + j), shift));
    v_store(scores + j, p);
    s = v_add(s, p);
  }
  *sum = v_sum(s);
}

inline void score_tile_as(DType dtype, const AttentionTask& task, const Workspace& w,
                          KeyRange range, int64_t tile_begin) {
  switch (dtype) {
    case DType::kF16: return score_tile<LoadF16>(task, w, range, tile_begin);
    case DType::kBF16: return score_tile<LoadBf16>(task, w, range, tile_begin);
    case DType::kI8: return score_tile<LoadInt8>(task, w, range, tile_begin);
    case DType::kF8E4M3: return score_tile<LoadFloat8>(task, w, range, tile_begin);
    case DType::kQ4_1: return score_tile<LoadInt4>(task, w, range, tile_begin);
    default: return score_tile<LoadF32>(task, w, range, tile_begin);
  }
}

inline void weigh_tile_as(DType dtype, const AttentionTask& task, const Workspace& w,
                          KeyRange range, int64_t tile_begin) {
  switch (dtype) {
    case DType::kF16: return weigh_tile<LoadF16>(task, w, range, tile_begin);
    case DType::kBF16: return weigh_tile<LoadBf16>(task, w, range, tile_begin);
    case DType::kI8: return weigh_tile<LoadInt8>(task, w, range, tile_begin);
    case DType::kF8E4M3: return weigh_tile<LoadFloat8>(task, w, range, tile_begin);
    case DType::kQ4_1: return weigh_tile<LoadInt4>(task, w, range, tile_begin);
    default: return weigh_tile<LoadF32>(task, w, range, tile_begin);
  }
}

// Tile maximum, sum and weighted values of all rows.
void process_tile(const AttentionTask& task, const Workspace& w, int64_t tile) {
  const int64_t tile_begin = tile * kKeyTile;
  const int64_t tile_end = tile_begin + kKeyTile;
  const KeyRange first = visible_keys(task, task.position);
  const KeyRange last = visible_keys(task, task.position + task.num_rows - 1);
  const KeyRange range{larger(first.begin, tile_begin), smaller(last.end, tile_end)};
  const DType dtype = task.keys.kv != nullptr ? task.keys.kv->dtype : DType::kF32;
  score_tile_as(dtype, task, w, range, tile_begin);
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
  weigh_tile_as(dtype, task, w, range, tile_begin);
}

inline float exp2_one(float x) { return v_first(v_exp2(v_set(x))); }

void begin_total(const Workspace& w) {
  for (int64_t i = 0; i < w.rows * w.v_cols; i += kLanes) v_store(w.total + i, v_zero());
  for (int64_t m = 0; m < w.rows; ++m) {
    w.total_max[m] = -__builtin_inff();
    w.total_sum[m] = 0.0f;
  }
}

// total = total 2^(old - new) + acc 2^(tile - new), row by row; tiles without weight change
// nothing.
void merge_tile(const Workspace& w, const float* tile_max, const float* tile_sum,
                const float* acc) {
  for (int64_t m = 0; m < w.rows; ++m) {
    const float before = w.total_max[m];
    const float max = tile_max[m] > before ? tile_max[m] : before;
    if (tile_sum[m] == 0.0f) continue;
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
    const KeyRange seen = visible_keys(task, task.position + m / task.group);
    // Keys that all score minus infinity have no mean, unless a sink takes all the weight.
    float scale = seen.begin < seen.end && task.sinks == nullptr ? __builtin_nanf("") : 0.0f;
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

// A multiple of 3 and 4, with scores and accumulators in the second cache level.
int64_t block_rows(int64_t k_dim, int64_t v_dim) { return k_dim + v_dim <= 192 ? 120 : 60; }

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

void combine(const AttentionTask& task, int64_t num_tiles, const float* partials, void* workspace) {
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

// Heads are summed in order; the factor that pack_queries adds is the same for all keys.
void index_scores(const AttentionTask& task, const float* weights, int64_t weights_stride,
                  KeyRange range, float* scores, int64_t scores_stride, void* workspace) {
  const Workspace w = cut_workspace(task, workspace);
  pack_queries(task, w);
  for (int64_t tile = range.begin / kKeyTile; tile * kKeyTile < range.end; ++tile) {
    const int64_t begin = tile * kKeyTile;
    const int64_t count = smaller(kKeyTile, range.end - begin);
    score_tile_as(task.keys.kv->dtype, task, w, {begin, begin + count}, begin);
    for (int64_t i = 0; i < task.num_rows; ++i) {
      const float* row = w.scores + i * task.group * kKeyTile;
      float* out = scores + i * scores_stride + begin;
      for (int64_t j = 0; j < count; j += kLanes) {
        Vec sum = v_zero();
        for (int64_t h = 0; h < task.group; ++h) {
          const Vec s = v_max(v_zero(), v_load(row + h * kKeyTile + j));
          sum = v_fma(v_set(weights[i * weights_stride + h]), s, sum);
        }
        if (j + kLanes <= count) {
          v_store(out + j, sum);
        } else {
          v_store_n(out + j, sum, count - j);
        }
      }
    }
  }
}

constexpr AttentionKernels kAttentionKernels{
    .block_rows = block_rows,
    .workspace_bytes = workspace_bytes,
    .attend = attend,
    .index_scores = index_scores,
    .partial_floats = partial_floats,
    .attend_tile = attend_tile,
    .combine = combine,
};

}  // namespace
}  // namespace onnuri::ONNURI_ISA
