// Attention for AVX-512.
#define ONNURI_ISA avx512
#include "kernels/cpu/avx512/vec.h"
// The loops below are written for the vectors above.
#include "kernels/cpu/attention_impl.h"
#include "kernels/kernel_table.h"

namespace onnuri::avx512 {

const AttentionKernels& attention_kernels() { return kAttentionKernels; }

}  // namespace onnuri::avx512
