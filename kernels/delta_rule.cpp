// Checks shapes and shares heads and columns among threads; the maths is in the kernel tables.
#include "kernels/delta_rule.h"

#include <algorithm>

#include "core/check.h"
#include "kernels/kernel_table.h"
#include "kernels/row_loop.h"
#include "kernels/vector_kernels.h"

namespace onnuri {

void conv_silu(Backend& backend, std::span<const float* const> rows, const float* weight,
               int64_t taps, MatrixView y) {
  ONNURI_CHECK(taps >= 1 && static_cast<int64_t>(rows.size()) == y.rows + taps - 1);
  const double row_ns = 1.2 * static_cast<double>(y.cols);
  run_rows(backend, y.rows, row_ns, [&](int64_t begin, int64_t end) {
    backend.table().vector().conv_silu(rows.data() + begin, weight, taps,
                                       {y.row(begin), end - begin, y.cols, y.stride});
  });
}

void delta_rule(Backend& backend, ConstMatrixView q, ConstMatrixView k, ConstMatrixView v,
                ConstMatrixView decay, ConstMatrixView beta,
                std::span<const DeltaSequence> sequences, const DeltaShape& shape, MatrixView out) {
  ONNURI_CHECK(shape.num_k_heads > 0 && shape.num_v_heads % shape.num_k_heads == 0);
  ONNURI_CHECK(q.cols == shape.num_k_heads * shape.k_dim && k.cols == q.cols &&
               k.stride == q.stride);
  ONNURI_CHECK(v.cols == shape.num_v_heads * shape.v_dim);
  ONNURI_CHECK(decay.cols == shape.num_v_heads && beta.cols == decay.cols &&
               beta.stride == decay.stride);
  for (const DeltaSequence& s : sequences) {
    ONNURI_CHECK(s.num_rows > 0 && s.kept_rows >= 0 && s.kept_rows < s.num_rows);
    ONNURI_CHECK(s.first_row >= 0 && s.first_row + s.num_rows <= v.rows && v.rows == q.rows);
    const int64_t answers = s.num_rows - s.first_out;
    ONNURI_CHECK(answers == 0 || (answers > 0 && s.out_row + answers <= out.rows &&
                                  out.cols == v.cols && s.out_row >= 0));
  }
  if (!backend.computes()) return;
  const int64_t blocks = (shape.v_dim + kDeltaColumns - 1) / kDeltaColumns;
  const int64_t per_sequence = shape.num_v_heads * blocks;
  const auto scratch_floats = static_cast<size_t>(shape.k_dim * kDeltaColumns);
  auto* scratch = static_cast<float*>(backend.scratch(
      8, static_cast<size_t>(backend.num_threads()) * scratch_floats * sizeof(float)));
  auto run = [&](int64_t index, int worker) {
    const DeltaSequence& s = sequences[static_cast<size_t>(index / per_sequence)];
    const int64_t head = index % per_sequence / blocks;
    const int64_t column = index % blocks * kDeltaColumns;
    const int64_t k_head = head / (shape.num_v_heads / shape.num_k_heads);
    const int64_t at = head * shape.k_dim * shape.v_dim + column;
    DeltaTask task;
    task.q = q.row(s.first_row) + k_head * shape.k_dim;
    task.k = k.row(s.first_row) + k_head * shape.k_dim;
    task.v = v.row(s.first_row) + head * shape.v_dim + column;
    task.decay = decay.row(s.first_row) + head;
    task.beta = beta.row(s.first_row) + head;
    task.qk_stride = q.stride;
    task.v_stride = v.stride;
    task.gate_stride = decay.stride;
    task.rows = s.num_rows;
    task.first_out = s.first_out;
    task.kept_rows = s.kept_rows;
    task.k_dim = shape.k_dim;
    task.cols = std::min(kDeltaColumns, shape.v_dim - column);
    task.state = s.state + at;
    task.next = s.next + at;
    task.state_stride = shape.v_dim;
    task.scratch = scratch + static_cast<size_t>(worker) * scratch_floats;
    task.out = out.rows == 0 ? nullptr : out.row(s.out_row) + head * shape.v_dim + column;
    task.out_stride = out.stride;
    backend.table().vector().delta_rule(task);
  };
  backend.pool().run(static_cast<int64_t>(sequences.size()) * per_sequence, run);
}

}  // namespace onnuri
