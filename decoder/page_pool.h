// Which pages are free: integers only, no memory behind them.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace onnuri {

/// A stack of free page numbers. Not thread-safe.
class PagePool {
 public:
  explicit PagePool(int64_t num_pages);

  /// Appends `count` pages to `out`; false, with nothing changed, when fewer are free.
  [[nodiscard]] bool allocate(int64_t count, std::vector<int32_t>& out);
  /// Takes pages back. Each must be in use.
  void release(std::span<const int32_t> pages);

  int64_t num_pages() const { return static_cast<int64_t>(in_use_.size()); }
  int64_t num_free() const { return static_cast<int64_t>(free_.size()); }
  bool in_use(int32_t page) const { return in_use_[static_cast<size_t>(page)]; }

  /// Throws kInternal unless every page is either free once or in use.
  void check_integrity() const;

 private:
  std::vector<int32_t> free_;  // the next page is at the back
  std::vector<bool> in_use_;   // (num_pages)
};

}  // namespace onnuri
