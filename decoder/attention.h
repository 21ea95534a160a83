// The attention half of a layer: q, k, v as one product, norm and rope per head, cache, attention,
// output product.
#pragma once

#include "decoder/batch.h"
#include "decoder/decoder_config.h"
#include "decoder/decoder_weights.h"
#include "decoder/rope_angles.h"
#include "decoder/workspace.h"

namespace onnuri {

/// Where a sub-layer puts its rows: over what is there, or on top of it.
enum class Store { kOverwrite, kAdd };

/// Writes the layer's new keys and values into the caches of the batch and `out` (T, hidden_size)
/// from x (T, hidden_size). `angles` is null for a layer without positions.
void run_attention(Backend& backend, const DecoderConfig& config, int64_t layer_index,
                   const LayerWeights& weights, const RopeAngles* angles,
                   std::span<const SequenceSlice> sequences, ConstMatrixView x, Store store,
                   MatrixView out, Workspace& workspace);

}  // namespace onnuri
