// Checks, packing and threading of matrix products. The arithmetic is in the kernel tables.
#include "kernels/linear.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <vector>

#include "core/check.h"
#include "core/stored_pages.h"
#include "kernels/encoded_weight.h"
#include "kernels/kernel_table.h"
#include "kernels/linear_kernels.h"
#include "kernels/ref/quant.h"

namespace onnuri {

// Parts keep their own formats: a stack of q, k and v may mix them.
struct PackedMatrix::Impl {
  using ColumnOrder = std::shared_ptr<const std::vector<int32_t>>;
  // Pages of their own: between copies that come and go while a model is loaded, the heap would
  // keep holes as large as the model.
  struct FreePages {
    FreePages() : bytes(0) {}
    explicit FreePages(size_t size) : bytes(size) {}
    size_t bytes;
    void operator()(std::byte* p) const { ::munmap(p, bytes); }
  };
  struct Part {
    WeightFormat format = WeightFormat::kF32;
    int64_t first_row = 0;
    int64_t rows = 0;
    int64_t group_bytes = 0;
    std::unique_ptr<std::byte[], FreePages> data;
    ColumnOrder order;  // of the columns, null: as stored
    int64_t num_groups() const { return (rows + kGroupRows - 1) / kGroupRows; }
    int64_t bytes() const { return num_groups() * group_bytes; }
  };
  std::vector<Part> parts;
  int64_t rows = 0;
  int64_t cols = 0;
  const LinearKernels* kernels = nullptr;  // the table that the form was made for
};

PackedMatrix::PackedMatrix() = default;
PackedMatrix::PackedMatrix(PackedMatrix&&) noexcept = default;
PackedMatrix& PackedMatrix::operator=(PackedMatrix&&) noexcept = default;
PackedMatrix::~PackedMatrix() = default;
PackedMatrix::PackedMatrix(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

int64_t PackedMatrix::rows() const { return impl_ ? impl_->rows : 0; }
int64_t PackedMatrix::cols() const { return impl_ ? impl_->cols : 0; }
int64_t PackedMatrix::resident_bytes() const {
  int64_t bytes = 0;
  if (impl_) {
    for (const Impl::Part& part : impl_->parts) bytes += part.bytes();
  }
  return bytes;
}
int64_t PackedMatrix::streamed_bytes() const { return resident_bytes(); }

namespace {

using Part = PackedMatrix::Impl::Part;

void check_part(const TensorView& part, int64_t cols) {
  if (part.shape.rank() != 2 || part.shape[0] < 1 || part.shape[1] < 1) {
    fail(ErrorCode::kInvalidArgument, "expected a matrix (N, K), found ", part.shape.to_string());
  }
  if (part.shape[1] != cols) {
    fail(ErrorCode::kInvalidArgument, "expected parts of ", cols, " columns, found ",
         part.shape.to_string());
  }
  if (part.encoding == nullptr && !ref::is_real_dtype(part.dtype)) {
    fail(ErrorCode::kUnsupported, "expected a matrix of real numbers, found ",
         dtype_name(part.dtype));
  }
  dtype_bytes(part.dtype, cols);  // whole blocks
  part.num_bytes();               // no overflow
}

// With null pages where nothing is computed: only the size counts.
Part allocate_part(const TensorView& source, WeightFormat format, int64_t first_row,
                   bool with_pages) {
  Part part;
  part.format = format;
  part.first_row = first_row;
  part.rows = source.shape[0];
  part.group_bytes = packed_group_bytes(format, source.shape[1]);
  if (part.group_bytes > std::numeric_limits<int64_t>::max() / 2 / part.num_groups()) {
    fail(ErrorCode::kOutOfMemory, "cannot pack a matrix of ", source.shape.to_string());
  }
  if (!with_pages) return part;
  const auto bytes = static_cast<size_t>(part.bytes());
  void* pages = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (pages == MAP_FAILED) {
    fail(ErrorCode::kOutOfMemory, "cannot allocate ", bytes, " bytes of weights");
  }
  part.data = std::unique_ptr<std::byte[], PackedMatrix::Impl::FreePages>(
      static_cast<std::byte*>(pages), PackedMatrix::Impl::FreePages(bytes));
  return part;
}

void pack_part(Backend& backend, const TensorView& source, Part& part) {
  if (!backend.computes()) return;
  constexpr int64_t kGroupsPerChunk = 4;
  const int64_t cols = source.shape[1];
  const int64_t row_bytes = dtype_bytes(source.dtype, cols);
  const int64_t num_chunks = (part.num_groups() + kGroupsPerChunk - 1) / kGroupsPerChunk;
  backend.pool().run(num_chunks, [&](int64_t chunk, int) {
    std::vector<float> row_scratch;
    if (!is_quantized(part.format)) row_scratch.resize(static_cast<size_t>(kGroupRows * cols));
    const int64_t end = std::min(part.num_groups(), (chunk + 1) * kGroupsPerChunk);
    for (int64_t g = chunk * kGroupsPerChunk; g < end; ++g) {
      const int64_t first = g * kGroupRows;
      if (source.encoding != nullptr) {
        pack_encoded_group(part.format, source, first, std::min(kGroupRows, part.rows - first),
                           part.data.get() + g * part.group_bytes);
        continue;
      }
      pack_group(part.format, source.dtype, source.as<std::byte>() + first * row_bytes, row_bytes,
                 std::min(kGroupRows, part.rows - first), cols, row_scratch.data(),
                 part.data.get() + g * part.group_bytes);
    }
    // Parts of encoded weights may lie across all rows.
    const int64_t begin = chunk * kGroupsPerChunk * kGroupRows;
    if (source.encoding == nullptr) {
      release_pages(source.rows(begin, std::min(part.rows, end * kGroupRows) - begin));
    }
  });
  release_pages(source);  // what neighbouring chunks have read again
}

}  // namespace

PackedMatrix pack_matrix(Backend& backend, const TensorView& weight, ComputeType compute) {
  return pack_matrices(backend, {&weight, 1}, compute);
}

PackedMatrix pack_matrices(Backend& backend, std::span<const TensorView> parts,
                           ComputeType compute) {
  if (parts.empty()) fail(ErrorCode::kInvalidArgument, "expected a matrix, found no parts");
  auto impl = std::make_unique<PackedMatrix::Impl>();
  impl->kernels = &backend.table().linear();
  for (const TensorView& source : parts) {
    check_part(source, parts[0].shape.rank() == 2 ? parts[0].shape[1] : 0);
    const WeightFormat format =
        compute == ComputeType::kFloat32
            ? WeightFormat::kF32
            : (source.encoding != nullptr
                   ? encoded_weight_format(source)
                   : exact_weight_format(source.dtype, impl->kernels->bfloat16_format));
    impl->parts.push_back(allocate_part(source, format, impl->rows, backend.computes()));
    backend.add_packed_bytes(impl->parts.back().bytes());
    if (source.encoding != nullptr) {
      impl->parts.back().order = packed_column_order(format, source);
    }
    pack_part(backend, source, impl->parts.back());
    impl->rows += source.shape[0];
  }
  impl->cols = parts[0].shape[1];
  return PackedMatrix(std::move(impl));
}

namespace {

// One part of one task: the unit that is cut into chunks.
struct Product {
  const Part* part;
  const float* bias;
  MatrixView y;
  bool accumulate;
  ConstMatrixView x;     // the input rows of this product
  int64_t prepared_row;  // its first row among all input rows
  int64_t groups_per_chunk;
  int64_t rows_per_chunk;
  int64_t num_row_chunks;
  int64_t first_chunk;
  int prepared = -1;  // index of its form of the input rows, -1: as they are
};

// Input rows in the form of a kernel. Rows whose columns are reordered are those of one product and
// of others on the same rows; the usual order serves all.
struct Prepared {
  ActivationKind kind = ActivationKind::kFloat;
  const std::vector<int32_t>* order = nullptr;
  int64_t first_row = 0;
  int64_t num_rows = 0;
  int64_t row_bytes = 0;
  int64_t first_chunk = 0;
  std::byte* data = nullptr;
};

// Scratch slots of this file.
constexpr int kWorkspaceSlot = 0;
constexpr int kPreparedSlot = 1;
constexpr int kOrderSlot = 2;
constexpr int kConvSlot = 3;

void check_task(ConstMatrixView x, const PackedMatrix* weight, const MatrixView& y) {
  if (weight == nullptr || weight->empty()) {
    fail(ErrorCode::kInvalidArgument, "expected a packed matrix, found none");
  }
  if (x.cols != weight->cols() || y.cols != weight->rows() || x.rows != y.rows) {
    fail(ErrorCode::kInvalidArgument, "expected x (M, ", weight->cols(), ") and y (M, ",
         weight->rows(), "), found x (", x.rows, ", ", x.cols, ") and y (", y.rows, ", ", y.cols,
         ")");
  }
}

/// Cuts products into chunks: small enough to balance the threads, large enough to be worth a
/// claim.
class Plan {
 public:
  Plan(Backend& backend, int64_t cols) : backend_(backend), cols_(cols) {}

  void add(ConstMatrixView x, int64_t prepared_row, const PackedMatrix& weight, const float* bias,
           MatrixView y, bool accumulate) {
    ONNURI_CHECK(weight.impl().kernels == &backend_.table().linear());
    for (const Part& part : weight.impl().parts) {
      const MatrixView out{y.data + part.first_row, y.rows, part.rows, y.stride};
      products_.push_back({&part, bias ? bias + part.first_row : nullptr, out, accumulate, x,
                           prepared_row, 0, 0, 0, 0, -1});
    }
  }

  void run(ConstMatrixView x);

 private:
  void cut();
  void prepare(ConstMatrixView x);
  int find_prepared(const Product& product, int64_t num_rows);
  void prepare_chunk(ConstMatrixView x, int64_t chunk, std::byte* ordered_row);
  void run_chunk(int64_t chunk, int worker);

  Backend& backend_;
  int64_t cols_;
  std::vector<Product> products_;
  int64_t num_chunks_ = 0;
  std::vector<Prepared> prepared_;
  int64_t rows_per_chunk_ = 1;  // of prepared rows
  std::byte* workspace_ = nullptr;
};

// One row streams bytes, many rows multiply: both costs are counted in units of about a byte.
void Plan::cut() {
  constexpr int64_t kMinChunkCost = 64 << 10;
  int64_t total = 0;
  for (const Product& p : products_) total += p.part->bytes() * (p.x.rows + 2) / 3;
  const int64_t target = std::max(kMinChunkCost, total / (backend_.num_threads() * 6));
  for (Product& p : products_) {
    const int64_t rows = p.x.rows;
    p.num_row_chunks = (rows + kMaxChunkRows - 1) / kMaxChunkRows;
    p.rows_per_chunk = (rows + p.num_row_chunks - 1) / p.num_row_chunks;
    const int64_t group_cost =
        std::max<int64_t>(1, p.part->group_bytes * (p.rows_per_chunk + 2) / 3);
    const int64_t limit = rows == 1 ? p.part->num_groups() : kMaxChunkGroups;
    p.groups_per_chunk = std::clamp<int64_t>(target / group_cost, 1, limit);
    p.first_chunk = num_chunks_;
    const int64_t group_chunks =
        (p.part->num_groups() + p.groups_per_chunk - 1) / p.groups_per_chunk;
    num_chunks_ += group_chunks * p.num_row_chunks;
  }
}

bool same_order(const std::vector<int32_t>* a, const std::vector<int32_t>* b) {
  return a == b || (a != nullptr && b != nullptr && *a == *b);
}

// The index of the form that `product` reads, added if it is new.
int Plan::find_prepared(const Product& product, int64_t num_rows) {
  const LinearKernels& kernels = backend_.table().linear();
  Prepared wanted;
  wanted.kind = kernels.activation_kind(product.part->format);
  wanted.order = product.part->order.get();
  if (wanted.kind == ActivationKind::kFloat && wanted.order == nullptr) return -1;
  wanted.first_row = wanted.order != nullptr ? product.prepared_row : 0;
  wanted.num_rows = wanted.order != nullptr ? product.x.rows : num_rows;
  for (size_t i = 0; i < prepared_.size(); ++i) {
    const Prepared& p = prepared_[i];
    if (p.kind == wanted.kind && p.first_row == wanted.first_row && p.num_rows == wanted.num_rows &&
        same_order(p.order, wanted.order)) {
      return static_cast<int>(i);
    }
  }
  wanted.row_bytes = wanted.kind == ActivationKind::kFloat
                         ? (cols_ * 4 + 63) / 64 * 64
                         : kernels.activation_bytes(wanted.kind, cols_);
  prepared_.push_back(wanted);
  return static_cast<int>(prepared_.size()) - 1;
}

void Plan::prepare_chunk(ConstMatrixView x, int64_t chunk, std::byte* ordered_row) {
  size_t i = prepared_.size() - 1;
  while (prepared_[i].first_chunk > chunk) --i;
  const Prepared& p = prepared_[i];
  const int64_t begin = (chunk - p.first_chunk) * rows_per_chunk_;
  const int64_t end = std::min(p.num_rows, begin + rows_per_chunk_);
  for (int64_t r = begin; r < end; ++r) {
    const float* row = x.row(p.first_row + r);
    std::byte* out = p.data + r * p.row_bytes;
    if (p.order != nullptr) {
      const bool is_float = p.kind == ActivationKind::kFloat;
      auto* ordered = reinterpret_cast<float*>(is_float ? out : ordered_row);
      for (size_t k = 0; k < p.order->size(); ++k) ordered[k] = row[(*p.order)[k]];
      row = ordered;
      if (is_float) continue;
    }
    backend_.table().linear().prepare(p.kind, row, cols_, out);
  }
}

void Plan::prepare(ConstMatrixView x) {
  for (Product& p : products_) p.prepared = find_prepared(p, x.rows);
  if (prepared_.empty()) return;
  constexpr int64_t kChunkValues = 64 << 10;
  rows_per_chunk_ = std::max<int64_t>(1, kChunkValues / cols_);
  int64_t bytes = 0, chunks = 0;
  bool has_order = false;
  for (Prepared& p : prepared_) {
    p.first_chunk = chunks;
    chunks += (p.num_rows + rows_per_chunk_ - 1) / rows_per_chunk_;
    bytes += p.row_bytes * p.num_rows;
    has_order = has_order || p.order != nullptr;
  }
  auto* data = static_cast<std::byte*>(backend_.scratch(kPreparedSlot, static_cast<size_t>(bytes)));
  for (Prepared& p : prepared_) {
    p.data = data;
    data += p.row_bytes * p.num_rows;
  }
  const int64_t ordered_bytes = has_order ? (cols_ * 4 + 63) / 64 * 64 : 0;
  std::byte* ordered = nullptr;
  if (has_order) {
    ordered = static_cast<std::byte*>(
        backend_.scratch(kOrderSlot, static_cast<size_t>(ordered_bytes * backend_.num_threads())));
  }
  auto convert = [&](int64_t chunk, int worker) {
    prepare_chunk(x, chunk, ordered + worker * ordered_bytes);
  };
  if (chunks == 1 && backend_.computes()) {
    convert(0, 0);
  } else {
    backend_.pool().run(chunks, convert);
  }
}

void Plan::run_chunk(int64_t chunk, int worker) {
  size_t i = products_.size() - 1;
  while (products_[i].first_chunk > chunk) --i;
  const Product& p = products_[i];
  const Part& part = *p.part;
  const int64_t local = chunk - p.first_chunk;
  const int64_t group = local / p.num_row_chunks * p.groups_per_chunk;
  const int64_t row = local % p.num_row_chunks * p.rows_per_chunk;
  const int64_t output = group * kGroupRows;
  const LinearKernels& kernels = backend_.table().linear();

  LinearChunk c;
  c.format = part.format;
  c.cols = cols_;
  c.weights = part.data.get() + group * part.group_bytes;
  c.group_bytes = part.group_bytes;
  c.num_groups = std::min(p.groups_per_chunk, part.num_groups() - group);
  c.num_outputs = std::min(c.num_groups * kGroupRows, part.rows - output);
  c.num_rows = std::min(p.rows_per_chunk, p.x.rows - row);
  if (p.prepared >= 0) {
    const Prepared& prepared = prepared_[static_cast<size_t>(p.prepared)];
    c.x_stride_bytes = prepared.row_bytes;
    c.x = prepared.data + (p.prepared_row - prepared.first_row + row) * prepared.row_bytes;
  } else {
    c.x_stride_bytes = p.x.stride * static_cast<int64_t>(sizeof(float));
    c.x = reinterpret_cast<const std::byte*>(p.x.row(row));
  }
  c.bias = p.bias ? p.bias + output : nullptr;
  c.y = p.y.row(row) + output;
  c.y_stride = p.y.stride;
  c.accumulate = p.accumulate;
  c.workspace = workspace_ + worker * kLinearWorkspaceBytes;
  kernels.product(c);
}

void Plan::run(ConstMatrixView x) {
  if (products_.empty()) return;
  cut();
  prepare(x);
  workspace_ = static_cast<std::byte*>(backend_.scratch(
      kWorkspaceSlot, static_cast<size_t>(kLinearWorkspaceBytes * backend_.num_threads())));
  backend_.pool().run(num_chunks_, [this](int64_t chunk, int worker) { run_chunk(chunk, worker); });
}

}  // namespace

void linear(Backend& backend, ConstMatrixView x, std::span<const LinearTask> tasks) {
  Plan plan(backend, x.cols);
  for (const LinearTask& task : tasks) {
    check_task(x, task.weight, task.y);
    if (x.rows == 0) continue;
    plan.add(x, 0, *task.weight, task.bias, task.y, task.accumulate);
  }
  plan.run(x);
}

void linear(Backend& backend, ConstMatrixView x, const PackedMatrix& weight, const float* bias,
            MatrixView y) {
  const LinearTask task{&weight, bias, y, false};
  linear(backend, x, {&task, 1});
}

void linear_grouped(Backend& backend, ConstMatrixView x, std::span<const int64_t> offsets,
                    std::span<const PackedMatrix* const> weights,
                    std::span<const float* const> biases, MatrixView y) {
  const size_t num_groups = weights.size();
  if (offsets.size() != num_groups + 1 || (!biases.empty() && biases.size() != num_groups) ||
      offsets.front() < 0 || offsets.back() > x.rows || y.rows != x.rows) {
    fail(ErrorCode::kInvalidArgument, "expected ", num_groups + 1, " offsets within ", x.rows,
         " rows, found ", offsets.size());
  }
  Plan plan(backend, x.cols);
  for (size_t g = 0; g < num_groups; ++g) {
    const int64_t begin = offsets[g];
    const int64_t count = offsets[g + 1] - begin;
    if (count < 0) fail(ErrorCode::kInvalidArgument, "expected rising offsets, group ", g);
    if (count == 0) continue;
    const ConstMatrixView rows(x.row(begin), count, x.cols, x.stride);
    const MatrixView out{y.row(begin), count, y.cols, y.stride};
    check_task(rows, weights[g], out);
    plan.add(rows, begin, *weights[g], biases.empty() ? nullptr : biases[g], out, false);
  }
  plan.run(x);
}

void dequantize(const TensorView& source, float* out) {
  if (source.encoding != nullptr) {
    return decode_encoded_rows(source, 0, source.num_elements() / source.shape[-1], out);
  }
  ref::dequantize_row(source.dtype, source.data, source.num_elements(), out);
  constexpr int64_t kLargeBytes = 64 << 10;
  if (source.num_bytes() >= kLargeBytes) release_pages(source);
}

void gather_rows(Backend& backend, const TensorView& table, std::span<const int32_t> ids,
                 MatrixView out) {
  if (table.shape.rank() != 2 || out.rows != static_cast<int64_t>(ids.size()) ||
      out.cols != table.shape[1]) {
    fail(ErrorCode::kInvalidArgument, "expected out (", ids.size(), ", cols) for table ",
         table.shape.to_string(), ", found (", out.rows, ", ", out.cols, ")");
  }
  if (table.encoding == nullptr && !ref::is_real_dtype(table.dtype)) {
    fail(ErrorCode::kUnsupported, "expected a table of real numbers, found ",
         dtype_name(table.dtype));
  }
  for (const int32_t id : ids) {
    if (id < 0 || id >= table.shape[0]) {
      fail(ErrorCode::kInvalidArgument, "expected ids below ", table.shape[0], ", found ", id);
    }
  }
  const int64_t row_bytes = dtype_bytes(table.dtype, table.shape[1]);
  auto copy = [&](int64_t i, int) {
    if (table.encoding != nullptr) {
      return decode_encoded_rows(table, ids[static_cast<size_t>(i)], 1, out.row(i));
    }
    ref::dequantize_row(table.dtype,
                        table.as<std::byte>() + ids[static_cast<size_t>(i)] * row_bytes, out.cols,
                        out.row(i));
  };
  if (ids.size() == 1) {
    copy(0, 0);
  } else {
    backend.pool().run(out.rows, copy);
  }
}

Tensor conv1d_weight_as_matrix(const TensorView& weight) {
  if (weight.shape.rank() != 3) {
    fail(ErrorCode::kInvalidArgument, "expected a weight (Cout, Cin, K), found ",
         weight.shape.to_string());
  }
  const int64_t cout = weight.shape[0], cin = weight.shape[1], kernel = weight.shape[2];
  Tensor decoded(DType::kF32, weight.shape);
  dequantize(weight, decoded.f32());
  Tensor matrix(DType::kF32, {cout, kernel * cin});
  for (int64_t o = 0; o < cout; ++o) {
    const float* in = decoded.f32() + o * cin * kernel;
    float* out = matrix.f32() + o * cin * kernel;
    for (int64_t c = 0; c < cin; ++c) {
      for (int64_t k = 0; k < kernel; ++k) out[k * cin + c] = in[c * kernel + k];
    }
  }
  return matrix;
}

void conv1d(Backend& backend, ConstMatrixView x, const PackedMatrix& weight, const float* bias,
            int64_t kernel, int64_t stride, int64_t padding, MatrixView y) {
  const bool sane = kernel >= 1 && stride >= 1 && padding >= 0 && x.rows + 2 * padding >= kernel;
  const int64_t rows = sane ? (x.rows + 2 * padding - kernel) / stride + 1 : 0;
  if (!sane || y.rows != rows || weight.cols() != kernel * x.cols) {
    fail(ErrorCode::kInvalidArgument, "expected y (", rows, ", N) and a weight of ",
         kernel * x.cols, " columns, found y (", y.rows, ", ", y.cols, ") and ", weight.cols());
  }
  // With zero rows on both sides, output t reads `kernel` whole rows that lie one after another.
  const int64_t padded_rows = x.rows + 2 * padding;
  float* padded = static_cast<float*>(
      backend.scratch(kConvSlot, static_cast<size_t>(padded_rows * x.cols) * sizeof(float)));
  std::memset(padded, 0, static_cast<size_t>(padded_rows * x.cols) * sizeof(float));
  for (int64_t t = 0; t < x.rows; ++t) {
    std::memcpy(padded + (t + padding) * x.cols, x.row(t),
                static_cast<size_t>(x.cols) * sizeof(float));
  }
  linear(backend, ConstMatrixView(padded, rows, kernel * x.cols, stride * x.cols), weight, bias, y);
}

}  // namespace onnuri
