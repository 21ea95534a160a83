#include "decoder/attention.h"

#include <array>

#include "decoder/kv_cache.h"

namespace onnuri {
namespace {

MatrixView columns(const MatrixView& m, int64_t begin, int64_t count) {
  return {m.data + begin, m.rows, count, m.stride};
}

ConstMatrixView rows_of(const MatrixView& m, const SequenceSlice& slice) {
  return {m.row(slice.first_row), slice.num_rows, m.cols, m.stride};
}

}  // namespace

void run_attention(Backend& backend, const DecoderConfig& config, int64_t layer_index,
                   const LayerWeights& weights, const RopeAngles* angles,
                   std::span<const SequenceSlice> sequences, ConstMatrixView x, Store store,
                   MatrixView out, Workspace& workspace) {
  const LayerSpec& spec = config.layers[static_cast<size_t>(layer_index)];
  const int64_t q_width = config.num_heads * config.head_dim;
  const int64_t k_width = config.num_kv_heads * config.head_dim;
  const int64_t v_width = config.num_kv_heads * config.v_dim;

  const MatrixView qkv = workspace.get(Buffer::kQkv, x.rows, q_width + k_width + v_width);
  linear(backend, x, weights.qkv, weights.qkv_bias.f32(), qkv);
  const MatrixView q = columns(qkv, 0, q_width);
  const MatrixView k = columns(qkv, q_width, k_width);
  const MatrixView v = columns(qkv, q_width + k_width, v_width);

  QkNormRope norm_rope;
  norm_rope.eps = config.norm_eps;
  norm_rope.norm_weight_offset = config.norm_form == NormForm::kOnePlusWeight ? 1.0f : 0.0f;
  if (angles != nullptr) {
    const RopeTable& table = config.rope_tables[static_cast<size_t>(spec.rope)];
    norm_rope.cos = angles->cos.data();
    norm_rope.sin = angles->sin.data();
    norm_rope.layout = table.layout;
    norm_rope.rotary_dim = table.rotary_dim;
  }
  if (spec.qk_norm) {
    norm_rope.norm_weight = weights.q_norm.f32();
    qk_norm_rope(backend, norm_rope, config.num_heads, config.head_dim, q);
    norm_rope.norm_weight = weights.k_norm.f32();
    qk_norm_rope(backend, norm_rope, config.num_kv_heads, config.head_dim, k);
  } else if (angles != nullptr) {
    // Heads of k follow those of q: one pass turns both.
    apply_rope(backend, norm_rope.layout, config.num_heads + config.num_kv_heads, config.head_dim,
               norm_rope.rotary_dim, norm_rope.cos, norm_rope.sin,
               columns(qkv, 0, q_width + k_width));
  }

  workspace.segments.clear();
  for (const SequenceSlice& slice : sequences) {
    const KvView kv = slice.kv->layer(layer_index);
    kv_write(backend, kv, slice.start_position, rows_of(k, slice), rows_of(v, slice));
    workspace.segments.push_back({slice.first_row, slice.num_rows, slice.start_position,
                                  slice.start_position + slice.num_rows, kv});
  }
  AttentionParams params;
  params.num_heads = config.num_heads;
  params.scale = config.attention_scale;
  params.window = spec.window;
  params.sinks = weights.sinks.f32();
  const MatrixView mixed =
      workspace.get(Buffer::kAttention, x.rows, config.num_heads * config.v_dim);
  attention_paged(backend, q, workspace.segments, params, mixed);

  const std::array<LinearTask, 1> task = {
      LinearTask{&weights.o, weights.o_bias.f32(), out, store == Store::kAdd}};
  linear(backend, mixed, task);
}

}  // namespace onnuri
