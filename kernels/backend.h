// A backend: threads, scratch memory and the kernel table that was chosen.
#pragma once

#include <cstddef>
#include <cstdint>
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

enum class BackendMode {
  kCompute,
  kMeasure,  // ops check, size their buffers and weights, and compute nothing
};

/// Owns threads and scratch. Used by one caller at a time; several may exist in one process.
class Backend {
 public:
  /// `isa` is a table's name or "" for the best; unknown or unsupported names throw
  /// kInvalidArgument listing the choices. `num_threads` 0 means one per available core.
  Backend(int num_threads, std::string_view isa, BackendMode mode = BackendMode::kCompute);
  ~Backend();
  Backend(const Backend&) = delete;
  Backend& operator=(const Backend&) = delete;

  ThreadPool& pool() { return *pool_; }
  int num_threads() const { return pool_->num_threads(); }
  const KernelTable& table() const { return *table_; }
  bool computes() const { return mode_ == BackendMode::kCompute; }

  /// 64-byte-aligned scratch of at least `bytes`, valid until the next call with the same slot.
  /// Linear ops use slots 0..3, attention 4..7, others 8..11; no op keeps one.
  void* scratch(int slot, size_t bytes);

  /// What all slots hold now.
  int64_t scratch_bytes() const;
  /// Bytes of all weights that were packed for this backend.
  int64_t packed_bytes() const { return packed_bytes_; }
  void add_packed_bytes(int64_t bytes) { packed_bytes_ += bytes; }

 private:
  BackendMode mode_;
  int64_t packed_bytes_ = 0;
  std::unique_ptr<ThreadPool> pool_;
  const KernelTable* table_;
  struct Scratch;
  std::unique_ptr<Scratch> scratch_;
};

}  // namespace onnuri
