// Row kernels for AVX-512.
#define ONNURI_ISA avx512
#include "kernels/cpu/avx512/vec.h"
#include "kernels/cpu/vector_impl.h"
#include "kernels/kernel_table.h"

namespace onnuri::avx512 {

const VectorKernels& vector_kernels() { return kVectorKernels; }

}  // namespace onnuri::avx512
