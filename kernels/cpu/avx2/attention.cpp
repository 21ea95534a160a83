// Attention for AVX2 with FMA and F16C.
#define ONNURI_ISA avx2
#include "kernels/cpu/attention_impl.h"
#include "kernels/cpu/avx2/vec.h"
#include "kernels/kernel_table.h"

namespace onnuri::avx2 {

const AttentionKernels& attention_kernels() { return kAttentionKernels; }

}  // namespace onnuri::avx2
