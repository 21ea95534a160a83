// The kernel tables that this machine can run, for tests that call them without a Backend.
#pragma once

#include <random>
#include <string>
#include <vector>

#include "core/cpu_features.h"
#include "kernels/attention_kernels.h"
#include "kernels/kernel_table.h"
#include "kernels/vector_kernels.h"

#ifdef ONNURI_HAVE_EMULATED_AVX512
namespace onnuri {
ONNURI_DECLARE_KERNELS(avx512_emulated)
}  // namespace onnuri
#endif

namespace onnuri {

struct TestTable {
  std::string name;
  const VectorKernels* vector;
  const AttentionKernels* attention;
};

inline std::vector<TestTable> test_tables() {
  std::vector<TestTable> tables = {{"ref", &ref::vector_kernels(), &ref::attention_kernels()}};
#if defined(__x86_64__)
  const CpuFeatures cpu = detect_cpu_features();
  if (cpu.avx2_fma_f16c) {
    tables.push_back({"avx2", &avx2::vector_kernels(), &avx2::attention_kernels()});
  }
#ifdef ONNURI_HAVE_EMULATED_AVX512
  if (cpu.avx2_fma_f16c) {
    tables.push_back({"avx512_emulated", &avx512_emulated::vector_kernels(),
                      &avx512_emulated::attention_kernels()});
  }
#endif
  if (cpu.avx2_fma_f16c && cpu.avx512 && cpu.avx512_vnni && cpu.avx512_bf16) {
    tables.push_back({"avx512", &avx512::vector_kernels(), &avx512::attention_kernels()});
  }
#endif
  return tables;
}

/// Rows of `cols` values inside rows of `stride`, one float off alignment; the gaps hold a marker.
class TestMatrix {
 public:
  TestMatrix(int64_t rows, int64_t cols, int64_t stride)
      : rows_(rows),
        cols_(cols),
        stride_(stride),
        data_(static_cast<size_t>(rows * stride + 1), kMarker) {}

  MatrixView view() { return {data_.data() + 1, rows_, cols_, stride_}; }
  ConstMatrixView view() const { return {data_.data() + 1, rows_, cols_, stride_}; }

  TestMatrix& fill(std::mt19937& random, float scale) {
    std::normal_distribution<float> normal(0.0f, scale);
    for (int64_t r = 0; r < rows_; ++r) {
      for (int64_t c = 0; c < cols_; ++c) view().row(r)[c] = normal(random);
    }
    return *this;
  }
  /// Whether nothing was written between the rows.
  bool gaps_untouched() const {
    for (size_t i = 1; i < data_.size(); ++i) {
      if (static_cast<int64_t>(i - 1) % stride_ >= cols_ && data_[i] != kMarker) return false;
    }
    return data_[0] == kMarker;
  }

 private:
  static constexpr float kMarker = 12345.0f;
  int64_t rows_, cols_, stride_;
  std::vector<float> data_;
};

}  // namespace onnuri
