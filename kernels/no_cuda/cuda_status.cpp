#include "kernels/cuda_status.h"

#include "core/check.h"

namespace onnuri {

CudaStatus cuda_status() {
  return {.available = false, .reason = "this build has no CUDA backend"};
}

void require_cuda() {
  fail(ErrorCode::kUnsupported, "expected a CUDA device, found none: ", cuda_status().reason);
}

}  // namespace onnuri
