#include "kernels/kernel_table.h"

namespace onnuri::avx2 {

const VectorKernels& vector_kernels() { return ref::vector_kernels(); }
const AttentionKernels& attention_kernels() { return ref::attention_kernels(); }

}  // namespace onnuri::avx2
