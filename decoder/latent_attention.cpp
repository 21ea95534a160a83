#include "decoder/latent_attention.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <limits>
#include <numeric>

#include "decoder/kv_cache.h"
#include "kernels/attention_kernels.h"

namespace onnuri {
namespace {

// Head-major buffers hold this many (row, head) pairs at a time, whatever the length of a chunk.
constexpr int64_t kBlockPairs = 8192;
// Keys and values of as many heads as fit are expanded at a time.
constexpr int64_t kMaxExpanded = int64_t{1} << 23;  // floats

void copy(const float* from, int64_t count, float* to) {
  std::memcpy(to, from, static_cast<size_t>(count) * sizeof(float));
}

// One layer of one pass.
class LatentLayer {
 public:
  LatentLayer(Backend& backend, const DecoderConfig& config, int64_t index,
              const LayerWeights& weights, const RopeAngles* angles, Workspace& workspace)
      : backend_(backend),
        config_(config),
        mla_(config.mla),
        spec_(config.layers[static_cast<size_t>(index)]),
        index_(index),
        weights_(weights),
        w_(weights.latent),
        angles_(angles),
        ws_(workspace) {}

  void write_cache(std::span<const SequenceSlice> sequences, ConstMatrixView x);
  MatrixView make_queries(const QueryRows& query_rows, ConstMatrixView x, int64_t num_rows);
  void select(std::span<const SequenceSlice> sequences, const QueryRows& query_rows,
              const MatrixView& q);
  MatrixView attend(const MatrixView& q);

 private:
  int64_t query_width() const { return config_.head_dim + (spec_.output_gate ? mla_.v_dim : 0); }
  void norm(const Tensor& weight, const MatrixView& x) {
    const float offset = config_.norm_form == NormForm::kOnePlusWeight ? 1.0f : 0.0f;
    rms_norm(backend_, x, weight.f32(), offset, mla_.norm_eps, x);
  }
  // The first columns of heads that lie `stride` apart.
  void rope(RopeLayout layout, const float* cos, const float* sin, int64_t num_heads,
            int64_t stride, const MatrixView& x) {
    if (angles_ == nullptr) return;
    const RopeTable& table = config_.rope_tables[static_cast<size_t>(spec_.rope)];
    apply_rope(backend_, layout, num_heads, stride, table.rotary_dim, cos, sin, x);
  }
  RopeLayout layout() const {
    return angles_ == nullptr ? RopeLayout::kHalf
                              : config_.rope_tables[static_cast<size_t>(spec_.rope)].layout;
  }
  MatrixView wanted_rows(const QueryRows& query_rows, ConstMatrixView x, int64_t num_rows);
  void make_index_queries(ConstMatrixView x, ConstMatrixView latent);
  bool pays_to_expand() const;
  void split_prompts();
  MatrixView seen_latents(const AttentionSegment& segment, int64_t first, int64_t begin);
  void attend_expanded(const AttentionSegment& segment, const MatrixView& q,
                       const MatrixView& mixed);
  void cut_block(int64_t begin, int64_t count);
  void attend_block(const MatrixView& q, const MatrixView& mixed);
  void make_latent_queries(const MatrixView& q, const MatrixView& latent_q);
  void expand_values(const MatrixView& latent, const MatrixView& mixed);
  std::span<const int64_t> head_offsets(int64_t rows);

