// What this CPU can do, read once from cpuid (and the operating system's saved-state mask).
#pragma once

#include <string>

namespace onnuri {

struct CpuFeatures {
  bool avx2_fma_f16c = false;
  bool avx512 = false;  // F, BW, DQ, VL
  bool avx512_vnni = false;
  bool avx512_bf16 = false;
  bool amx_int8 = false;
  bool neon = false;
  std::string brand;  // "AMD EPYC ..."
  int num_cores = 1;  // that this process may use
};

/// Detects on each call; cheap, no global state.
CpuFeatures detect_cpu_features();

}  // namespace onnuri
