// The forward pass of every text decoder, on one page:
//
//   h      = embed[id] * embed_scale, media rows put in as they come
//   h     += residual_scale * post_norm?(attention(pre_norm?(h)))        in every layer
//   h     += residual_scale * post_norm?(ffn or experts(pre_norm?(h)))
//   logits = head(norm(h)) * logit_scale                                 for the rows asked for
#include "decoder/decoder.h"

#include <algorithm>
#include <cstring>
#include <string>

#include "core/check.h"
#include "decoder/attention.h"
#include "decoder/decoder_weights.h"
#include "decoder/moe.h"
#include "decoder/workspace.h"

namespace onnuri {

void Decoder::forward(const Batch& batch, MatrixView logits) {
  check(batch, logits);
  const auto rows = static_cast<int64_t>(batch.ids.size());
  const MatrixView hidden = workspace_->get(Buffer::kHidden, rows, config_.hidden_size);
  embed_batch(batch, hidden);
  compute_angles(batch.positions, rows);
  const int64_t last = config_.num_layers() - 1;
  const auto run = [&](int64_t i, const QueryRows& query_rows, MatrixView out) {
    run_layer(config_, i, weights_->layers[static_cast<size_t>(i)], batch.sequences, query_rows,
              hidden, out);
  };
  for (int64_t i = 0; i < last; ++i) {
    blend_long_skips(i, hidden);
    run(i, {}, hidden);
    add_rows(batch, i, {}, hidden);
  }
  blend_long_skips(last, hidden);
  // Rows that nobody asks for end here, once the last layer has cached their keys and values.
  const QueryRows wanted_rows{false, batch.logit_rows};
  const MatrixView wanted = workspace_->get(
      Buffer::kLogitRows, static_cast<int64_t>(batch.logit_rows.size()), config_.hidden_size);
  gather(batch.logit_rows, hidden, wanted);
  run(last, wanted_rows, wanted);
  add_rows(batch, last, batch.logit_rows, wanted);
  finish(weights_->norm, weights_->head, config_.mtp.normed_hidden, wanted, batch.hidden_out,
         logits);
  for (const SequenceSlice& slice : batch.sequences) slice.kv->advance(slice.num_rows);
}

// Without a list of rows, row i of `hidden` is row i of the batch.
void Decoder::add_rows(const Batch& batch, int64_t layer, std::span<const int64_t> rows,
                       MatrixView hidden) {
  for (const RowAddition& a : batch.additions) {
    if (a.layer != layer) continue;
    if (layer < config_.num_layers() - 1) {
      add_scaled(*backend_, a.features, 1.0f,
                 {hidden.row(a.row), a.features.rows, hidden.cols, hidden.stride});
      continue;
    }
    for (size_t i = 0; i < rows.size(); ++i) {
      const int64_t from = rows[i] - a.row;
      if (from < 0 || from >= a.features.rows) continue;
      add_scaled(*backend_, {a.features.row(from), 1, hidden.cols, a.features.stride}, 1.0f,
                 {hidden.row(static_cast<int64_t>(i)), 1, hidden.cols, hidden.stride});
    }
  }
}

// One layer from the rows `hidden` to the residual stream `out` of the query rows, which holds
// their part of `hidden` already.
void Decoder::run_layer(const DecoderConfig& config, int64_t index, const LayerWeights& w,
                        std::span<const SequenceSlice> sequences, const QueryRows& rows,
                        ConstMatrixView hidden, MatrixView out) {
  const LayerSpec& spec = config.layers[static_cast<size_t>(index)];
  const RopeAngles* angles = spec.rope >= 0 ? &angles_[static_cast<size_t>(spec.rope)] : nullptr;

  add_branch(w.pre_mixer_norm, w.pre_mixer_gate, w.post_mixer_norm, hidden, out,
             [&](ConstMatrixView x, Store store, MatrixView y) {
               run_attention(*backend_, config, index, w, angles, sequences, rows, x, store, y,
                             *workspace_);
             });
  if (out.rows == 0) return;
  add_branch(w.pre_ffn_norm, w.pre_ffn_gate, w.post_ffn_norm, out, out,
             [&](ConstMatrixView x, Store store, MatrixView y) {
               if (spec.ffn == FfnKind::kMoe) {
                 run_moe(*backend_, config, spec.activation, w.moe, x, store, y, *workspace_);
               } else {
                 run_ffn(*backend_, spec.activation, w.ffn, x, store, y, *workspace_);
               }
             });
}

// out += residual_scale * post_norm?(sub_layer(pre_norm?(hidden))). Where nothing stands between
// the last product of the sub-layer and the sum, the product adds in place.
template <typename SubLayer>
void Decoder::add_branch(const Tensor& pre_norm, const NormGate& gate, const Tensor& post_norm,
                         ConstMatrixView hidden, MatrixView out, SubLayer&& sub_layer) {
  ConstMatrixView x = hidden;
  if (!pre_norm.empty()) {
    const MatrixView normed = workspace_->get(Buffer::kNormed, hidden.rows, hidden.cols);
    norm(pre_norm, hidden, normed);
    if (!gate.down.empty()) apply_norm_gate(gate, normed);
    x = normed;
    if (post_norm.empty() && config_.residual_scale == 1.0f) {
      sub_layer(x, Store::kAdd, out);
      return;
    }
  }
  const MatrixView branch = workspace_->get(Buffer::kBranch, out.rows, out.cols);
  sub_layer(x, Store::kOverwrite, branch);
  if (out.rows == 0) return;
  if (!post_norm.empty()) norm(post_norm, branch, branch);
  add_scaled(*backend_, branch, config_.residual_scale, out);
}

void Decoder::apply_norm_gate(const NormGate& gate, MatrixView x) {
  const MatrixView narrow = workspace_->get(Buffer::kNormGate, x.rows, config_.norm_gate_rank);
  const MatrixView wide = workspace_->get(Buffer::kBranch, x.rows, x.cols);
  linear(*backend_, x, gate.down, nullptr, narrow);
  activate(*backend_, Activation::kSilu, narrow, narrow);
  linear(*backend_, narrow, gate.up, nullptr, wide);
  gate_sigmoid(*backend_, wide, x);
}

// All that is saved before a layer is saved before anything is blended.
void Decoder::blend_long_skips(int64_t layer_index, MatrixView hidden) {
  const auto saved = [&](size_t i) { return workspace_->saved(i, hidden.rows, hidden.cols); };
  const auto bytes = static_cast<size_t>(hidden.rows * hidden.cols) * sizeof(float);
  for (size_t i = 0; i < config_.long_skips.size(); ++i) {
    if (config_.long_skips[i].save_before_layer != layer_index) continue;
    std::memcpy(saved(i).data, hidden.data, bytes);
  }
  for (size_t i = 0; i < config_.long_skips.size(); ++i) {
    const LongSkip& skip = config_.long_skips[i];
    if (skip.blend_before_layer != layer_index) continue;
    scale_rows(*backend_, 1.0f - skip.saved_weight, hidden);
    add_scaled(*backend_, saved(i), skip.saved_weight, hidden);
  }
}

namespace {

void copy_rows(ConstMatrixView source, MatrixView out) {
  for (int64_t i = 0; i < source.rows; ++i) {
    std::memcpy(out.row(i), source.row(i), static_cast<size_t>(source.cols) * sizeof(float));
  }
}

}  // namespace

void Decoder::compute_angles(std::span<const float> positions, int64_t rows) {
  for (size_t i = 0; i < angles_.size(); ++i) {
    compute_rope_angles(*backend_, config_.rope_tables[i], positions, rows, angles_[i]);
  }
}

// Norm and head of the rows asked for. `hidden` becomes scratch.
void Decoder::finish(const Tensor& norm_weight, const PackedMatrix& head, bool normed_out,
                     MatrixView hidden, MatrixView hidden_out, MatrixView logits) {
  if (hidden.rows == 0) return;
  if (hidden_out.data != nullptr && !normed_out) copy_rows(hidden, hidden_out);
  norm(norm_weight, hidden, hidden);
  if (hidden_out.data != nullptr && normed_out) copy_rows(hidden, hidden_out);
  if (logits.rows == 0) return;
  const ConstMatrixView last{hidden.row(hidden.rows - logits.rows), logits.rows, hidden.cols,
                             hidden.stride};
  linear(*backend_, last, head, nullptr, logits);
  if (config_.logit_scale != 1.0f) scale_rows(*backend_, config_.logit_scale, logits);
}

// One more layer on the rows that join a hidden state with the embedding of the id after it.
void Decoder::draft(const DraftBatch& batch, MatrixView logits) {
  if (!has_draft()) {
    fail(ErrorCode::kUnsupported, "expected a decoder with a prediction module, found none");
  }
  const auto rows = static_cast<int64_t>(batch.next_ids.size());
  check_rows(rows, batch.positions.size(), batch.sequences, batch.logit_rows, batch.hidden_out,
             logits, -1);
  const int64_t width = config_.hidden_size;
  if (batch.hidden.rows != rows || batch.hidden.cols != width) {
    fail(ErrorCode::kInvalidArgument, "expected hidden rows of shape (", rows, ", ", width,
         "), found (", batch.hidden.rows, ", ", batch.hidden.cols, ")");
  }
  const MtpWeights& w = *weights_->mtp;
  const MatrixView joined = workspace_->get(Buffer::kJoined, rows, 2 * width);
  const MatrixView embedded{joined.data, rows, width, joined.stride};
  gather_rows(*backend_, w.embed.empty() ? weights_->embed : w.embed, batch.next_ids, embedded);
  if (config_.embed_scale != 1.0f) scale_rows(*backend_, config_.embed_scale, embedded);
  norm(w.embed_norm, embedded, embedded);
  norm(w.hidden_norm, batch.hidden, {joined.data + width, rows, width, joined.stride});
  const MatrixView hidden = workspace_->get(Buffer::kHidden, rows, width);
  linear(*backend_, joined, w.join, nullptr, hidden);
  compute_angles(batch.positions, rows);
  const MatrixView wanted = workspace_->get(Buffer::kLogitRows, logits.rows, width);
  gather(batch.logit_rows, hidden, wanted);
  run_layer(draft_config_, 0, w.layer, batch.sequences, {false, batch.logit_rows}, hidden, wanted);
  finish(w.norm, w.head.empty() ? weights_->head : w.head, config_.mtp.normed_recursion, wanted,
         batch.hidden_out, logits);
  for (const SequenceSlice& slice : batch.sequences) slice.kv->advance(slice.num_rows);
}

void Decoder::norm(const Tensor& weight, ConstMatrixView x, MatrixView y) {
  const float offset = config_.norm_form == NormForm::kOnePlusWeight ? 1.0f : 0.0f;
  rms_norm(*backend_, x, weight.f32(), offset, config_.norm_eps, y);
}

void Decoder::embed(std::span<const int32_t> ids, MatrixView out) {
  gather_rows(*backend_, weights_->embed, ids, out);
  if (config_.embed_scale != 1.0f) scale_rows(*backend_, config_.embed_scale, out);
}

// Overridden rows embed id 0 first: their placeholder ids may lie outside the vocabulary.
void Decoder::embed_batch(const Batch& batch, MatrixView hidden) {
  std::vector<int32_t>& ids = workspace_->ids;
  ids.assign(batch.ids.begin(), batch.ids.end());
  for (const RowOverride& o : batch.overrides) {
    std::fill_n(ids.begin() + o.row, o.features.rows, 0);
  }
  embed(ids, hidden);
  for (const RowOverride& o : batch.overrides) {
    for (int64_t i = 0; i < o.features.rows; ++i) {
      std::memcpy(hidden.row(o.row + i), o.features.row(i),
                  static_cast<size_t>(hidden.cols) * sizeof(float));
    }
    if (config_.scales_media && config_.embed_scale != 1.0f) {
      scale_rows(*backend_, config_.embed_scale,
                 {hidden.row(o.row), o.features.rows, hidden.cols, hidden.stride});
    }
  }
}

namespace {

void check_slice(const SequenceSlice& slice, int64_t expected_row, int64_t rows) {
  if (slice.kv == nullptr || slice.first_row != expected_row || slice.num_rows < 1 ||
      slice.num_rows > rows - slice.first_row) {
    fail(ErrorCode::kInvalidArgument, "expected a slice from row ", expected_row, " within ", rows,
         " rows, found rows [", slice.first_row, ", +", slice.num_rows, ")");
  }
  if (slice.start_position != slice.kv->num_tokens()) {
    fail(ErrorCode::kInvalidArgument, "expected a slice that starts at position ",
         slice.kv->num_tokens(), ", where its cache ends, found ", slice.start_position);
  }
  if (slice.num_rows > slice.kv->max_chunk()) {
    fail(ErrorCode::kInvalidArgument, "expected at most ", slice.kv->max_chunk(),
         " rows of one sequence in a pass, found ", slice.num_rows);
  }
  for (int64_t i = 0; slice.visible_ends != nullptr && i < slice.num_rows; ++i) {
    const int64_t end = slice.visible_ends[i];
    if (end <= slice.start_position + i || end > slice.start_position + slice.num_rows ||
        (i > 0 && end < slice.visible_ends[i - 1]))
      fail(ErrorCode::kInvalidArgument, "expected ascending ends of what rows see, beyond row ",
           slice.start_position + i, " and inside the pass, found ", end);
  }
  if (slice.start_position + slice.num_rows > slice.kv->capacity()) {
    fail(ErrorCode::kOutOfMemory, "expected room for ", slice.start_position + slice.num_rows,
         " tokens in the KV cache, found ", slice.kv->capacity());
  }
}

}  // namespace

void Decoder::check_wanted(int64_t rows, std::span<const int64_t> logit_rows,
                           const MatrixView& hidden_out, const MatrixView& logits,
                           int64_t num_logits) const {
  const auto wanted = static_cast<int64_t>(logit_rows.size());
  const int64_t answers = num_logits < 0 ? wanted : std::min(wanted, num_logits);
  if (logits.rows != answers || (answers > 0 && logits.cols != config_.vocab_size)) {
    fail(ErrorCode::kInvalidArgument, "expected logits of shape (", answers, ", ",
         config_.vocab_size, "), found (", logits.rows, ", ", logits.cols, ")");
  }
  if (hidden_out.data != nullptr &&
      (hidden_out.rows != wanted || hidden_out.cols != config_.hidden_size)) {
    fail(ErrorCode::kInvalidArgument, "expected hidden rows of shape (", wanted, ", ",
         config_.hidden_size, ") to write, found (", hidden_out.rows, ", ", hidden_out.cols, ")");
  }
  for (const int64_t row : logit_rows) {
    if (row < 0 || row >= rows) {
      fail(ErrorCode::kInvalidArgument, "expected a logit row in [0, ", rows, "), found ", row);
    }
  }
}

void Decoder::check_rows(int64_t rows, size_t num_positions,
                         std::span<const SequenceSlice> sequences,
                         std::span<const int64_t> logit_rows, const MatrixView& hidden_out,
                         const MatrixView& logits, int64_t num_logits) const {
  if (rows == 0) fail(ErrorCode::kInvalidArgument, "expected at least one row, found none");
  if (static_cast<int64_t>(num_positions) != config_.position_axes() * rows) {
    fail(ErrorCode::kInvalidArgument, "expected ", config_.position_axes(), " x ", rows,
         " positions, found ", num_positions);
  }
  int64_t covered = 0;
  for (size_t i = 0; i < sequences.size(); ++i) {
    check_slice(sequences[i], covered, rows);
    covered += sequences[i].num_rows;
    for (size_t j = 0; j < i; ++j) {
      if (sequences[i].kv == sequences[j].kv) {
        fail(ErrorCode::kInvalidArgument, "expected different sequences, found slices ", j, " and ",
             i, " of one");
      }
    }
  }
  if (covered != rows) {
    fail(ErrorCode::kInvalidArgument, "expected slices over ", rows, " rows, found ", covered);
  }
  check_wanted(rows, logit_rows, hidden_out, logits, num_logits);
}

void Decoder::check(const Batch& batch, const MatrixView& logits) const {
  const auto rows = static_cast<int64_t>(batch.ids.size());
  check_rows(rows, batch.positions.size(), batch.sequences, batch.logit_rows, batch.hidden_out,
             logits, batch.num_logits);
  for (const RowOverride& o : batch.overrides) {
    if (o.row < 0 || o.features.rows > rows - o.row || o.features.cols != config_.hidden_size) {
      fail(ErrorCode::kInvalidArgument, "expected precomputed rows of width ", config_.hidden_size,
           " within ", rows, " rows, found (", o.features.rows, ", ", o.features.cols, ") at row ",
           o.row);
    }
  }
  for (const RowAddition& a : batch.additions) {
    if (a.layer < 0 || a.layer >= config_.num_layers() || a.row < 0 ||
        a.features.rows > rows - a.row || a.features.cols != config_.hidden_size) {
      fail(ErrorCode::kInvalidArgument, "expected added rows of width ", config_.hidden_size,
           " within ", rows, " rows and ", config_.num_layers(), " layers, found (",
           a.features.rows, ", ", a.features.cols, ") at row ", a.row, " of layer ", a.layer);
    }
  }
}

Decoder::Decoder(const DecoderConfig& config, Backend& backend)
    : config_(config),
      backend_(&backend),
      workspace_(std::make_unique<Workspace>()),
      angles_(config.rope_tables.size()) {
  draft_config_ = config;
  draft_config_.long_skips.clear();
  draft_config_.layers.clear();
  if (config.mtp.num_layers > 0) draft_config_.layers = {config.mtp.layer};
}

Decoder::~Decoder() = default;

std::unique_ptr<Decoder> Decoder::load(const DecoderConfig& config, TensorSource& source,
                                       Backend& backend, ComputeType compute,
                                       const std::function<void(double)>& progress) {
  config.validate();
  std::unique_ptr<Decoder> decoder(new Decoder(config, backend));
  decoder->weights_ = load_decoder_weights(config, source, backend, compute, progress);
  return decoder;
}

int64_t Decoder::weight_bytes() const { return weights_->num_bytes(); }

int64_t Decoder::rank_weight_bytes(int64_t num_ranks) const {
  return weights_->rank_bytes(config_, num_ranks);
}

int64_t Decoder::mapped_bytes() const { return weights_->embed.num_bytes(); }

int64_t Decoder::workspace_bytes() const { return workspace_->num_bytes(); }

int64_t Decoder::streamed_bytes_per_token() const {
  return weights_->streamed_bytes_per_token(config_);
}

}  // namespace onnuri
