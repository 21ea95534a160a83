// Rotary embedding: (a, b) -> (a cos - b sin, b cos + a sin) for every pair.
#include "kernels/ref/vector_ref.h"

namespace onnuri::ref {

void apply_rope(RopeLayout layout, int64_t num_heads, int64_t head_dim, int64_t rotary_dim,
                const float* cos, const float* sin, MatrixView x) {
  const int64_t half = rotary_dim / 2;
  const bool pairs = layout == RopeLayout::kPairs;
  for (int64_t r = 0; r < x.rows; ++r) {
    for (int64_t h = 0; h < num_heads; ++h) {
      float* head = x.row(r) + h * head_dim;
      for (int64_t i = 0; i < half; ++i) {
        float& a = head[pairs ? 2 * i : i];
        float& b = head[pairs ? 2 * i + 1 : i + half];
        const float c = cos[r * half + i];
        const float s = sin[r * half + i];
        const float rotated = a * c - b * s;
        b = b * c + a * s;
        a = rotated;
      }
    }
  }
}

void qk_norm_rope(const QkNormRope& params, int64_t num_heads, int64_t head_dim, MatrixView x) {
  for (int64_t r = 0; r < x.rows; ++r) {
    const MatrixView heads{x.row(r), num_heads, head_dim, head_dim};
    rms_norm(heads, params.norm_weight, params.norm_weight_offset, params.eps, heads);
  }
  if (params.cos != nullptr) {
    apply_rope(params.layout, num_heads, head_dim, params.rotary_dim, params.cos, params.sin, x);
  }
}

}  // namespace onnuri::ref
