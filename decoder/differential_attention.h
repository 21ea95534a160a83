// Differential attention: two softmaxes over the same values, one subtracted from the other. The
// formula stands with DifferentialSpec in decoder_config.h.
// Source: Ye et al. 2024 (arXiv 2410.05258); groups: arXiv 2510.06949.
#pragma once

#include "decoder/attention.h"

namespace onnuri {

/// As run_attention, for layers of the two differential kinds.
void run_differential_attention(Backend& backend, const DecoderConfig& config, int64_t layer_index,
                                const LayerWeights& weights, const RopeAngles* angles,
                                std::span<const SequenceSlice> sequences,
                                const QueryRows& query_rows, ConstMatrixView x, Store store,
                                MatrixView out, Workspace& workspace);

}  // namespace onnuri
