#include "decoder/attention.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "decoder/differential_attention.h"
#include "decoder/kv_cache.h"
#include "decoder/latent_attention.h"
#include "decoder/linear_attention.h"

namespace onnuri {

void cut_segments(std::span<const SequenceSlice> sequences, const QueryRows& query_rows,
                  int64_t layer_index, LayerCache cache, std::vector<AttentionSegment>& segments) {
  segments.clear();
  if (query_rows.all) {
    for (const SequenceSlice& s : sequences) {
      segments.push_back({s.first_row, s.num_rows, s.start_position, s.start_position + s.num_rows,
                          (s.kv->*cache)(layer_index)});
      segments.back().final_keys = s.prompt_end;
      segments.back().key_ends = s.visible_ends;
    }
    return;
  }
  int64_t previous = -2;
  const SequenceSlice* slice = nullptr;
  for (size_t i = 0; i < query_rows.subset.size(); ++i) {
    const int64_t row = query_rows.subset[i];
    const bool same_slice =
        slice != nullptr && row >= slice->first_row && row < slice->first_row + slice->num_rows;
    if (same_slice && row == previous + 1) {
      ++segments.back().num_rows;
    } else {
      slice = &*std::find_if(sequences.begin(), sequences.end(), [&](const SequenceSlice& s) {
        return row >= s.first_row && row < s.first_row + s.num_rows;
      });
      segments.push_back(
          {static_cast<int64_t>(i), 1, slice->start_position + row - slice->first_row,
           slice->start_position + slice->num_rows, (slice->kv->*cache)(layer_index)});
      segments.back().final_keys = slice->prompt_end;
      if (slice->visible_ends != nullptr)
        segments.back().key_ends = slice->visible_ends + (row - slice->first_row);
    }
    previous = row;
  }
}

void gather(std::span<const int64_t> rows, ConstMatrixView source, MatrixView out) {
  for (size_t i = 0; i < rows.size(); ++i) {
    std::memcpy(out.row(static_cast<int64_t>(i)), source.row(rows[i]),
                static_cast<size_t>(out.cols) * sizeof(float));
  }
}

void run_attention(Backend& backend, const DecoderConfig& config, int64_t layer_index,
                   const LayerWeights& weights, const RopeAngles* angles,
                   std::span<const SequenceSlice> sequences, const QueryRows& query_rows,
                   ConstMatrixView x, Store store, MatrixView out, Workspace& workspace) {
  const LayerSpec& spec = config.layers[static_cast<size_t>(layer_index)];
  if (spec.mixer == MixerKind::kMla) {
    run_latent_attention(backend, config, layer_index, weights, angles, sequences, query_rows, x,
                         store, out, workspace);
    return;
  }
  if (spec.mixer == MixerKind::kDifferential || spec.mixer == MixerKind::kGroupedDifferential) {
    run_differential_attention(backend, config, layer_index, weights, angles, sequences, query_rows,
                               x, store, out, workspace);
    return;
  }
  if (spec.mixer == MixerKind::kGatedDelta) {
    run_linear_attention(backend, config, layer_index, weights, sequences, query_rows, x, store,
                         out, workspace);
    return;
  }
  const int64_t q_width = config.num_heads * config.head_dim;
  const int64_t k_width = config.num_kv_heads * config.head_dim;
  const int64_t v_width = config.num_kv_heads * config.v_dim;

  const int64_t gate_width = spec.output_gate ? config.num_heads * config.v_dim : 0;

  const MatrixView qkv =
      workspace.get(Buffer::kQkv, x.rows, q_width + k_width + v_width + gate_width);
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

  for (const SequenceSlice& slice : sequences) {
    kv_write(backend, slice.kv->layer(layer_index), slice.start_position, rows_of(k, slice),
             rows_of(v, slice));
  }
  if (out.rows == 0) return;

  MatrixView queries = q;
  if (!query_rows.all) {
    queries = workspace.get(Buffer::kQueries, out.rows, q_width);
    gather(query_rows.subset, q, queries);
  }
  cut_segments(sequences, query_rows, layer_index, &KvSequence::layer, workspace.segments);
  AttentionParams params;
  params.num_heads = config.num_heads;
  params.scale = config.attention_scale;
  params.window = spec.window;
  params.sinks = weights.sinks.f32();
  const MatrixView mixed =
      workspace.get(Buffer::kAttention, out.rows, config.num_heads * config.v_dim);
  attention_paged(backend, queries, workspace.segments, params, mixed);
  if (spec.output_gate) {
    MatrixView gate = columns(qkv, q_width + k_width + v_width, gate_width);
    if (!query_rows.all) {
      const MatrixView all = gate;
      gate = workspace.get(Buffer::kQueries, out.rows, gate_width);
      gather(query_rows.subset, all, gate);
    }
    gate_sigmoid(backend, gate, mixed);
  }

  const std::array<LinearTask, 1> task = {
      LinearTask{&weights.o, weights.o_bias.f32(), out, store == Store::kAdd}};
  linear(backend, mixed, task);
}

}  // namespace onnuri
