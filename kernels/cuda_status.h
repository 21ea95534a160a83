// What this build says about CUDA. A build with CUDA provides the same function from kernels/cuda.
#pragma once

#include <string_view>

namespace onnuri {

struct CudaStatus {
  bool available = false;
  std::string_view reason;  // one line for people, empty when available
};

CudaStatus cuda_status();

/// Throws kUnsupported with the reason unless CUDA is available.
void require_cuda();

}  // namespace onnuri
