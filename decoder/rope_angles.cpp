#include "decoder/rope_angles.h"

#include <cmath>

#include "kernels/row_loop.h"

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

void compute_rope_angles(Backend& backend, const RopeTable& table,
                         std::span<const float> positions, int64_t num_rows, RopeAngles& out) {
  constexpr double kAngleNs = 25.0;
  const size_t half = table.inv_freq.size();
  const auto rows = static_cast<size_t>(num_rows);
  out.cos.resize(rows * half);
  out.sin.resize(rows * half);
  run_rows(backend, num_rows, kAngleNs * static_cast<double>(half),
           [&](int64_t begin, int64_t end) {
             for (auto t = static_cast<size_t>(begin); t < static_cast<size_t>(end); ++t) {
               for (size_t j = 0; j < half; ++j) {
                 const auto axis = static_cast<size_t>(rope_axis(table, static_cast<int64_t>(j)));
                 const float position = positions[axis * rows + t];
                 const float angle = position * table.inv_freq[j];
                 out.cos[t * half + j] = std::cos(angle) * table.attention_factor;
                 out.sin[t * half + j] = std::sin(angle) * table.attention_factor;
               }
             }
           });
}

}  // namespace onnuri
