// The attention half of a layer: q, k, v as one product, norm and rope per head, cache, attention,
// gate, output product.
#pragma once

#include "decoder/batch.h"
#include "decoder/decoder_config.h"
#include "decoder/decoder_weights.h"
#include "decoder/rope_angles.h"
#include "decoder/workspace.h"

namespace onnuri {

/// Where a sub-layer puts its rows: over what is there, or on top of it.
enum class Store { kOverwrite, kAdd };

/// The rows of a batch that a layer carries on: all, or those of `subset` in that order.
struct QueryRows {
  bool all = true;
  std::span<const int64_t> subset;
};

/// Writes the layer's new keys and values of all rows x (T, hidden_size) into the caches of the
/// batch, and the result of the query rows into `out` (query rows, hidden_size). `angles` is null
/// for a layer without positions.
void run_attention(Backend& backend, const DecoderConfig& config, int64_t layer_index,
                   const LayerWeights& weights, const RopeAngles* angles,
                   std::span<const SequenceSlice> sequences, const QueryRows& query_rows,
                   ConstMatrixView x, Store store, MatrixView out, Workspace& workspace);

/// Which cache of a layer: KvSequence::layer or KvSequence::index_keys.
using LayerCache = KvView (KvSequence::*)(int64_t layer_index) const;

/// Segments of consecutive queries of one sequence over the cache of a layer; their rows are
/// numbered as in the subset.
void cut_segments(std::span<const SequenceSlice> sequences, const QueryRows& query_rows,
                  int64_t layer_index, LayerCache cache, std::vector<AttentionSegment>& segments);

/// The rows of `source` that are wanted, copied into `out` one after the other.
void gather(std::span<const int64_t> rows, ConstMatrixView source, MatrixView out);

}  // namespace onnuri
