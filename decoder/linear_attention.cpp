// A pass begins with the rows that were read before and are not in the state yet: they are read
// again from the log of the sequence (decoder/kv_cache.h). How rows are cut into passes changes no
// bit: each row of the convolution sees the same rows, and the state takes one row after the other.
#include "decoder/linear_attention.h"

#include <array>
#include <cmath>
#include <cstring>

#include "decoder/kv_cache.h"
#include "kernels/delta_rule.h"
#include "kernels/row_loop.h"

namespace onnuri {
namespace {

// The columns of a row of in(x), in this order.
struct Widths {
  int64_t k, v, heads;
  explicit Widths(const DeltaSpec& d)
      : k(d.num_k_heads * d.k_dim), v(d.num_v_heads * d.v_dim), heads(d.num_v_heads) {}
  int64_t conv() const { return 2 * k + v; }
  int64_t logged() const { return conv() + 2 * heads; }
  int64_t all() const { return logged() + v; }
};

// The rows of all sequences: what is read again of each, then its new ones.
int64_t list_rows(const DeltaSpec& spec, const ConstMatrixView& in, bool computes,
                  std::span<const SequenceSlice> sequences, int64_t layer_index, bool answers,
                  Workspace& ws) {
  const int64_t history = spec.conv_taps - 1, logged = Widths(spec).logged();
  ws.delta_rows.clear();
  ws.delta_sequences.clear();
  ws.states.clear();
  int64_t first_row = 0;
  for (const SequenceSlice& slice : sequences) {
    const StateView state = slice.kv->state(layer_index);
    const int64_t again = slice.start_position - state.folded;
    for (int64_t i = 0; i < history + again; ++i)
      ws.delta_rows.push_back(computes ? state.log + i * logged : nullptr);
    for (int64_t i = 0; i < slice.num_rows; ++i)
      ws.delta_rows.push_back(in.row(slice.first_row + i));
    DeltaSequence s;
    s.first_row = first_row;
    s.num_rows = again + slice.num_rows;
    s.first_out = answers ? again : s.num_rows;
    s.out_row = slice.first_row;
    s.kept_rows = KvSequence::folded_behind(slice.start_position, slice.num_rows) - state.folded;
    s.state = state.state;
    s.next = state.next;
    ws.delta_sequences.push_back(s);
    ws.states.push_back(state);
    first_row += s.num_rows;
  }
  return first_row;
}

// decay and beta of every row, from the numbers behind those of the convolution.
void compute_gates(Backend& backend, const DeltaWeights& weights, const Widths& widths,
                   std::span<const float* const> rows, MatrixView decay, MatrixView beta) {
  const float* rate = weights.rate.f32();
  const float* bias = weights.dt_bias.f32();
  run_rows(backend, decay.rows, 40.0 * static_cast<double>(widths.heads),
           [&](int64_t begin, int64_t end) {
             for (int64_t r = begin; r < end; ++r) {
               const float* b = rows[static_cast<size_t>(r)] + widths.conv();
               const float* a = b + widths.heads;
               for (int64_t h = 0; h < widths.heads; ++h) {
                 const float x = a[h] + bias[h];
                 const float softplus = x > 20.0f ? x : std::log1p(std::exp(x));
                 decay.row(r)[h] = std::exp(rate[h] * softplus);
                 beta.row(r)[h] = 1.0f / (1.0f + std::exp(-b[h]));
               }
             }
           });
}

// What the next pass will read again.
void write_logs(Backend& backend, const DeltaSpec& spec, Workspace& ws) {
  const int64_t history = spec.conv_taps - 1, logged = Widths(spec).logged();
  backend.pool().run(static_cast<int64_t>(ws.states.size()), [&](int64_t i, int) {
    const DeltaSequence& s = ws.delta_sequences[static_cast<size_t>(i)];
    const float* const* rows = ws.delta_rows.data() + s.first_row + i * history;
    float* log = ws.states[static_cast<size_t>(i)].next_log;
    for (int64_t r = s.kept_rows; r < s.num_rows + history; ++r)
      std::memcpy(log + (r - s.kept_rows) * logged, rows[r],
                  static_cast<size_t>(logged) * sizeof(float));
  });
}

// Every head of q and k to length 1, q also divided by sqrt(k_dim): norms of rows whose mean
// square is 1 / k_dim.
void scale_heads(Backend& backend, const DeltaSpec& spec, const Tensor& scale, MatrixView heads) {
  QkNormRope norm;
  norm.norm_weight = scale.f32();
  norm.eps = 1e-6f / static_cast<float>(spec.k_dim);
  qk_norm_rope(backend, norm, spec.num_k_heads, spec.k_dim, heads);
}

}  // namespace

void run_linear_attention(Backend& backend, const DecoderConfig& config, int64_t layer_index,
                          const LayerWeights& weights, std::span<const SequenceSlice> sequences,
                          const QueryRows& query_rows, ConstMatrixView x, Store store,
                          MatrixView out, Workspace& ws) {
  const DeltaSpec& spec = config.delta;
  const DeltaWeights& delta = weights.delta;
  const Widths widths(spec);
  const MatrixView in = ws.get(Buffer::kQkv, x.rows, widths.all());
  linear(backend, x, delta.in, nullptr, in);

  const bool answers = out.rows > 0;
  const int64_t rows = list_rows(spec, in, backend.computes(), sequences, layer_index, answers, ws);
  const MatrixView qkv = ws.get(Buffer::kDeltaQkv, rows, widths.conv());
  const MatrixView gates = ws.get(Buffer::kDeltaGates, rows, 2 * widths.heads);
  const MatrixView decay = columns(gates, 0, widths.heads);
  const MatrixView beta = columns(gates, widths.heads, widths.heads);
  const int64_t history = spec.conv_taps - 1;
  for (size_t i = 0; i < sequences.size(); ++i) {
    const DeltaSequence& s = ws.delta_sequences[i];
    const auto first = static_cast<size_t>(s.first_row + static_cast<int64_t>(i) * history);
    const auto count = static_cast<size_t>(s.num_rows);
    const std::span<const float* const> of_sequence = ws.delta_rows;
    conv_silu(backend, of_sequence.subspan(first, count + static_cast<size_t>(history)),
              delta.conv.f32(), spec.conv_taps,
              {qkv.row(s.first_row), s.num_rows, qkv.cols, qkv.stride});
    compute_gates(backend, delta, widths,
                  of_sequence.subspan(first + static_cast<size_t>(history), count),
                  {decay.row(s.first_row), s.num_rows, decay.cols, decay.stride},
                  {beta.row(s.first_row), s.num_rows, beta.cols, beta.stride});
  }
  const MatrixView q = columns(qkv, 0, widths.k), k = columns(qkv, widths.k, widths.k);
  scale_heads(backend, spec, delta.q_scale, q);
  scale_heads(backend, spec, delta.k_scale, k);
  const MatrixView mixed = ws.get(Buffer::kAttention, answers ? x.rows : 0, widths.v);
  delta_rule(backend, q, k, columns(qkv, 2 * widths.k, widths.v), decay, beta, ws.delta_sequences,
             {spec.num_k_heads, spec.num_v_heads, spec.k_dim, spec.v_dim}, mixed);
  write_logs(backend, spec, ws);
  if (!answers) return;

  const MatrixView heads{mixed.data, mixed.rows * spec.num_v_heads, spec.v_dim, spec.v_dim};
  rms_norm(backend, heads, weights.head_norm.f32(), 0.0f, config.norm_eps, heads);
  gate_silu(backend, columns(in, widths.logged(), widths.v), mixed);
  MatrixView wanted = mixed;
  if (!query_rows.all) {
    wanted = ws.get(Buffer::kQueries, out.rows, widths.v);
    gather(query_rows.subset, mixed, wanted);
  }
  const std::array<LinearTask, 1> task = {
      LinearTask{&weights.o, weights.o_bias.f32(), out, store == Store::kAdd}};
  linear(backend, wanted, task);
}

}  // namespace onnuri
