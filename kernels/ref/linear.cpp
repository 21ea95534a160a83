// Matrix products as plain loops over the packed form.
#include "core/check.h"
#include "kernels/kernel_table.h"
#include "kernels/linear_kernels.h"

namespace onnuri::ref {
namespace {

ActivationKind activation_kind(WeightFormat) { return ActivationKind::kFloat; }

int64_t activation_bytes(ActivationKind, int64_t) { return 0; }

void prepare(ActivationKind, const float*, int64_t, std::byte*) {}

float dot_f32(const std::byte* group, int64_t r, const float* x, int64_t cols) {
  const float* w = reinterpret_cast<const float*>(group);
  float sum = 0.0f;
  for (int64_t k = 0; k < cols; ++k) sum += w[k * kGroupRows + r] * x[k];
  return sum;
}

void product(const LinearChunk& c) {
  for (int64_t m = 0; m < c.num_rows; ++m) {
    const std::byte* x = c.x + m * c.x_stride_bytes;
    for (int64_t n = 0; n < c.num_outputs; ++n) {
      const std::byte* group = c.weights + n / kGroupRows * c.group_bytes;
      float sum = dot_f32(group, n % kGroupRows, reinterpret_cast<const float*>(x), c.cols);
      if (c.bias != nullptr) sum += c.bias[n];
      float* y = c.y + m * c.y_stride + n;
      *y = c.accumulate ? *y + sum : sum;
    }
  }
}

}  // namespace

const LinearKernels& linear_kernels() {
  static constexpr LinearKernels kKernels = {activation_kind, activation_bytes, prepare, product,
                                             WeightFormat::kBF16};
  return kKernels;
}

}  // namespace onnuri::ref
