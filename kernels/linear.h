// Matrix products with weights packed once at load.
//
// y = x W^T + b, W (N, K) as checkpoints store it. The packed form is chosen by the kernel table:
// float32 stays exact, "auto" keeps the stored precision (block-quantised weights times int8
// activations, 16-bit floats in the fastest form of the CPU).
#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "core/tensor.h"
#include "kernels/backend.h"
#include "kernels/matrix.h"

namespace onnuri {

enum class ComputeType { kFloat32, kAuto };

/// Owner of a packed weight. Move-only. It may look into `source` (a mapped file) when packing
/// would gain nothing; the checkpoint must then outlive it.
class PackedMatrix {
 public:
  PackedMatrix();
  PackedMatrix(PackedMatrix&&) noexcept;
  PackedMatrix& operator=(PackedMatrix&&) noexcept;
  ~PackedMatrix();

  int64_t rows() const;            // N, output features
  int64_t cols() const;            // K, input features
  int64_t resident_bytes() const;  // memory owned, without views into the file
  int64_t streamed_bytes() const;  // read once per product with one row: the bandwidth cost
  bool empty() const { return impl_ == nullptr; }

  struct Impl;
  const Impl& impl() const { return *impl_; }
  explicit PackedMatrix(std::unique_ptr<Impl> impl);

 private:
  std::unique_ptr<Impl> impl_;
};

/// Packs W (N, K) of any DType that holds real numbers. Throws kUnsupported for others.
PackedMatrix pack_matrix(Backend& backend, const TensorView& weight, ComputeType compute);

/// As above from parts stacked along N (q, k, v as one product); all parts share K.
PackedMatrix pack_matrices(Backend& backend, std::span<const TensorView> parts,
                           ComputeType compute);

/// y (M, N) = x (M, K) W^T [+ bias (N)] [+ y when accumulate].
struct LinearTask {
  const PackedMatrix* weight = nullptr;
  const float* bias = nullptr;  // (N) or null
  MatrixView y;                 // (M, N)
  bool accumulate = false;
};

/// Runs products that share x: the activations are prepared once and all tasks share one parallel
/// loop. Each output row depends only on its own input row, in a fixed order of summation: the bits
/// do not change with M, the number of threads, or the other rows.
void linear(Backend& backend, ConstMatrixView x, std::span<const LinearTask> tasks);

/// The single-task form.
void linear(Backend& backend, ConstMatrixView x, const PackedMatrix& weight, const float* bias,
            MatrixView y);

/// Products of different row groups with different weights (mixture of experts). Group g owns rows
/// [offsets[g], offsets[g+1]) of x and y and uses weights[g]; empty groups are skipped.
void linear_grouped(Backend& backend, ConstMatrixView x, std::span<const int64_t> offsets,
                    std::span<const PackedMatrix* const> weights,
                    std::span<const float* const> biases, MatrixView y);

/// Decodes any real DType into float32, exactly as the format defines it.
void dequantize(const TensorView& source, float* out);

/// out (ids.size(), cols) = the rows `ids` of table (rows, cols), decoded. Ids are checked.
void gather_rows(Backend& backend, const TensorView& table, std::span<const int32_t> ids,
                 MatrixView out);

/// W (Cout, Cin, K) of a convolution as (Cout, K * Cin) float32, so that conv1d is a product over
/// rows of neighbouring frames.
Tensor conv1d_weight_as_matrix(const TensorView& weight);

/// y (T_out, Cout) = conv1d of x (T, Cin), zero padding on both sides.
/// T_out = (T + 2 * padding - kernel) / stride + 1.
void conv1d(Backend& backend, ConstMatrixView x, const PackedMatrix& weight, const float* bias,
            int64_t kernel, int64_t stride, int64_t padding, MatrixView y);

}  // namespace onnuri
