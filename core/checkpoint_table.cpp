#include "core/checkpoint_table.h"

#include <algorithm>

#include "core/check.h"
#include "core/printable.h"

namespace onnuri {

void check_disjoint(std::vector<StoredTensor>& tensors, const std::string& path) {
  std::sort(tensors.begin(), tensors.end(), [](const StoredTensor& a, const StoredTensor& b) {
    return a.begin != b.begin ? a.begin < b.begin : a.end < b.end;
  });
  const StoredTensor* last = nullptr;  // the last one that has bytes
  for (const StoredTensor& tensor : tensors) {
    if (last != nullptr && tensor.begin < last->end) {
      fail(ErrorCode::kCorruptData, path, ": tensors ", in_quotes(last->name), " and ",
           in_quotes(tensor.name), " overlap at data byte ", tensor.begin);
    }
    if (tensor.end > tensor.begin) last = &tensor;
  }
}

CheckpointTable::CheckpointTable(CheckpointFormat format, std::string path)
    : format_(format), path_(std::move(path)), metadata_(JsonValue::Object{}) {}

void CheckpointTable::add_tensor(std::string name, TensorView view) {
  pending_.emplace_back(std::move(name), view);
}

void CheckpointTable::finish() {
  std::sort(pending_.begin(), pending_.end(),
            [](const auto& a, const auto& b) { return a.first < b.first; });
  names_.reserve(pending_.size());
  views_.reserve(pending_.size());
  for (auto& [name, view] : pending_) {
    if (!names_.empty() && names_.back() == name) {
      fail(ErrorCode::kCorruptData, path_, ": tensor ", in_quotes(name), " occurs twice");
    }
    names_.push_back(std::move(name));
    views_.push_back(view);
  }
  pending_ = {};
}

TensorView CheckpointTable::find(std::string_view name) const {
  const auto it = std::lower_bound(names_.begin(), names_.end(), name);
  if (it == names_.end() || *it != name) return {};
  return views_[static_cast<size_t>(it - names_.begin())];
}

}  // namespace onnuri
