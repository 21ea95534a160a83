#include "core/tensor_source.h"

#include <algorithm>
#include <cstring>

#include "core/check.h"
#include "core/printable.h"
#include "core/stored_pages.h"

namespace onnuri {
namespace {

TensorView apply_index(TensorView view, const TensorRef& ref, const std::string& where) {
  for (const int64_t index : ref.index) {
    if (view.shape.rank() == 0 || index < 0 || index >= view.shape[0]) {
      fail(ErrorCode::kCorruptData, where, ": expected an axis longer than ", index, ", found ",
           view.shape.to_string());
    }
    view = view.slice(index);
  }
  return view;
}

// How many of the `rows` rows of a tensor `ref` asks for; throws when they are not all there.
int64_t count_rows(const TensorRef& ref, int64_t rows, const Shape& shape,
                   const std::string& where) {
  const int64_t step = ref.row_step;
  const bool begins_inside = step >= 1 && ref.row_begin >= 0 && ref.row_begin <= rows;
  const int64_t available = begins_inside ? (rows - ref.row_begin + step - 1) / step : -1;
  const int64_t count = ref.row_count < 0 ? available : ref.row_count;
  if (available < 0 || count > available) {
    fail(ErrorCode::kCorruptData, where, ": expected ", count, " rows from row ", ref.row_begin,
         " with step ", step, ", found ", shape.to_string());
  }
  return count;
}

TensorView step_rows(const TensorView& view, const TensorRef& ref, const std::string& where) {
  const int64_t count = count_rows(ref, view.shape[0], view.shape, where);
  TensorView out = view.rows(ref.row_begin, 0);
  if (ref.row_step != 1 && view.shape.rank() != 2) {
    fail(ErrorCode::kUnsupported, where, ": expected a matrix, found ", view.shape.to_string());
  }
  out.shape = view.rows(0, count).shape;
  out.row_step *= ref.row_step;
  return out;
}

// Element (i, k) of `out` is element (begin + i * step, k) of a matrix, or (k, begin + i * step) of
// a stored transposed one. Tiles keep both sides in the cache.
void copy_elements(const TensorView& view, const TensorRef& ref, int64_t cols, Tensor& out) {
  constexpr int64_t kTile = 32;
  const int64_t rows = out.shape()[0];
  const auto size = static_cast<size_t>(dtype_info(view.dtype).block_bytes);
  const int64_t stride = view.shape[1];
  const auto* source = view.as<std::byte>();
  for (int64_t row0 = 0; row0 < rows; row0 += kTile) {
    for (int64_t col0 = 0; col0 < cols; col0 += kTile) {
      for (int64_t k = col0; k < std::min(cols, col0 + kTile); ++k) {
        for (int64_t i = row0; i < std::min(rows, row0 + kTile); ++i) {
          const int64_t from = k * stride + ref.row_begin + i * ref.row_step;
          std::memcpy(out.bytes() + static_cast<size_t>(i * cols + k) * size,
                      source + static_cast<size_t>(from) * size, size);
        }
      }
    }
  }
}

// A dense copy of transposed or interleaved rows; the shape is checked before memory is taken.
Tensor copy_rows(const TensorView& view, const TensorRef& ref, const Shape& expected,
                 const std::string& where) {
  const int rank = view.shape.rank();
  const bool plain = dtype_info(view.dtype).block_elements == 1 && view.encoding == nullptr;
  if (rank < 1 || rank > 2 || (ref.transposed && (rank != 2 || !plain))) {
    fail(ErrorCode::kUnsupported, where, ": expected ",
         ref.transposed ? "a matrix of plain numbers" : "a vector or a matrix", ", found ",
         dtype_name(view.dtype), " ", view.shape.to_string());
  }
  const int64_t stored_rows = view.shape[ref.transposed ? 1 : 0];
  const int64_t count = count_rows(ref, stored_rows, view.shape, where);
  const int64_t cols = rank == 1 ? 1 : view.shape[ref.transposed ? 0 : 1];
  const Shape shape = rank == 1 ? Shape{count} : Shape{count, cols};
  if (!(shape == expected)) {
    fail(ErrorCode::kCorruptData, where, ": expected ", expected.to_string(), ", found ",
         shape.to_string());
  }
  Tensor out(view.dtype, shape);
  if (ref.transposed) {
    copy_elements(view, ref, cols, out);
    return out;
  }
  const auto row_bytes = static_cast<size_t>(dtype_bytes(view.dtype, cols));
  for (int64_t i = 0; i < count; ++i) {
    const auto from = static_cast<size_t>(ref.row_begin + i * ref.row_step);
    std::memcpy(out.bytes() + static_cast<size_t>(i) * row_bytes,
                view.as<std::byte>() + from * row_bytes, row_bytes);
  }
  return out;
}

}  // namespace

TensorSource::TensorSource(std::shared_ptr<const Checkpoint> checkpoint, TensorNameMap map)
    : checkpoint_(std::move(checkpoint)), map_(std::move(map)) {
  ONNURI_CHECK(checkpoint_ != nullptr && map_ != nullptr);
}

TensorSource::TensorSource(std::shared_ptr<const Checkpoint> checkpoint, TensorNameMap map,
                           DType imagined)
    : TensorSource(std::move(checkpoint), std::move(map)) {
  imagined_ = imagined;
}

TensorView TensorSource::imagine(const std::string& canonical, const Shape& expected) {
  TensorView view{nullptr, *imagined_, expected};
  const auto bytes = static_cast<size_t>(view.num_bytes());
  if (zeros_.empty() || zeros_.back().bytes().size() < bytes)
    zeros_.push_back(MappedFile::zeros(bytes));
  view.data = zeros_.back().bytes().data();
  if (read_.insert(canonical).second) num_elements_read_ += view.num_elements();
  return view;
}

bool TensorSource::has(const std::string& canonical) const {
  const std::vector<TensorRef> refs = map_(canonical);
  return std::any_of(refs.begin(), refs.end(),
                     [this](const TensorRef& ref) { return !checkpoint_->find(ref.name).empty(); });
}

TensorView TensorSource::get(const std::string& canonical, const Shape& expected) {
  if (imagined_) return imagine(canonical, expected);
  const TensorView view = get_if(canonical, expected);
  if (!view.empty()) return view;
  std::string tried;
  for (const TensorRef& ref : map_(canonical)) {
    tried += (tried.empty() ? "" : ", ") + in_quotes(ref.name);
  }
  fail(ErrorCode::kNotFound, checkpoint_->path(), ": tensor ", in_quotes(canonical),
       " is missing, tried ", tried.empty() ? "no name" : tried);
}

TensorView TensorSource::get_if(const std::string& canonical, const Shape& expected) {
  for (const TensorRef& ref : map_(canonical)) {
    const TensorView stored = checkpoint_->find(ref.name);
    if (stored.empty()) continue;
    const std::string where = checkpoint_->path() + ": tensor " + in_quotes(ref.name);
    TensorView view = apply_index(stored, ref, where);
    if (view.encoding != nullptr && !ref.transposed && view.shape.rank() >= 2) {
      view = step_rows(view, ref, where);  // nothing to copy: the encoding is read row by row
    } else if (ref.transposed || ref.row_step != 1) {
      copies_.push_back(copy_rows(view, ref, expected, where));
      release_pages(view);
      view = copies_.back().view();
    } else if (ref.row_begin != 0 || ref.row_count >= 0) {
      const int64_t rows = view.shape.rank() == 0 ? 0 : view.shape[0];
      view = view.rows(ref.row_begin, count_rows(ref, rows, view.shape, where));
    }
    if (!(view.shape == expected)) {
      fail(ErrorCode::kCorruptData, where, ": expected ", expected.to_string(), " for ", canonical,
           ", found ", view.shape.to_string());
    }
    used_.insert(ref.name);
    if (read_.insert(canonical).second) num_elements_read_ += view.num_elements();
    return view;
  }
  return {};
}

void TensorSource::ignore_prefix(const std::string& stored_prefix) {
  ignored_prefixes_.push_back(stored_prefix);
}

std::vector<std::string> TensorSource::unused() const {
  std::vector<std::string> rest;
  for (const std::string& name : checkpoint_->names()) {
    const bool is_ignored =
        std::any_of(ignored_prefixes_.begin(), ignored_prefixes_.end(),
                    [&name](const std::string& prefix) { return name.starts_with(prefix); });
    if (!is_ignored && !used_.contains(name)) rest.push_back(name);
  }
  return rest;
}

}  // namespace onnuri
