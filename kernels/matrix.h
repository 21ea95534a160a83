// Float32 matrices as kernels see them: rows of `cols` values, `stride` apart.
#pragma once

#include <cstdint>

namespace onnuri {

struct MatrixView {
  float* data = nullptr;
  int64_t rows = 0;
  int64_t cols = 0;
  int64_t stride = 0;  // in elements, >= cols
  float* row(int64_t r) const { return data + r * stride; }
};

struct ConstMatrixView {
  const float* data = nullptr;
  int64_t rows = 0;
  int64_t cols = 0;
  int64_t stride = 0;
  ConstMatrixView() = default;
  ConstMatrixView(const float* d, int64_t r, int64_t c, int64_t s)
      : data(d), rows(r), cols(c), stride(s) {}
  ConstMatrixView(const MatrixView& m)  // NOLINT(google-explicit-constructor)
      : data(m.data), rows(m.rows), cols(m.cols), stride(m.stride) {}
  const float* row(int64_t r) const { return data + r * stride; }
};

inline MatrixView matrix(float* data, int64_t rows, int64_t cols) {
  return {data, rows, cols, cols};
}
inline ConstMatrixView matrix(const float* data, int64_t rows, int64_t cols) {
  return {data, rows, cols, cols};
}

/// Columns [begin, begin + count) of every row.
inline MatrixView columns(const MatrixView& m, int64_t begin, int64_t count) {
  return {m.data + begin, m.rows, count, m.stride};
}

}  // namespace onnuri
