#include "decoder/page_pool.h"

#include <limits>

#include "core/check.h"

namespace onnuri {

PagePool::PagePool(int64_t num_pages) {
  ONNURI_CHECK(num_pages >= 0 && num_pages <= std::numeric_limits<int32_t>::max());
  holders_.assign(static_cast<size_t>(num_pages), 0);
  free_.reserve(static_cast<size_t>(num_pages));
  for (int64_t page = num_pages - 1; page >= 0; --page) {
    free_.push_back(static_cast<int32_t>(page));
  }
}

bool PagePool::allocate(int64_t count, std::vector<int32_t>& out) {
  if (count > num_free()) return false;
  out.reserve(out.size() + static_cast<size_t>(count > 0 ? count : 0));
  for (int64_t i = 0; i < count; ++i) {
    const int32_t page = free_.back();
    free_.pop_back();
    holders_[static_cast<size_t>(page)] = 1;
    out.push_back(page);
  }
  return true;
}

void PagePool::retain(std::span<const int32_t> pages) {
  for (const int32_t page : pages) {
    ONNURI_CHECK(page >= 0 && page < num_pages() && num_holders(page) > 0);
    ++holders_[static_cast<size_t>(page)];
  }
}

void PagePool::release(std::span<const int32_t> pages) {
  for (const int32_t page : pages) {
    ONNURI_CHECK(page >= 0 && page < num_pages() && num_holders(page) > 0);
    if (--holders_[static_cast<size_t>(page)] == 0) free_.push_back(page);
  }
}

void PagePool::check_integrity() const {
  std::vector<bool> is_free(holders_.size(), false);
  for (const int32_t page : free_) {
    ONNURI_CHECK(page >= 0 && page < num_pages() && num_holders(page) == 0);
    ONNURI_CHECK(!is_free[static_cast<size_t>(page)]);
    is_free[static_cast<size_t>(page)] = true;
  }
  for (size_t page = 0; page < holders_.size(); ++page)
    ONNURI_CHECK(is_free[page] == (holders_[page] == 0));
}

}  // namespace onnuri
