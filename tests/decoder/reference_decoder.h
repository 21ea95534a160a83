// The decoder once more: plain loops in double, no cache, no shared code with decoder/.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "tests/support/random_decoder.h"

namespace onnuri {

/// Logits (T, V) of one sequence; `positions` (axes, T).
std::vector<double> reference_logits(const DecoderConfig& config,
                                     const RandomDecoderCheckpoint& checkpoint,
                                     std::span<const int32_t> ids,
                                     std::span<const float> positions);

}  // namespace onnuri
