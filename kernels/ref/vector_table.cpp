#include "kernels/kernel_table.h"
#include "kernels/ref/vector_ref.h"
#include "kernels/vector_kernels.h"

namespace onnuri::ref {

const VectorKernels& vector_kernels() {
  static constexpr VectorKernels kKernels{
      .rms_norm = rms_norm,
      .layer_norm = layer_norm,
      .add_scaled = add_scaled,
      .scale_rows = scale_rows,
      .activate = activate,
      .glu = glu,
      .apply_rope = apply_rope,
      .qk_norm_rope = qk_norm_rope,
      .softmax_rows = softmax_rows,
      .convert_row = convert_row,
      .conv_silu = conv_silu,
      .delta_rule = delta_rule,
  };
  return kKernels;
}

}  // namespace onnuri::ref
