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
  for (size_t i = 0; i < angles_.size(); ++i) {
    compute_rope_angles(config_.rope_tables[i], batch.positions, rows, angles_[i]);
  }
  const int64_t last = config_.num_layers() - 1;
  for (int64_t i = 0; i < last; ++i) {
    blend_long_skips(i, hidden);
    run_layer(i, batch, {}, hidden, hidden);
  }
  blend_long_skips(last, hidden);
  // Rows that nobody asks for end here, once the last layer has cached their keys and values.
  const QueryRows wanted_rows{false, batch.logit_rows};
  const MatrixView wanted = workspace_->get(Buffer::kLogitRows, logits.rows, config_.hidden_size);
  gather(batch.logit_rows, hidden, wanted);
  run_layer(last, batch, wanted_rows, hidden, wanted);
  run_head(wanted, logits);
  for (const SequenceSlice& slice : batch.sequences) slice.kv->advance(slice.num_rows);
}

// One layer from the rows `hidden` to the residual stream `out` of the query rows, which holds
// their part of `hidden` already.
void Decoder::run_layer(int64_t index, const Batch& batch, const QueryRows& rows,
                        ConstMatrixView hidden, MatrixView out) {
  const LayerSpec& spec = config_.layers[static_cast<size_t>(index)];
  const LayerWeights& w = weights_->layers[static_cast<size_t>(index)];
  const RopeAngles* angles = spec.rope >= 0 ? &angles_[static_cast<size_t>(spec.rope)] : nullptr;

  add_branch(w.pre_mixer_norm, w.pre_mixer_gate, w.post_mixer_norm, hidden, out,
             [&](ConstMatrixView x, Store store, MatrixView y) {
               run_attention(*backend_, config_, index, w, angles, batch.sequences, rows, x, store,
                             y, *workspace_);
             });
  if (out.rows == 0) return;
  add_branch(w.pre_ffn_norm, w.pre_ffn_gate, w.post_ffn_norm, out, out,
             [&](ConstMatrixView x, Store store, MatrixView y) {
               if (spec.ffn == FfnKind::kMoe) {
                 run_moe(*backend_, config_, spec.activation, w.moe, x, store, y, *workspace_);
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

void Decoder::blend_long_skips(int64_t layer_index, MatrixView hidden) {
  for (size_t i = 0; i < config_.long_skips.size(); ++i) {
    const LongSkip& skip = config_.long_skips[i];
    const bool save = skip.save_before_layer == layer_index;
    const bool blend = skip.blend_before_layer == layer_index;
    if (!save && !blend) continue;
    const MatrixView saved = workspace_->saved(i, hidden.rows, hidden.cols);
    const auto count = static_cast<size_t>(hidden.rows * hidden.cols);
    if (save) std::memcpy(saved.data, hidden.data, count * sizeof(float));
    if (blend) {
      scale_rows(*backend_, 1.0f - skip.saved_weight, hidden);
      add_scaled(*backend_, saved, skip.saved_weight, hidden);
    }
  }
}

void Decoder::run_head(MatrixView hidden, MatrixView logits) {
  if (hidden.rows == 0) return;
  norm(weights_->norm, hidden, hidden);
  linear(*backend_, hidden, weights_->head, nullptr, logits);
  if (config_.logit_scale != 1.0f) scale_rows(*backend_, config_.logit_scale, logits);
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
  if (slice.start_position + slice.num_rows > slice.kv->capacity()) {
    fail(ErrorCode::kOutOfMemory, "expected room for ", slice.start_position + slice.num_rows,
         " tokens in the KV cache, found ", slice.kv->capacity());
  }
}

}  // namespace

void Decoder::check(const Batch& batch, const MatrixView& logits) const {
  const auto rows = static_cast<int64_t>(batch.ids.size());
  const auto num_positions = static_cast<int64_t>(batch.positions.size());
  if (rows == 0) fail(ErrorCode::kInvalidArgument, "expected at least one row, found none");
  if (num_positions != config_.position_axes() * rows) {
    fail(ErrorCode::kInvalidArgument, "expected ", config_.position_axes(), " x ", rows,
         " positions, found ", num_positions);
  }
  int64_t covered = 0;
  for (size_t i = 0; i < batch.sequences.size(); ++i) {
    check_slice(batch.sequences[i], covered, rows);
    covered += batch.sequences[i].num_rows;
    for (size_t j = 0; j < i; ++j) {
      if (batch.sequences[i].kv == batch.sequences[j].kv) {
        fail(ErrorCode::kInvalidArgument, "expected different sequences, found slices ", j, " and ",
             i, " of one");
      }
    }
  }
  if (covered != rows) {
    fail(ErrorCode::kInvalidArgument, "expected slices over ", rows, " rows, found ", covered);
  }
  for (const RowOverride& o : batch.overrides) {
    if (o.row < 0 || o.features.rows > rows - o.row || o.features.cols != config_.hidden_size) {
      fail(ErrorCode::kInvalidArgument, "expected precomputed rows of width ", config_.hidden_size,
           " within ", rows, " rows, found (", o.features.rows, ", ", o.features.cols, ") at row ",
           o.row);
    }
  }
  const auto wanted = static_cast<int64_t>(batch.logit_rows.size());
  if (logits.rows != wanted || (wanted > 0 && logits.cols != config_.vocab_size)) {
    fail(ErrorCode::kInvalidArgument, "expected logits of shape (", wanted, ", ",
         config_.vocab_size, "), found (", logits.rows, ", ", logits.cols, ")");
  }
  for (const int64_t row : batch.logit_rows) {
    if (row < 0 || row >= rows) {
      fail(ErrorCode::kInvalidArgument, "expected a logit row in [0, ", rows, "), found ", row);
    }
  }
}

Decoder::Decoder(const DecoderConfig& config, Backend& backend)
    : config_(config),
      backend_(&backend),
      workspace_(std::make_unique<Workspace>()),
      angles_(config.rope_tables.size()) {}

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

int64_t Decoder::streamed_bytes_per_token() const {
  return weights_->streamed_bytes_per_token(config_);
}

}  // namespace onnuri
