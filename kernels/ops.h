// The contract of every op that is not a matrix product: meaning, shapes, checks. All values are
// float32 unless a DType says otherwise. Each op runs its table's kernel over the thread pool;
// results do not depend on the number of threads, nor on the other rows of the call.
#pragma once

#include <cstdint>
#include <span>

#include "core/dtype.h"
#include "kernels/backend.h"
#include "kernels/matrix.h"

namespace onnuri {

/// y = x / sqrt(mean(x^2) + eps) * (weight_offset + weight), per row. y may be x.
/// weight (cols) may be null (all ones). Zhang & Sennrich 2019.
void rms_norm(Backend& backend, ConstMatrixView x, const float* weight, float weight_offset,
              float eps, MatrixView y);

/// y = (x - mean) / sqrt(var + eps) * weight + bias, per row; bias may be null. y may be x.
void layer_norm(Backend& backend, ConstMatrixView x, const float* weight, const float* bias,
                float eps, MatrixView y);

/// y += scale * x.
void add_scaled(Backend& backend, ConstMatrixView x, float scale, MatrixView y);

/// x *= scale.
void scale_rows(Backend& backend, float scale, MatrixView x);

enum class Activation {
  kSilu,
  kGeluErf,
  kGeluTanh,
  kQuickGelu,  // x * sigmoid(1.702 x)
  kRelu,
};

/// y = f(x), elementwise. y may be x.
void activate(Backend& backend, Activation kind, ConstMatrixView x, MatrixView y);

/// Gated linear unit. gate_up holds the gate in columns [0, I) and up in [I, 2I); y (M, I).
enum class GluKind {
  kSilu,      // silu(g) * u
  kGeluTanh,  // gelu_tanh(g) * u
  kGeluErf,
  kClampedSilu,  // g = min(g, limit), u = clamp(u, +-limit), silu(g) * u
  kSigmoid,      // sigmoid(g) * u
  kSwigluPlus1,  // g = min(g, limit), u = clamp(u, +-limit), g * sigmoid(alpha g) * (u + 1)
  kPolyNorm,     // (p0 n(g^3) + p1 n(g^2) + p2 n(g) + p3) * u, n(z) = z / sqrt(mean(z^2) + 1e-6)
                 // with the mean over the row (arXiv 2411.03884)
};
inline constexpr float kPolyNormEps = 1e-6f;
struct GluParams {
  GluKind kind = GluKind::kSilu;
  float limit = 0.0f;
  float alpha = 1.702f;
  const float* poly = nullptr;  // (4), learned: p0..p3 of kPolyNorm
};
void glu(Backend& backend, const GluParams& params, ConstMatrixView gate_up, MatrixView y);

/// x *= sigmoid(gate), elementwise.
void gate_sigmoid(Backend& backend, ConstMatrixView gate, MatrixView x);
/// x *= silu(gate), elementwise.
void gate_silu(Backend& backend, ConstMatrixView gate, MatrixView x);

/// Rotary embedding in place on `num_heads` heads of every row. x row t holds heads one after the
/// other, `head_dim` apart, starting at column 0; the last may end after its rotating columns. The
/// first `rotary_dim` columns of a head rotate:
/// half layout pairs i with i + rotary_dim/2, pairs layout pairs 2i with 2i+1.
/// cos, sin (rows, rotary_dim / 2). Su et al. 2021.
enum class RopeLayout { kHalf, kPairs };
void apply_rope(Backend& backend, RopeLayout layout, int64_t num_heads, int64_t head_dim,
                int64_t rotary_dim, const float* cos, const float* sin, MatrixView x);

/// RMS norm of every head (weight (head_dim), may be null) followed by rope (cos may be null), as
/// one pass over q or k.
struct QkNormRope {
  const float* norm_weight = nullptr;
  float norm_weight_offset = 0.0f;
  float eps = 1e-6f;
  const float* cos = nullptr;  // (rows, rotary_dim / 2) or null
  const float* sin = nullptr;
  RopeLayout layout = RopeLayout::kHalf;
  int64_t rotary_dim = 0;
};
void qk_norm_rope(Backend& backend, const QkNormRope& params, int64_t num_heads, int64_t head_dim,
                  MatrixView x);

/// Every row becomes exp(x - max) / sum, in place.
void softmax_rows(Backend& backend, MatrixView x);

/// Keys and values of one sequence in one layer. The row of position p lives in entry
/// e = p / page_rows of the page table; with `ring`, e is taken modulo num_entries. A page holds
/// (num_kv_heads, page_rows, dim), so a head's rows are contiguous.
struct KvView {
  DType dtype = DType::kF32;            // is_kv_dtype (kernels/kv_rows.h)
  void* k_pages = nullptr;              // (num_pages, num_kv_heads, page_rows, k_dim)
  void* v_pages = nullptr;              // (num_pages, num_kv_heads, page_rows, v_dim)
  const int32_t* page_table = nullptr;  // (num_entries)
  int64_t num_entries = 0;
  bool ring = false;
  int64_t page_rows = 0;
  int64_t num_kv_heads = 0;
  int64_t k_dim = 0;
  int64_t v_dim = 0;
  bool v_in_k = false;  // a row's values are the first v_dim numbers of its key; v_pages is null
  // Heads that one page of keys holds, when the view is of a part of them; 0: num_kv_heads. The
  // view's first head is the one that k_pages points at.
  int64_t k_page_heads = 0;
};

/// Stores rows of k (T, num_kv_heads * k_dim) and v (T, num_kv_heads * v_dim) at positions
/// [start_position, start_position + T), rounding to the cache's type. With v_in_k, v is not read.
void kv_write(Backend& backend, const KvView& kv, int64_t start_position, ConstMatrixView k,
              ConstMatrixView v);

/// One sequence's queries: rows [first_row, first_row + num_rows) of q sit at positions
/// start_position + i and see keys j with j < num_keys, and when causal j <= position, and with a
/// window j > position - window. With `key_lists`, row i sees the keys at the keys_per_row
/// ascending positions key_lists[i * keys_per_row ...] and no others. With `key_ends`, ascending
/// and each beyond its row's position, causal row i sees the keys j < key_ends[i] instead: rows
/// that look ahead inside a block.
struct AttentionSegment {
  int64_t first_row = 0;
  int64_t num_rows = 0;
  int64_t start_position = 0;
  int64_t num_keys = 0;
  KvView kv;
  const int32_t* key_lists = nullptr;  // (num_rows, keys_per_row) or null
  int64_t keys_per_row = 0;
  const int32_t* key_ends = nullptr;  // (num_rows) or null
  int64_t final_keys = 0;  // of select_keys: keys once the whole prompt is there, if more
};
struct AttentionParams {
  int64_t num_heads = 0;  // query heads; a multiple of num_kv_heads
  float scale = 1.0f;
  bool causal = true;
  int64_t window = 0;            // 0: no window; else keys including the query's own position
  const float* sinks = nullptr;  // (num_heads): an extra logit of the softmax, dropped; or null
};
/// out (T, num_heads * v_dim) = softmax(scale q k^T) v for q (T, num_heads * k_dim). Keys are
/// summed in an order fixed by their positions alone, so chunking and batching do not change the
/// bits. A row that sees no key becomes zero; one whose scores or
/// values hold a NaN becomes NaN.
void attention_paged(Backend& backend, ConstMatrixView q,
                     std::span<const AttentionSegment> segments, const AttentionParams& params,
                     MatrixView out);

/// Chooses keys for the rows that see more than top_k of them: those with the largest
/// sum_h weights[h] relu(q_h k), q (T, num_heads * k_dim), weights (T, num_heads), one key head.
/// Writes their positions, ascending, to the row of `chosen` (T, top_k); other rows of it stay as
/// they are. Among equal scores at the edge the choice depends on max(num_keys, final_keys) alone.
/// A row with a score that is not a number has no choice: -1 in all of its row.
struct IndexParams {
  int64_t num_heads = 0;
  int64_t top_k = 0;
};
void select_keys(Backend& backend, ConstMatrixView q, ConstMatrixView weights,
                 std::span<const AttentionSegment> segments, const IndexParams& params,
                 std::span<int32_t> chosen);

/// Attention inside segments of packed rows, of all to all or causal: segment s owns rows
/// [offsets[s], offsets[s+1]). q (T, num_heads * head_dim), k, v as wide or with fewer heads, each
/// shared by neighbouring query heads; encoders use it.
void attention_packed(Backend& backend, ConstMatrixView q, ConstMatrixView k, ConstMatrixView v,
                      std::span<const int64_t> offsets, int64_t num_heads, float scale,
                      MatrixView out, bool causal = false);

}  // namespace onnuri
