// Checks shapes and shares rows among threads; the maths is in the kernel tables.
#include "kernels/ops.h"

#include "core/check.h"
#include "kernels/kernel_table.h"
#include "kernels/kv_rows.h"
#include "kernels/row_loop.h"
#include "kernels/vector_kernels.h"

namespace onnuri {
namespace {

// Rough nanoseconds per element on one thread, for the decision to wake others.
constexpr double kCopyNs = 0.15;
constexpr double kNormNs = 0.3;
constexpr double kExpNs = 0.8;

bool well_formed(ConstMatrixView x) {
  return x.rows >= 0 && x.cols >= 0 && x.stride >= x.cols &&
         (x.data != nullptr || x.rows == 0 || x.cols == 0);
}

void check_same_shape(ConstMatrixView x, ConstMatrixView y) {
  ONNURI_CHECK(well_formed(x) && well_formed(y));
  ONNURI_CHECK(x.rows == y.rows && x.cols == y.cols);
}

template <typename View>
View rows_of(View x, int64_t begin, int64_t end) {
  return {x.row(begin), end - begin, x.cols, x.stride};
}

const VectorKernels& kernels_of(Backend& backend) { return backend.table().vector(); }

double row_cost(double element_ns, int64_t cols) { return element_ns * static_cast<double>(cols); }

void check_rope(RopeLayout layout, int64_t num_heads, int64_t head_dim, int64_t rotary_dim,
                const float* cos, const float* sin, ConstMatrixView x) {
  ONNURI_CHECK(well_formed(x) && num_heads >= 0 && head_dim > 0);
  ONNURI_CHECK(rotary_dim >= 0 && rotary_dim <= head_dim && rotary_dim % 2 == 0);
  ONNURI_CHECK(num_heads == 0 || (num_heads - 1) * head_dim + rotary_dim <= x.cols);
  ONNURI_CHECK((cos != nullptr && sin != nullptr) || rotary_dim == 0 || x.rows == 0);
  ONNURI_CHECK(layout == RopeLayout::kHalf || layout == RopeLayout::kPairs);
}

}  // namespace

void rms_norm(Backend& backend, ConstMatrixView x, const float* weight, float weight_offset,
              float eps, MatrixView y) {
  check_same_shape(x, y);
  if (x.cols == 0) return;
  run_rows(backend, x.rows, row_cost(kNormNs, x.cols), [&](int64_t begin, int64_t end) {
    kernels_of(backend).rms_norm(rows_of(x, begin, end), weight, weight_offset, eps,
                                 rows_of(y, begin, end));
  });
}

void layer_norm(Backend& backend, ConstMatrixView x, const float* weight, const float* bias,
                float eps, MatrixView y) {
  check_same_shape(x, y);
  if (x.cols == 0) return;
  run_rows(backend, x.rows, row_cost(kNormNs, x.cols), [&](int64_t begin, int64_t end) {
    kernels_of(backend).layer_norm(rows_of(x, begin, end), weight, bias, eps,
                                   rows_of(y, begin, end));
  });
}

void add_scaled(Backend& backend, ConstMatrixView x, float scale, MatrixView y) {
  check_same_shape(x, y);
  run_rows(backend, x.rows, row_cost(kCopyNs, x.cols), [&](int64_t begin, int64_t end) {
    kernels_of(backend).add_scaled(rows_of(x, begin, end), scale, rows_of(y, begin, end));
  });
}

void scale_rows(Backend& backend, float scale, MatrixView x) {
  ONNURI_CHECK(well_formed(x));
  run_rows(backend, x.rows, row_cost(kCopyNs, x.cols), [&](int64_t begin, int64_t end) {
    kernels_of(backend).scale_rows(scale, rows_of(x, begin, end));
  });
}

void activate(Backend& backend, Activation kind, ConstMatrixView x, MatrixView y) {
  check_same_shape(x, y);
  run_rows(backend, x.rows, row_cost(kExpNs, x.cols), [&](int64_t begin, int64_t end) {
    kernels_of(backend).activate(kind, rows_of(x, begin, end), rows_of(y, begin, end));
  });
}

void glu(Backend& backend, const GluParams& params, ConstMatrixView gate_up, MatrixView y) {
  ONNURI_CHECK(well_formed(gate_up) && well_formed(y));
  ONNURI_CHECK(gate_up.rows == y.rows && gate_up.cols == 2 * y.cols);
  ONNURI_CHECK(params.kind != GluKind::kPolyNorm || params.poly != nullptr);
  const ConstMatrixView gate(gate_up.data, y.rows, y.cols, gate_up.stride);
  const ConstMatrixView up(gate_up.data + y.cols, y.rows, y.cols, gate_up.stride);
  run_rows(backend, y.rows, row_cost(kExpNs, y.cols), [&](int64_t begin, int64_t end) {
    kernels_of(backend).glu(params, rows_of(gate, begin, end), rows_of(up, begin, end),
                            rows_of(y, begin, end));
  });
}

namespace {

void gate_with(Backend& backend, GluKind kind, ConstMatrixView gate, MatrixView x) {
  check_same_shape(gate, x);
  GluParams params;
  params.kind = kind;
  run_rows(backend, x.rows, row_cost(kExpNs, x.cols), [&](int64_t begin, int64_t end) {
    kernels_of(backend).glu(params, rows_of(gate, begin, end), rows_of(x, begin, end),
                            rows_of(x, begin, end));
  });
}

}  // namespace

void gate_sigmoid(Backend& backend, ConstMatrixView gate, MatrixView x) {
  gate_with(backend, GluKind::kSigmoid, gate, x);
}

void gate_silu(Backend& backend, ConstMatrixView gate, MatrixView x) {
  gate_with(backend, GluKind::kSilu, gate, x);
}

void apply_rope(Backend& backend, RopeLayout layout, int64_t num_heads, int64_t head_dim,
                int64_t rotary_dim, const float* cos, const float* sin, MatrixView x) {
  check_rope(layout, num_heads, head_dim, rotary_dim, cos, sin, x);
  if (rotary_dim == 0) return;
  const int64_t half = rotary_dim / 2;
  run_rows(
      backend, x.rows, row_cost(kNormNs, num_heads * head_dim), [&](int64_t begin, int64_t end) {
        kernels_of(backend).apply_rope(layout, num_heads, head_dim, rotary_dim, cos + begin * half,
                                       sin + begin * half, rows_of(x, begin, end));
      });
}

void qk_norm_rope(Backend& backend, const QkNormRope& params, int64_t num_heads, int64_t head_dim,
                  MatrixView x) {
  const int64_t rotary_dim = params.cos != nullptr ? params.rotary_dim : 0;
  check_rope(params.layout, num_heads, head_dim, rotary_dim, params.cos, params.sin, x);
  ONNURI_CHECK(num_heads * head_dim <= x.cols);
  run_rows(backend, x.rows, row_cost(2.0 * kNormNs, num_heads * head_dim),
           [&](int64_t begin, int64_t end) {
             QkNormRope part = params;
             if (params.cos != nullptr) {
               part.cos += begin * (rotary_dim / 2);
               part.sin += begin * (rotary_dim / 2);
             }
             kernels_of(backend).qk_norm_rope(part, num_heads, head_dim, rows_of(x, begin, end));
           });
}

void softmax_rows(Backend& backend, MatrixView x) {
  ONNURI_CHECK(well_formed(x));
  if (x.cols == 0) return;
  run_rows(backend, x.rows, row_cost(kExpNs, x.cols), [&](int64_t begin, int64_t end) {
    kernels_of(backend).softmax_rows(rows_of(x, begin, end));
  });
}

void kv_write(Backend& backend, const KvView& kv, int64_t start_position, ConstMatrixView k,
              ConstMatrixView v) {
  ONNURI_CHECK(is_kv_dtype(kv.dtype));
  ONNURI_CHECK(kv.num_kv_heads > 0 && kv.k_dim > 0 && kv.v_dim > 0 && kv.page_rows > 0);
  ONNURI_CHECK(well_formed(k) && k.cols == kv.num_kv_heads * kv.k_dim && start_position >= 0);
  if (!kv.v_in_k) {
    ONNURI_CHECK(well_formed(v) && k.rows == v.rows && v.cols == kv.num_kv_heads * kv.v_dim);
  }
  const int64_t k_page_heads = kv.k_page_heads > 0 ? kv.k_page_heads : kv.num_kv_heads;
  if (k.rows == 0) return;
  ONNURI_CHECK(kv.k_pages != nullptr && kv.page_table != nullptr);
  ONNURI_CHECK(kv.v_in_k || kv.v_pages != nullptr);
  const int64_t capacity = kv.num_entries * kv.page_rows;
  ONNURI_CHECK(kv.ring ? k.rows <= capacity : k.rows <= capacity - start_position);
  const int64_t k_bytes = kv_row_bytes(kv.dtype, kv.k_dim);
  const int64_t v_bytes = kv_row_bytes(kv.dtype, kv.v_dim);
  const auto convert = is_coded_kv(kv.dtype) ? ref::encode_kv_row : kernels_of(backend).convert_row;
  run_rows(backend, k.rows, row_cost(kNormNs, k.cols + v.cols), [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      const int64_t position = start_position + t;
      const int64_t entry = position / kv.page_rows;
      const int64_t page = kv.page_table[kv.ring ? entry % kv.num_entries : entry];
      ONNURI_CHECK(page >= 0);
      for (int64_t h = 0; h < kv.num_kv_heads; ++h) {
        const int64_t in_page = position % kv.page_rows;
        const int64_t k_row = (page * k_page_heads + h) * kv.page_rows + in_page;
        convert(kv.dtype, k.row(t) + h * kv.k_dim, kv.k_dim,
                static_cast<char*>(kv.k_pages) + k_row * k_bytes);
        if (kv.v_in_k) continue;
        const int64_t row = (page * kv.num_kv_heads + h) * kv.page_rows + in_page;
        convert(kv.dtype, v.row(t) + h * kv.v_dim, kv.v_dim,
                static_cast<char*>(kv.v_pages) + row * v_bytes);
      }
    }
  });
}

}  // namespace onnuri
