#include "kernels/kernel_table.h"

namespace onnuri::avx2 {

const LinearKernels& linear_kernels() { return ref::linear_kernels(); }

}  // namespace onnuri::avx2
