// Which pages are free: integers only, no memory behind them.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace onnuri {

/// A stack of free page numbers, and how many hold each of the others. Not thread-safe.
class PagePool {
 public:
  explicit PagePool(int64_t num_pages);

  /// Appends `count` pages to `out`, each held once; false, with nothing changed, when fewer are
  /// free.
  [[nodiscard]] bool allocate(int64_t count, std::vector<int32_t>& out);
  /// One more holds each of these pages, which are in use.
  void retain(std::span<const int32_t> pages);
  /// One less does; the last one gives a page back.
  void release(std::span<const int32_t> pages);

  int64_t num_pages() const { return static_cast<int64_t>(holders_.size()); }
  int64_t num_free() const { return static_cast<int64_t>(free_.size()); }
  int32_t num_holders(int32_t page) const { return holders_[static_cast<size_t>(page)]; }

  /// Throws kInternal unless every page is either free once or held.
  void check_integrity() const;

 private:
  std::vector<int32_t> free_;     // the next page is at the back
  std::vector<int32_t> holders_;  // (num_pages)
};

}  // namespace onnuri
