// Attention for AVX2 with FMA and F16C.
#define ONNURI_ISA avx2
#include "kernels/cpu/avx2/vec.h"
// The loops below are written for the vectors above.
#include "kernels/cpu/attention_impl.h"
#include "kernels/kernel_table.h"

namespace onnuri::avx2 {

const AttentionKernels& attention_kernels() { return kAttentionKernels; }

}  // namespace onnuri::avx2
