// Rows to logits: the one forward pass of every text decoder.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "core/tensor_source.h"
#include "decoder/batch.h"
#include "decoder/decoder_config.h"
#include "decoder/kv_cache.h"
#include "decoder/rope_angles.h"
#include "kernels/backend.h"
#include "kernels/linear.h"

namespace onnuri {

struct DecoderWeights;
struct LayerWeights;
struct NormGate;
struct QueryRows;
class Workspace;

/// Owns its weights and the activations of one pass: one caller at a time. `backend` must outlive
/// it.
class Decoder {
 public:
  /// Binds and packs all weights of `config` from `source`; `progress` gets [0, 1].
  static std::unique_ptr<Decoder> load(const DecoderConfig& config, TensorSource& source,
                                       Backend& backend, ComputeType compute,
                                       const std::function<void(double)>& progress);
  ~Decoder();

  const DecoderConfig& config() const { return config_; }
  int64_t weight_bytes() const;  // resident or mapped
  /// Of one of `num_ranks` devices: DecoderWeights::rank_bytes.
  int64_t rank_weight_bytes(int64_t num_ranks) const;
  int64_t streamed_bytes_per_token() const;
  /// Of the embedding table, which is read from the file as it is.
  int64_t mapped_bytes() const;
  /// Of the activations of the largest pass so far.
  int64_t workspace_bytes() const;

  /// Runs the batch, appends to the caches of its sequences, and writes the logits of
  /// batch.logit_rows, (logit_rows.size() or num_logits, vocab_size). Slices follow one another and
  /// cover all rows; each starts where its cache ends, and the cache must have room (kOutOfMemory).
  /// Ids of overridden rows are not looked at. On an error no cache has advanced.
  void forward(const Batch& batch, MatrixView logits);

  /// Whether the module that guesses the token after next was loaded.
  bool has_draft() const { return draft_config_.num_layers() > 0; }
  /// The module alone, as a KvCache for it needs to know it.
  const DecoderConfig& draft_config() const { return draft_config_; }
  /// One pass of the module, with the rules of forward. Throws kUnsupported without a module.
  void draft(const DraftBatch& batch, MatrixView logits);

  /// The rows that `ids` embed to, (n, hidden_size), scaled.
  void embed(std::span<const int32_t> ids, MatrixView out);

 private:
  Decoder(const DecoderConfig& config, Backend& backend);
  void check(const Batch& batch, const MatrixView& logits) const;
  void add_rows(const Batch& batch, int64_t layer, std::span<const int64_t> rows,
                MatrixView hidden);
  void embed_batch(const Batch& batch, MatrixView hidden);
  void check_rows(int64_t rows, size_t num_positions, std::span<const SequenceSlice> sequences,
                  std::span<const int64_t> logit_rows, const MatrixView& hidden_out,
                  const MatrixView& logits, int64_t num_logits) const;
  void check_wanted(int64_t rows, std::span<const int64_t> logit_rows, const MatrixView& hidden_out,
                    const MatrixView& logits, int64_t num_logits) const;
  void compute_angles(std::span<const float> positions, int64_t rows);
  void run_layer(const DecoderConfig& config, int64_t index, const LayerWeights& weights,
                 std::span<const SequenceSlice> sequences, const QueryRows& rows,
                 ConstMatrixView hidden, MatrixView out);
  template <typename SubLayer>
  void add_branch(const Tensor& pre_norm, const NormGate& gate, const Tensor& post_norm,
                  ConstMatrixView hidden, MatrixView out, SubLayer&& sub_layer);
  void apply_norm_gate(const NormGate& gate, MatrixView x);
  void blend_long_skips(int64_t layer_index, MatrixView hidden);
  void finish(const Tensor& norm_weight, const PackedMatrix& head, bool normed_out,
              MatrixView hidden, MatrixView hidden_out, MatrixView logits);
  void norm(const Tensor& weight, ConstMatrixView x, MatrixView y);

  DecoderConfig config_;
  DecoderConfig draft_config_;  // the module's layer alone; no layers without one
  Backend* backend_;
  std::unique_ptr<DecoderWeights> weights_;
  std::unique_ptr<Workspace> workspace_;
  std::vector<RopeAngles> angles_;  // one per rope table, of the current batch
};

}  // namespace onnuri
