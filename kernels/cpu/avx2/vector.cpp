// Row kernels for AVX2 with FMA and F16C.
#define ONNURI_ISA avx2
#include "kernels/cpu/avx2/vec.h"
#include "kernels/cpu/vector_impl.h"
#include "kernels/kernel_table.h"

namespace onnuri::avx2 {

const VectorKernels& vector_kernels() { return kVectorKernels; }

}  // namespace onnuri::avx2
