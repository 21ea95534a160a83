// Signal and noise heads are two calls of the common attention over one cache. A page of the cache
// holds the signal keys of all pairs, then their noise keys; and per pair one value of twice the
// width, which fills the same memory:
//
//   k page  signal_0 .. signal_P-1  noise_0 .. noise_P-1     (2 P, page_rows, head_dim)
//   v page  value_0 ........ value_P-1                       (P, page_rows, 2 head_dim)
#include "decoder/differential_attention.h"

#include <array>
#include <vector>

#include "decoder/kv_cache.h"
#include "kernels/kv_rows.h"

namespace onnuri {
namespace {

enum class Half { kSignal, kNoise };

// One half of the keys of a layer, with the values that both halves share.
KvView half_of(KvView kv, Half half) {
  const int64_t pairs = kv.num_kv_heads / 2;
  if (half == Half::kNoise) {
    kv.k_pages =
        static_cast<char*>(kv.k_pages) + pairs * kv.page_rows * kv_row_bytes(kv.dtype, kv.k_dim);
  }
  kv.k_page_heads = kv.num_kv_heads;
  kv.num_kv_heads = pairs;
  kv.v_dim = 2 * kv.v_dim;
  return kv;
}

// The columns of one row of qkv.
struct Widths {
  int64_t signal_q, noise_q, half_k, v;
  explicit Widths(const DecoderConfig& c)
      : signal_q((c.num_heads - c.differential.num_noise_heads) * c.head_dim),
        noise_q(c.differential.num_noise_heads * c.head_dim),
        half_k(c.num_kv_heads / 2 * c.head_dim),
        v(c.num_kv_heads * c.v_dim) {}
  int64_t q() const { return signal_q + noise_q; }
  int64_t k_begin() const { return q(); }
  int64_t v_begin() const { return q() + 2 * half_k; }
  int64_t all() const { return v_begin() + v; }
};

void write_cache(Backend& backend, const Widths& widths, const MatrixView& qkv,
                 std::span<const SequenceSlice> sequences, int64_t layer_index) {
  const MatrixView signal_k = columns(qkv, widths.k_begin(), widths.half_k);
  const MatrixView noise_k = columns(qkv, widths.k_begin() + widths.half_k, widths.half_k);
  const MatrixView v = columns(qkv, widths.v_begin(), widths.v);
  for (const SequenceSlice& slice : sequences) {
    const KvView kv = slice.kv->layer(layer_index);
    kv_write(backend, half_of(kv, Half::kSignal), slice.start_position, rows_of(signal_k, slice),
             rows_of(v, slice));
    KvView noise_keys = half_of(kv, Half::kNoise);
    noise_keys.v_in_k = true;  // the values are there already
    kv_write(backend, noise_keys, slice.start_position, rows_of(noise_k, slice), {});
  }
}

void attend(Backend& backend, const DecoderConfig& config, int64_t window, Half half,
            const MatrixView& queries, Workspace& workspace, MatrixView out) {
  std::vector<AttentionSegment>& halves = workspace.half_segments;
  halves.assign(workspace.segments.begin(), workspace.segments.end());
  for (AttentionSegment& segment : halves) segment.kv = half_of(segment.kv, half);
  AttentionParams params;
  params.num_heads = queries.cols / config.head_dim;
  params.scale = config.attention_scale;
  params.window = window;
  attention_paged(backend, queries, halves, params, out);
}

// signal -= lambda * noise for every signal head of the noise head's group, then the norm.
void combine(Backend& backend, const DecoderConfig& config, const LayerWeights& weights,
             const MatrixView& noise, const MatrixView& signal) {
  const int64_t width = 2 * config.v_dim;
  const int64_t num_noise = config.differential.num_noise_heads;
  const int64_t per_group = config.num_heads / num_noise - 1;
  const ConstMatrixView noise_heads(noise.data, noise.rows * num_noise, width, width);
  for (int64_t s = 0; s < per_group; ++s) {
    const MatrixView heads{signal.data + s * width, signal.rows * num_noise, width,
                           per_group * width};
    add_scaled(backend, noise_heads, -weights.lambda, heads);
  }
  const MatrixView heads{signal.data, signal.rows * num_noise * per_group, width, width};
  rms_norm(backend, heads, weights.head_norm.f32(), 0.0f, config.differential.norm_eps, heads);
}

}  // namespace

void run_differential_attention(Backend& backend, const DecoderConfig& config, int64_t layer_index,
                                const LayerWeights& weights, const RopeAngles* angles,
                                std::span<const SequenceSlice> sequences,
                                const QueryRows& query_rows, ConstMatrixView x, Store store,
                                MatrixView out, Workspace& workspace) {
  const LayerSpec& spec = config.layers[static_cast<size_t>(layer_index)];
  const Widths widths(config);
  const MatrixView qkv = workspace.get(Buffer::kQkv, x.rows, widths.all());
  linear(backend, x, weights.qkv, weights.qkv_bias.f32(), qkv);
  if (angles != nullptr) {
    const RopeTable& table = config.rope_tables[static_cast<size_t>(spec.rope)];
    apply_rope(backend, table.layout, config.num_heads + config.num_kv_heads, config.head_dim,
               table.rotary_dim, angles->cos.data(), angles->sin.data(),
               columns(qkv, 0, widths.v_begin()));
  }
  write_cache(backend, widths, qkv, sequences, layer_index);
  if (out.rows == 0) return;

  MatrixView q = columns(qkv, 0, widths.q());
  if (!query_rows.all) {
    const MatrixView all = q;
    q = workspace.get(Buffer::kQueries, out.rows, widths.q());
    gather(query_rows.subset, all, q);
  }
  cut_segments(sequences, query_rows, layer_index, &KvSequence::layer, workspace.segments);
  const MatrixView signal = workspace.get(Buffer::kAttention, out.rows, 2 * widths.signal_q);
  const MatrixView noise = workspace.get(Buffer::kNoise, out.rows, 2 * widths.noise_q);
  attend(backend, config, spec.window, Half::kSignal, columns(q, 0, widths.signal_q), workspace,
         signal);
  attend(backend, config, spec.window, Half::kNoise, columns(q, widths.signal_q, widths.noise_q),
         workspace, noise);
  combine(backend, config, weights, noise, signal);
  const std::array<LinearTask, 1> task = {
      LinearTask{&weights.o, weights.o_bias.f32(), out, store == Store::kAdd}};
  linear(backend, signal, task);
}

}  // namespace onnuri
