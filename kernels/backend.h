// A backend: threads, scratch memory and the kernel table that was chosen.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/thread_pool.h"

namespace onnuri {

struct KernelTable;

struct KernelTableInfo {
  std::string name;         // "ref", "avx2", "avx512"
  std::string description;  // one line for people
  bool supported = false;   // by this CPU
  bool chosen = false;      // what "" would select
};

/// Every table of this build, slowest first.
std::vector<KernelTableInfo> list_kernel_tables();

/// Owns threads and scratch. Used by one caller at a time; several may exist in one process.
class Backend {
 public:
  /// `isa` is a table's name or "" for the best; unknown or unsupported names throw
  /// kInvalidArgument listing the choices. `num_threads` 0 means one per available core.
  Backend(int num_threads, std::string_view isa);
  ~Backend();
  Backend(const Backend&) = delete;
  Backend& operator=(const Backend&) = delete;

  ThreadPool& pool() { return *pool_; }
  int num_threads() const { return pool_->num_threads(); }
  const KernelTable& table() const { return *table_; }

  /// 64-byte-aligned scratch of at least `bytes`, valid until the next call with the same slot.
  /// Linear ops use slots 0..3, attention 4..7, others 8..11; no op keeps one.
  void* scratch(int slot, size_t bytes);

 private:
  std::unique_ptr<ThreadPool> pool_;
  const KernelTable* table_;
  struct Scratch;
  std::unique_ptr<Scratch> scratch_;
};

}  // namespace onnuri
