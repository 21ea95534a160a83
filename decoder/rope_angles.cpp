#include "decoder/rope_angles.h"

#include <cmath>

namespace onnuri {

int rope_axis(const RopeTable& table, int64_t index) {
  const std::vector<int64_t>& sections = table.mrope_sections;
  if (sections.empty()) return 0;
  if (table.mrope_interleaved) {
    const int axis = static_cast<int>(index % 3);
    return index < 3 * sections[static_cast<size_t>(axis)] ? axis : 0;
  }
  if (index < sections[0]) return 0;
  return index < sections[0] + sections[1] ? 1 : 2;
}

void compute_rope_angles(const RopeTable& table, std::span<const int32_t> positions,
                         int64_t num_rows, RopeAngles& out) {
  const size_t half = table.inv_freq.size();
  const auto rows = static_cast<size_t>(num_rows);
  out.cos.resize(rows * half);
  out.sin.resize(rows * half);
  for (size_t j = 0; j < half; ++j) {
    const auto axis = static_cast<size_t>(rope_axis(table, static_cast<int64_t>(j)));
    const int32_t* axis_positions = positions.data() + axis * rows;
    for (size_t t = 0; t < rows; ++t) {
      const float angle = static_cast<float>(axis_positions[t]) * table.inv_freq[j];
      out.cos[t * half + j] = std::cos(angle) * table.attention_factor;
      out.sin[t * half + j] = std::sin(angle) * table.attention_factor;
    }
  }
}

}  // namespace onnuri
