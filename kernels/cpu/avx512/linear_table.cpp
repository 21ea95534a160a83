// The AVX-512 matrix products and the preparation of their inputs.
#include "kernels/cpu/avx2/prepare_int8.h"
#include "kernels/cpu/avx512/linear_avx512.h"
#include "kernels/kernel_table.h"
#include "kernels/ref/linear.h"

namespace onnuri::avx512 {
namespace {

ActivationKind activation_kind(WeightFormat format) {
  return format == WeightFormat::kBF16Pairs ? ActivationKind::kBfloat16
                                            : ref::activation_kind(format);
}

int64_t activation_bytes(ActivationKind kind, int64_t cols) {
  if (kind == ActivationKind::kBfloat16) return (cols * 2 + 63) / 64 * 64;
  return ref::activation_bytes(kind, cols);
}

void prepare(ActivationKind kind, const float* x, int64_t cols, std::byte* out) {
  if (kind == ActivationKind::kInt8) {
    avx2::prepare_int8(x, cols, reinterpret_cast<Int8Block*>(out));
    return;
  }
  uint16_t* values = reinterpret_cast<uint16_t*>(out);
  for (int64_t k = 0; k < cols; ++k) values[k] = bfloat16_from_float(x[k]);
  if (cols % 2 != 0) values[cols] = 0;
}

void product(const LinearChunk& c) {
  if (is_quantized(c.format)) {
    product_int8(c);
  } else if (c.format == WeightFormat::kBF16Pairs) {
    product_bfloat16(c);
  } else {
    product_float(c);
  }
}

}  // namespace

const LinearKernels& linear_kernels() {
  static constexpr LinearKernels kKernels = {activation_kind, activation_bytes, prepare, product,
                                             WeightFormat::kBF16Pairs};
  return kKernels;
}

}  // namespace onnuri::avx512
