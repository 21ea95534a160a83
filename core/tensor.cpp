#include "core/tensor.h"

#include <cstdlib>
#include <cstring>

#include "core/check.h"
#include "core/tensor_meter.h"

namespace onnuri {

Shape::Shape(std::initializer_list<int64_t> extents)
    : Shape(std::span<const int64_t>(extents.begin(), extents.size())) {}

Shape::Shape(std::span<const int64_t> extents) : rank_(static_cast<int>(extents.size())) {
  if (extents.size() > static_cast<size_t>(kMaxRank)) {
    fail(ErrorCode::kUnsupported, "expected at most ", kMaxRank, " axes, found ", extents.size());
  }
  for (size_t i = 0; i < extents.size(); ++i) {
    if (extents[i] < 0) fail(ErrorCode::kCorruptData, "negative extent ", extents[i]);
    extents_[i] = extents[i];
  }
}

int64_t Shape::num_elements() const {
  int64_t n = 1;
  for (int i = 0; i < rank_; ++i) {
    if (__builtin_mul_overflow(n, extents_[static_cast<size_t>(i)], &n)) {
      fail(ErrorCode::kCorruptData, "size overflow in shape ", to_string());
    }
  }
  return n;
}

std::string Shape::to_string() const {
  std::string text = "(";
  for (int i = 0; i < rank_; ++i) {
    if (i > 0) text += ", ";
    text += std::to_string(extents_[static_cast<size_t>(i)]);
  }
  return text + ")";
}

bool Shape::operator==(const Shape& other) const {
  if (rank_ != other.rank_) return false;
  for (int i = 0; i < rank_; ++i) {
    if ((*this)[i] != other[i]) return false;
  }
  return true;
}

namespace {

// Matrix rows under one index of the first axis.
int64_t rows_per_index(const Shape& shape) {
  int64_t rows = 1;
  for (int i = 1; i + 1 < shape.rank(); ++i) rows *= shape[i];
  return rows;
}

}  // namespace

TensorView TensorView::slice(int64_t index) const {
  ONNURI_CHECK(shape.rank() >= 1 && index >= 0 && index < shape[0]);
  std::array<int64_t, Shape::kMaxRank> rest{};
  for (int i = 1; i < shape.rank(); ++i) rest[static_cast<size_t>(i - 1)] = shape[i];
  TensorView out = *this;
  out.shape = Shape(std::span<const int64_t>(rest.data(), static_cast<size_t>(shape.rank() - 1)));
  if (encoding != nullptr) {
    ONNURI_CHECK(shape.rank() >= 2);
    out.first_row += index * rows_per_index(shape) * row_step;
    return out;
  }
  out.data = as<std::byte>() + index * out.num_bytes();
  return out;
}

TensorView TensorView::rows(int64_t begin, int64_t count) const {
  ONNURI_CHECK(shape.rank() >= 1 && begin >= 0 && count >= 0 && begin <= shape[0] - count);
  std::array<int64_t, Shape::kMaxRank> extents{};
  int64_t row_elements = 1;
  for (int i = 0; i < shape.rank(); ++i) {
    extents[static_cast<size_t>(i)] = i == 0 ? count : shape[i];
    if (i > 0) row_elements *= shape[i];
  }
  TensorView out = *this;
  out.shape = Shape(std::span<const int64_t>(extents.data(), static_cast<size_t>(shape.rank())));
  if (encoding != nullptr) {
    ONNURI_CHECK(shape.rank() >= 2);
    out.first_row += begin * rows_per_index(shape) * row_step;
    return out;
  }
  if (begin > 0) out.data = as<std::byte>() + dtype_bytes(dtype, begin * row_elements);
  return out;
}

TensorView TensorView::reshaped(Shape new_shape) const {
  ONNURI_CHECK(new_shape.num_elements() == shape.num_elements());
  if (encoding != nullptr && (new_shape.rank() < 1 || new_shape[-1] != shape[-1])) {
    fail(ErrorCode::kUnsupported, "cannot see an encoded weight of ", shape.to_string(), " as ",
         new_shape.to_string());
  }
  TensorView out = *this;
  out.shape = new_shape;
  return out;
}

namespace {

// What malloc gave, and how much, stands before the data. Aligned allocation asks for more than it
// hands out, so that buffers would not fit again where others of their size have been.
struct Allocation {
  void* base;
  int64_t bytes;
};

}  // namespace

void Tensor::Free::operator()(std::byte* p) const {
  Allocation allocation;
  std::memcpy(&allocation, p - sizeof(allocation), sizeof(allocation));
  TensorMeter::add(-allocation.bytes);
  std::free(allocation.base);
}

Tensor::Tensor(DType dtype, Shape shape) : dtype_(dtype), shape_(shape) {
  constexpr size_t kAlignment = 64;
  const int64_t bytes = dtype_bytes(dtype, shape.num_elements());
  void* base = static_cast<size_t>(bytes) > SIZE_MAX / 2
                   ? nullptr
                   : std::malloc(static_cast<size_t>(bytes) + 2 * kAlignment);
  if (!base) fail(ErrorCode::kOutOfMemory, "cannot allocate ", bytes, " bytes for a tensor");
  const auto address = reinterpret_cast<uintptr_t>(base) + sizeof(Allocation) + kAlignment - 1;
  auto* data = static_cast<std::byte*>(base) +
               (address / kAlignment * kAlignment - reinterpret_cast<uintptr_t>(base));
  const Allocation allocation{base, bytes};
  std::memcpy(data - sizeof(allocation), &allocation, sizeof(allocation));
  data_.reset(data);
  TensorMeter::add(bytes);
}

Tensor Tensor::zeros(DType dtype, Shape shape) {
  Tensor t(dtype, shape);
  std::memset(t.bytes(), 0, static_cast<size_t>(t.num_bytes()));
  return t;
}

Tensor Tensor::clone() const {
  if (empty()) return {};
  Tensor copy(dtype_, shape_);
  std::memcpy(copy.bytes(), bytes(), static_cast<size_t>(num_bytes()));
  return copy;
}

}  // namespace onnuri
