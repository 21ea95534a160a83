// Tensors: a view that looks, an owner that holds. All are dense and row-major.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <memory>
#include <span>
#include <string>

#include "core/dtype.h"

namespace onnuri {

/// Up to kMaxRank extents. Immutable in practice; cheap to copy.
class Shape {
 public:
  static constexpr int kMaxRank = 6;
  Shape() = default;
  Shape(std::initializer_list<int64_t> extents);
  explicit Shape(std::span<const int64_t> extents);

  int rank() const { return rank_; }
  int64_t operator[](int i) const { return extents_[static_cast<size_t>(i < 0 ? i + rank_ : i)]; }
  /// Product of all extents; 1 for rank 0. Throws kCorruptData on overflow.
  int64_t num_elements() const;
  std::string to_string() const;  // "(2, 3)"
  bool operator==(const Shape& other) const;

 private:
  std::array<int64_t, kMaxRank> extents_{};
  int rank_ = 0;
};

struct WeightEncoding;  // core/weight_encoding.h
struct FilePages;       // core/mapped_file.h

/// Non-owning look at a dense tensor. Trivially copyable; never outlives its owner.
struct TensorView {
  const void* data = nullptr;
  DType dtype = DType::kF32;
  Shape shape;
  // Of kEncoded only: what the bytes mean, and which rows of the matrix (leading axes flattened)
  // are looked at. Row i of the view is row first_row + i * row_step.
  const WeightEncoding* encoding = nullptr;
  int64_t first_row = 0;
  int64_t row_step = 1;
  // The mapped file that the bytes are in, at any address; null for memory of our own.
  const FilePages* file = nullptr;

  int64_t num_elements() const { return shape.num_elements(); }
  int64_t num_bytes() const { return dtype_bytes(dtype, shape.num_elements()); }
  bool empty() const { return data == nullptr; }
  template <typename T>
  const T* as() const {
    return static_cast<const T*>(data);
  }
  /// Element i. Stored tensors begin at any byte of a file: only this way may wide ones be read.
  template <typename T>
  T read(int64_t i) const {
    T value;
    std::memcpy(&value, static_cast<const char*>(data) + i * static_cast<int64_t>(sizeof(T)),
                sizeof(T));
    return value;
  }
  /// The i-th slice along the first axis.
  TensorView slice(int64_t index) const;
  /// Rows [begin, begin + count) of the first axis.
  TensorView rows(int64_t begin, int64_t count) const;
  /// The same elements under another shape of equal size.
  TensorView reshaped(Shape new_shape) const;
};

/// Owner of one 64-byte-aligned buffer. Move-only.
class Tensor {
 public:
  Tensor() = default;
  /// Uninitialised memory. Throws kOutOfMemory.
  Tensor(DType dtype, Shape shape);
  static Tensor zeros(DType dtype, Shape shape);
  Tensor clone() const;

  TensorView view() const { return {data_.get(), dtype_, shape_}; }
  const Shape& shape() const { return shape_; }
  DType dtype() const { return dtype_; }
  bool empty() const { return data_ == nullptr; }
  int64_t num_bytes() const { return data_ ? dtype_bytes(dtype_, shape_.num_elements()) : 0; }
  float* f32() { return reinterpret_cast<float*>(data_.get()); }
  const float* f32() const { return reinterpret_cast<const float*>(data_.get()); }
  std::byte* bytes() { return data_.get(); }
  const std::byte* bytes() const { return data_.get(); }

 private:
  struct Free {
    void operator()(std::byte* p) const;
  };
  std::unique_ptr<std::byte[], Free> data_;
  DType dtype_ = DType::kF32;
  Shape shape_;
};

}  // namespace onnuri
