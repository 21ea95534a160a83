// A kernel table: one implementation of every op's inner loops, for one instruction set.
//
// The op contracts (ops.h, linear.h) check shapes and split work over threads; a table's functions
// then run one chunk on one thread. `ref` is plain loops and the specification; the others must
// agree with it.
#pragma once

#include <string_view>

#include "core/cpu_features.h"

namespace onnuri {

struct LinearKernels;     // kernels/linear_kernels.h
struct VectorKernels;     // kernels/vector_kernels.h
struct AttentionKernels;  // kernels/attention_kernels.h

struct KernelTable {
  std::string_view name;
  std::string_view description;
  bool (*supported)(const CpuFeatures&);
  const LinearKernels& (*linear)();
  const VectorKernels& (*vector)();
  const AttentionKernels& (*attention)();
};

// Each implementation provides these three accessors in its namespace.
#define ONNURI_DECLARE_KERNELS(isa)            \
  namespace isa {                              \
  const LinearKernels& linear_kernels();       \
  const VectorKernels& vector_kernels();       \
  const AttentionKernels& attention_kernels(); \
  }

ONNURI_DECLARE_KERNELS(ref)
ONNURI_DECLARE_KERNELS(avx2)
ONNURI_DECLARE_KERNELS(avx512)

}  // namespace onnuri