  Backend& backend_;
  const DecoderConfig& config_;
  const MlaSpec& mla_;
  const LayerSpec& spec_;
  int64_t index_;
  const LayerWeights& weights_;
  const LatentWeights& w_;
  const RopeAngles* angles_;
  Workspace& ws_;
  const float* query_cos_ = nullptr;  // (query rows, rotary_dim / 2)
  const float* query_sin_ = nullptr;
};

void LatentLayer::write_cache(std::span<const SequenceSlice> sequences, ConstMatrixView x) {
  const MatrixView kv = ws_.get(Buffer::kLatentKv, x.rows, mla_.key_row());
  linear(backend_, x, w_.kv_a, w_.kv_a_bias.f32(), kv);
  norm(w_.kv_a_norm, columns(kv, 0, mla_.kv_lora_rank));
  const float* cos = angles_ != nullptr ? angles_->cos.data() : nullptr;
  const float* sin = angles_ != nullptr ? angles_->sin.data() : nullptr;
  rope(layout(), cos, sin, 1, mla_.qk_rope_dim, columns(kv, mla_.kv_lora_rank, mla_.qk_rope_dim));
  for (const SequenceSlice& s : sequences) {
    kv_write(backend_, s.kv->layer(index_), s.start_position, rows_of(kv, s), {});
  }
  if (!spec_.sparse_index) return;
  const MatrixView k = ws_.get(Buffer::kIndexK, x.rows, mla_.index.head_dim);
  linear(backend_, x, w_.index_k, nullptr, k);
  layer_norm(backend_, k, w_.index_k_norm.f32(), w_.index_k_norm_bias.f32(), mla_.index.norm_eps,
             k);
  rope(RopeLayout::kHalf, cos, sin, 1, mla_.index.head_dim, k);
  for (const SequenceSlice& s : sequences) {
    kv_write(backend_, s.kv->index_keys(index_), s.start_position, rows_of(k, s), {});
  }
}

// The query rows of x, and their angles in query_cos_ and query_sin_.
MatrixView LatentLayer::wanted_rows(const QueryRows& query_rows, ConstMatrixView x,
                                    int64_t num_rows) {
  const MatrixView wanted = ws_.get(Buffer::kQueries, num_rows, x.cols);
  gather(query_rows.subset, x, wanted);
  if (angles_ == nullptr) return wanted;
  const auto half = static_cast<int64_t>(angles_->cos.size()) / x.rows;
  const MatrixView turned = ws_.get(Buffer::kQueryAngles, 2 * num_rows, half);
  const MatrixView cos{turned.data, num_rows, half, half};
  const MatrixView sin{turned.row(num_rows), num_rows, half, half};
  gather(query_rows.subset, matrix(angles_->cos.data(), x.rows, half), cos);
  gather(query_rows.subset, matrix(angles_->sin.data(), x.rows, half), sin);
  query_cos_ = cos.data;
  query_sin_ = sin.data;
  return wanted;
}

// (query rows, num_heads * query_width), rotated.
MatrixView LatentLayer::make_queries(const QueryRows& query_rows, ConstMatrixView x,
                                     int64_t num_rows) {
  query_cos_ = angles_ != nullptr ? angles_->cos.data() : nullptr;
  query_sin_ = angles_ != nullptr ? angles_->sin.data() : nullptr;
  if (!query_rows.all) x = wanted_rows(query_rows, x, num_rows);
  const int64_t width = query_width();
  const MatrixView q = ws_.get(Buffer::kQkv, num_rows, config_.num_heads * width);
  if (mla_.q_lora_rank == 0) {
    linear(backend_, x, w_.q_up, nullptr, q);
  } else {
    // With an output gate the up-projection reads the normed latent and the plain one behind it.
    const int64_t rank = mla_.q_lora_rank;
    const MatrixView input = ws_.get(Buffer::kLatentQ, num_rows, w_.q_up.cols());
    const MatrixView latent = columns(input, 0, rank);
    linear(backend_, x, w_.q_a, w_.q_a_bias.f32(), latent);
    if (spec_.output_gate) {
      for (int64_t t = 0; t < num_rows; ++t) copy(input.row(t), rank, input.row(t) + rank);
    }
    norm(w_.q_a_norm, latent);
    linear(backend_, input, w_.q_up, nullptr, q);
    if (spec_.sparse_index) make_index_queries(x, latent);
  }
  rope(layout(), query_cos_, query_sin_, config_.num_heads, width,
       columns(q, mla_.qk_nope_dim, q.cols - mla_.qk_nope_dim));
  return q;
}

// The indexer's queries come from the normed query latent, its head weights from x.
void LatentLayer::make_index_queries(ConstMatrixView x, ConstMatrixView latent) {
  const IndexSpec& index = mla_.index;
  const MatrixView q = ws_.get(Buffer::kIndexQ, x.rows, index.num_heads * index.head_dim);
  linear(backend_, latent, w_.index_q, nullptr, q);
  rope(RopeLayout::kHalf, query_cos_, query_sin_, index.num_heads, index.head_dim, q);
  linear(backend_, x, w_.index_weights, nullptr,
         ws_.get(Buffer::kIndexWeights, x.rows, index.num_heads));
}

// Gives the segments of rows that see more than top_k keys the list of those that the indexer
// chooses; a segment that passes the limit is cut there.
void LatentLayer::select(std::span<const SequenceSlice> sequences, const QueryRows& query_rows,
                         const MatrixView& q) {
  if (!spec_.sparse_index) return;
  const IndexSpec& index = mla_.index;
  cut_segments(sequences, query_rows, index_, &KvSequence::index_keys, ws_.index_segments);
  int64_t num_rows = 0;
  bool all_keys = true;  // no row sees more than it may keep
  for (const AttentionSegment& s : ws_.index_segments) {
    num_rows += s.num_rows;
    all_keys = all_keys && s.start_position + s.num_rows <= index.top_k;
  }
  if (all_keys) return;
  ws_.chosen_keys.assign(static_cast<size_t>(num_rows * index.top_k), 0);
  select_keys(backend_, ws_.get(Buffer::kIndexQ, num_rows, index.num_heads * index.head_dim),
              ws_.get(Buffer::kIndexWeights, num_rows, index.num_heads), ws_.index_segments,
              {index.num_heads, index.top_k}, ws_.chosen_keys);
  // Scores that are not numbers choose nothing: what such a row attends to is not a number either.
  for (int64_t t = 0; t < num_rows; ++t) {
    int32_t* keys = ws_.chosen_keys.data() + t * index.top_k;
    if (keys[0] >= 0) continue;
    std::iota(keys, keys + index.top_k, 0);
    std::fill_n(q.row(t), q.cols, std::numeric_limits<float>::quiet_NaN());
  }
  ws_.index_segments.clear();
  for (const AttentionSegment& s : ws_.segments) {
    const int64_t dense = std::clamp<int64_t>(index.top_k - s.start_position, 0, s.num_rows);
    AttentionSegment part = s;
    part.num_rows = dense;
    if (dense > 0) ws_.index_segments.push_back(part);
    if (dense == s.num_rows) continue;
    part.first_row += dense;
    part.start_position += dense;
    part.num_rows = s.num_rows - dense;
    part.key_lists = ws_.chosen_keys.data() + part.first_row * index.top_k;
    part.keys_per_row = index.top_k;
    ws_.index_segments.push_back(part);
  }
  std::swap(ws_.segments, ws_.index_segments);
}

// The segments of query rows [begin, begin + count), numbered from `begin`.
void LatentLayer::cut_block(int64_t begin, int64_t count) {
  ws_.block_segments.clear();
  for (const AttentionSegment& whole : ws_.segments) {
    const int64_t first = std::max(begin, whole.first_row);
    const int64_t last = std::min(begin + count, whole.first_row + whole.num_rows);
    if (first >= last) continue;
    AttentionSegment part = whole;
    part.first_row = first - begin;
    part.num_rows = last - first;
    part.start_position += first - whole.first_row;
    if (part.key_lists != nullptr) {
      part.key_lists += (first - whole.first_row) * part.keys_per_row;
    }
    ws_.block_segments.push_back(part);
  }
}

std::span<const int64_t> LatentLayer::head_offsets(int64_t rows) {
  ws_.head_offsets.resize(static_cast<size_t>(config_.num_heads) + 1);
  for (size_t h = 0; h < ws_.head_offsets.size(); ++h) {
    ws_.head_offsets[h] = static_cast<int64_t>(h) * rows;
  }
  return ws_.head_offsets;
}

// latent_q (rows, heads, kv_lora + rope) from q (rows, heads, nope + rope ...).
void LatentLayer::make_latent_queries(const MatrixView& q, const MatrixView& latent_q) {
  const int64_t heads = config_.num_heads;
  const int64_t rank = mla_.kv_lora_rank;
  const int64_t from = query_width();
  const int64_t to = mla_.key_row();
  const bool single = q.rows == 1;  // one row is head-major as it lies
  ConstMatrixView nope(q.data, heads, mla_.qk_nope_dim, from);
  MatrixView latents{latent_q.data, heads, rank, to};
  if (!single) {
    const MatrixView by_head = ws_.get(Buffer::kHeadRows, heads * q.rows, mla_.qk_nope_dim);
    backend_.pool().run(heads, [&](int64_t h, int) {
      for (int64_t t = 0; t < q.rows; ++t) {
        copy(q.row(t) + h * from, mla_.qk_nope_dim, by_head.row(h * q.rows + t));
      }
    });
    nope = by_head;
    latents = ws_.get(Buffer::kHeadLatents, heads * q.rows, rank);
  }
  linear_grouped(backend_, nope, head_offsets(q.rows), w_.key_up_list, {}, latents);
  for (int64_t t = 0; t < q.rows; ++t) {
    for (int64_t h = 0; h < heads; ++h) {
      float* row = latent_q.row(t) + h * to;
      if (!single) copy(latents.row(h * q.rows + t), rank, row);
      copy(q.row(t) + h * from + mla_.qk_nope_dim, mla_.qk_rope_dim, row + rank);
    }
  }
}

// mixed (rows, heads, v) from latent (rows, heads, kv_lora).
void LatentLayer::expand_values(const MatrixView& latent, const MatrixView& mixed) {
  const int64_t heads = config_.num_heads;
  const int64_t rank = mla_.kv_lora_rank;
  if (latent.rows == 1) {
    linear_grouped(backend_, matrix(latent.data, heads, rank), head_offsets(1), w_.value_up_list,
                   {}, matrix(mixed.data, heads, mla_.v_dim));
    return;
  }
  const int64_t rows = latent.rows;
  const MatrixView by_head = ws_.get(Buffer::kHeadLatents, heads * rows, rank);
  backend_.pool().run(heads, [&](int64_t h, int) {
    for (int64_t t = 0; t < rows; ++t) {
      copy(latent.row(t) + h * rank, rank, by_head.row(h * rows + t));
    }
  });
  const MatrixView values = ws_.get(Buffer::kHeadRows, heads * rows, mla_.v_dim);
  linear_grouped(backend_, by_head, head_offsets(rows), w_.value_up_list, {}, values);
  for (int64_t t = 0; t < rows; ++t) {
    for (int64_t h = 0; h < heads; ++h) {
      copy(values.row(h * rows + t), mla_.v_dim, mixed.row(t) + h * mla_.v_dim);
    }
  }
}

void LatentLayer::attend_block(const MatrixView& q, const MatrixView& mixed) {
  const int64_t heads = config_.num_heads;
  const MatrixView latent_q = ws_.get(Buffer::kLatentQueries, q.rows, heads * mla_.key_row());
  make_latent_queries(q, latent_q);
  AttentionParams params;
  params.num_heads = heads;
  params.scale = config_.attention_scale;
  params.window = spec_.window;
  params.sinks = weights_.sinks.f32();
  const MatrixView latent = ws_.get(Buffer::kLatentMixed, q.rows, heads * mla_.kv_lora_rank);
  attention_paged(backend_, latent_q, ws_.block_segments, params, latent);
  expand_values(latent, mixed);
  if (!spec_.output_gate) return;
  for (int64_t h = 0; h < heads; ++h) {
    const MatrixView gate = columns(q, h * query_width() + config_.head_dim, mla_.v_dim);
    gate_sigmoid(backend_, gate, columns(mixed, h * mla_.v_dim, mla_.v_dim));
  }
}

// Scores and mixed values take products over latents, or over the narrower heads once every key
// that is seen has been expanded: per key and head, rank * widths for the block against a
// difference of 2 rank - widths for each of its rows.
bool LatentLayer::pays_to_expand() const {
  return reads_prompts_in_blocks(mla_, spec_.output_gate);
}

// Moves the rows that read expanded keys from segments to expanded_segments. The last row of a
// prompt is never among them: it is often wanted alone.
void LatentLayer::split_prompts() {
  ws_.expanded_segments.clear();
  if (!pays_to_expand()) return;
  for (AttentionSegment& s : ws_.segments) {
    if (s.final_keys == 0 || s.key_lists != nullptr || s.key_ends != nullptr) continue;
    const int64_t limit = (s.final_keys - 1) / mla_.prompt_block * mla_.prompt_block;
    const int64_t count = std::clamp<int64_t>(limit - s.start_position, 0, s.num_rows);
    if (count == 0) continue;
    AttentionSegment head = s;
    head.num_rows = count;
    head.num_keys = s.start_position + count;
    ws_.expanded_segments.push_back(head);
    s.first_row += count;
    s.num_rows -= count;
    s.start_position += count;
  }
  std::erase_if(ws_.segments, [](const AttentionSegment& s) { return s.num_rows == 0; });
}

// The latents of positions [first, num_keys) as float32; zeros before `begin`, which no row sees.
MatrixView LatentLayer::seen_latents(const AttentionSegment& segment, int64_t first,
                                     int64_t begin) {
  const int64_t width = mla_.key_row();
  const MatrixView out = ws_.get(Buffer::kSeenLatents, segment.num_keys - first, width);
  std::fill_n(out.data, (begin - first) * width, 0.0f);
  KeyRows rows;
  rows.kv = &segment.kv;
  rows.k_dim = rows.v_dim = width;
  constexpr int64_t kRun = 64;
  backend_.pool().run((out.rows + kRun - 1) / kRun, [&](int64_t chunk, int) {
    const int64_t end = std::min(out.rows, (chunk + 1) * kRun);
    for (int64_t j = std::max(chunk * kRun, begin - first); j < end;) {
      const KeyRun run = key_run(rows, first + j, end - j);
      const int64_t bytes = kv_row_bytes(segment.kv.dtype, width);
      for (int64_t i = 0; i < run.count; ++i)
        ref::decode_kv_row(segment.kv.dtype, static_cast<const char*>(run.k) + i * bytes, width,
                           out.row(j + i));
      j += run.count;
    }
  });
  return out;
}

// Keys and values of some heads at a time, then attention as if they had been cached.
void LatentLayer::attend_expanded(const AttentionSegment& segment, const MatrixView& q,
                                  const MatrixView& mixed) {
  const int64_t begin =
      spec_.window > 0 ? std::max<int64_t>(0, segment.start_position - spec_.window + 1) : 0;
  // Whole tiles of keys: the order of sums must not depend on where the segment starts.
  const int64_t first_key = begin / kKeyTile * kKeyTile;
  const MatrixView latents = seen_latents(segment, first_key, begin);
  const int64_t keys = latents.rows;
  const int64_t width = config_.head_dim;
  const int64_t heads_at_once =
      std::clamp<int64_t>(kMaxExpanded / (keys * (width + mla_.v_dim)), 1, config_.num_heads);
  const MatrixView k = ws_.get(Buffer::kExpandedKeys, heads_at_once * keys, width);
  const MatrixView v = ws_.get(Buffer::kExpandedValues, heads_at_once * keys, mla_.v_dim);
  const int32_t page = 0;
  AttentionSegment part{0, segment.num_rows, segment.start_position - first_key, keys, {}};
  part.kv.dtype = DType::kF32;
  part.kv.k_pages = k.data;
  part.kv.v_pages = v.data;
  part.kv.page_table = &page;
  part.kv.num_entries = 1;
  part.kv.page_rows = keys;
  part.kv.k_dim = width;
  part.kv.v_dim = mla_.v_dim;
  for (int64_t first = 0; first < config_.num_heads; first += heads_at_once) {
    const int64_t count = std::min(heads_at_once, config_.num_heads - first);
    ws_.tasks.clear();
    for (int64_t h = 0; h < count; ++h) {
      const auto head = static_cast<size_t>(first + h);
      ws_.tasks.push_back(
          {&w_.key_down[head], nullptr, {k.row(h * keys), keys, mla_.qk_nope_dim, width}});
      ws_.tasks.push_back(
          {&w_.value_up[head], nullptr, {v.row(h * keys), keys, mla_.v_dim, mla_.v_dim}});
    }
    linear(backend_, columns(latents, 0, mla_.kv_lora_rank), ws_.tasks);
    backend_.pool().run(count, [&](int64_t h, int) {
      for (int64_t j = 0; j < keys; ++j)
        copy(latents.row(j) + mla_.kv_lora_rank, mla_.qk_rope_dim,
             k.row(h * keys + j) + mla_.qk_nope_dim);
    });
    part.kv.num_kv_heads = count;
    AttentionParams params;
    params.num_heads = count;
    params.scale = config_.attention_scale;
    params.window = spec_.window;
    params.sinks = weights_.sinks.empty() ? nullptr : weights_.sinks.f32() + first;
    attention_paged(
        backend_,
        {q.row(segment.first_row) + first * width, segment.num_rows, count * width, q.stride},
        {&part, 1}, params,
        {mixed.row(segment.first_row) + first * mla_.v_dim, segment.num_rows, count * mla_.v_dim,
         mixed.stride});
  }
}

// The mixed values (query rows, num_heads * v_dim) of all segments. A block writes all of its rows:
// those of expanded segments come after it.
MatrixView LatentLayer::attend(const MatrixView& q) {
  const MatrixView mixed = ws_.get(Buffer::kAttention, q.rows, config_.num_heads * mla_.v_dim);
  split_prompts();
  const int64_t step = std::max<int64_t>(1, kBlockPairs / config_.num_heads);
  for (int64_t begin = 0; begin < q.rows; begin += step) {
    const int64_t count = std::min(step, q.rows - begin);
    cut_block(begin, count);
    if (ws_.block_segments.empty()) continue;
    attend_block({q.row(begin), count, q.cols, q.stride},
                 {mixed.row(begin), count, mixed.cols, mixed.stride});
  }
  for (const AttentionSegment& segment : ws_.expanded_segments) attend_expanded(segment, q, mixed);
  return mixed;
}

}  // namespace

bool reads_prompts_in_blocks(const MlaSpec& mla, bool output_gate) {
  if (output_gate) return false;
  const int64_t rank = mla.kv_lora_rank;
  const int64_t widths = mla.qk_nope_dim + mla.v_dim;
  return rank * widths < mla.prompt_block * (2 * rank - widths);
}

void run_latent_attention(Backend& backend, const DecoderConfig& config, int64_t layer_index,
                          const LayerWeights& weights, const RopeAngles* angles,
                          std::span<const SequenceSlice> sequences, const QueryRows& query_rows,
                          ConstMatrixView x, Store store, MatrixView out, Workspace& workspace) {
  LatentLayer layer(backend, config, layer_index, weights, angles, workspace);
  layer.write_cache(sequences, x);
  if (out.rows == 0) return;
  const MatrixView q = layer.make_queries(query_rows, x, out.rows);
  cut_segments(sequences, query_rows, layer_index, &KvSequence::layer, workspace.segments);
  layer.select(sequences, query_rows, q);
  const MatrixView mixed = layer.attend(q);
  const std::array<LinearTask, 1> task = {
      LinearTask{&weights.o, weights.o_bias.f32(), out, store == Store::kAdd}};
  linear(backend, mixed, task);
}

}  // namespace onnuri
