#include "core/tensor_source.h"

#include <algorithm>

#include "core/check.h"
#include "core/printable.h"

namespace onnuri {
namespace {

TensorView apply_ref(TensorView view, const TensorRef& ref, const std::string& where) {
  for (const int64_t index : ref.index) {
    if (view.shape.rank() == 0 || index < 0 || index >= view.shape[0]) {
      fail(ErrorCode::kCorruptData, where, ": expected an axis longer than ", index, ", found ",
           view.shape.to_string());
    }
    view = view.slice(index);
  }
  if (ref.row_begin == 0 && ref.row_count < 0) return view;
  const int64_t rows = view.shape.rank() == 0 ? 0 : view.shape[0];
  const int64_t count = ref.row_count < 0 ? rows - ref.row_begin : ref.row_count;
  if (ref.row_begin < 0 || count < 0 || count > rows || ref.row_begin > rows - count) {
    fail(ErrorCode::kCorruptData, where, ": expected rows [", ref.row_begin, ", ",
         ref.row_begin + count, "), found ", view.shape.to_string());
  }
  return view.rows(ref.row_begin, count);
}

}  // namespace

TensorSource::TensorSource(std::shared_ptr<const Checkpoint> checkpoint, TensorNameMap map)
    : checkpoint_(std::move(checkpoint)), map_(std::move(map)) {
  ONNURI_CHECK(checkpoint_ != nullptr && map_ != nullptr);
}

bool TensorSource::has(const std::string& canonical) const {
  const std::vector<TensorRef> refs = map_(canonical);
  return std::any_of(refs.begin(), refs.end(), [this](const TensorRef& ref) {
    return !checkpoint_->find(ref.name).empty();
  });
}

TensorView TensorSource::get(const std::string& canonical, const Shape& expected) {
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
    const TensorView view = apply_ref(stored, ref, where);
    if (!(view.shape == expected)) {
      fail(ErrorCode::kCorruptData, where, ": expected ", expected.to_string(), " for ", canonical,
           ", found ", view.shape.to_string());
    }
    used_.insert(ref.name);
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
