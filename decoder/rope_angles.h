// Cosines and sines of the rotary embedding for the rows of one batch.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "decoder/decoder_config.h"
#include "kernels/backend.h"

namespace onnuri {

/// (rows, rotary_dim / 2) each, multiplied by the table's attention factor.
struct RopeAngles {
  std::vector<float> cos;
  std::vector<float> sin;
};

/// Which position axis frequency `index` follows: sections one after the other, or interleaved as
/// T H W T H W ... until a section is used up, then T.
int rope_axis(const RopeTable& table, int64_t index);

/// Fills `out` for positions (num_axes, num_rows). Angles are float32 products.
void compute_rope_angles(Backend& backend, const RopeTable& table, std::span<const float> positions,
                         int64_t num_rows, RopeAngles& out);

}  // namespace onnuri
