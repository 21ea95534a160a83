#include "kernels/backend.h"

#include <array>
#include <cstdlib>
#include <span>

#include "core/check.h"
#include "kernels/kernel_table.h"

namespace onnuri {
namespace {

// Slowest first. A table that the CPU lacks is listed and refused, never run.
std::span<const KernelTable> all_tables() {
  static const KernelTable kTables[] = {
    {"ref", "plain loops, the specification", [](const CpuFeatures&) { return true; },
     ref::linear_kernels, ref::vector_kernels, ref::attention_kernels},
#if defined(__x86_64__)
    {"avx2", "256-bit AVX2, FMA, F16C", [](const CpuFeatures& f) { return f.avx2_fma_f16c; },
     avx2::linear_kernels, avx2::vector_kernels, avx2::attention_kernels},
    {"avx512", "512-bit AVX-512 with VNNI and BF16",
     [](const CpuFeatures& f) {
       return f.avx2_fma_f16c && f.avx512 && f.avx512_vnni && f.avx512_bf16;
     },
     avx512::linear_kernels, avx512::vector_kernels, avx512::attention_kernels},
#endif
  };
  return kTables;
}

const KernelTable* choose_table(std::string_view isa) {
  const CpuFeatures features = detect_cpu_features();
  const KernelTable* best = nullptr;
  std::string names;
  for (const KernelTable& table : all_tables()) {
    const bool supported = table.supported(features);
    if (supported && (isa.empty() || isa == table.name)) best = &table;
    if (supported) names += (names.empty() ? "" : ", ") + std::string(table.name);
  }
  if (best == nullptr) {
    fail(ErrorCode::kInvalidArgument, "expected one of the kernel tables of this CPU (", names,
         "), found \"", isa, "\"");
  }
  return best;
}

struct FreeBytes {
  void operator()(void* p) const { std::free(p); }
};

}  // namespace

struct Backend::Scratch {
  struct Slot {
    std::unique_ptr<void, FreeBytes> data;
    size_t size = 0;
  };
  std::array<Slot, 16> slots;
};

std::vector<KernelTableInfo> list_kernel_tables() {
  const CpuFeatures features = detect_cpu_features();
  const std::string_view chosen = choose_table("")->name;
  std::vector<KernelTableInfo> infos;
  for (const KernelTable& table : all_tables()) {
    infos.push_back({std::string(table.name), std::string(table.description),
                     table.supported(features), table.name == chosen});
  }
  return infos;
}

Backend::Backend(int num_threads, std::string_view isa, BackendMode mode)
    : mode_(mode),
      pool_(std::make_unique<ThreadPool>(
          num_threads, mode == BackendMode::kCompute ? PoolMode::kRun : PoolMode::kSkip)),
      table_(choose_table(isa)),
      scratch_(std::make_unique<Scratch>()) {}

Backend::~Backend() = default;

int64_t Backend::scratch_bytes() const {
  size_t bytes = 0;
  for (const Scratch::Slot& slot : scratch_->slots) bytes += slot.size;
  return static_cast<int64_t>(bytes);
}

void* Backend::scratch(int slot, size_t bytes) {
  ONNURI_CHECK(slot >= 0 && static_cast<size_t>(slot) < scratch_->slots.size());
  Scratch::Slot& s = scratch_->slots[static_cast<size_t>(slot)];
  if (s.size < bytes) {
    s.data.reset();
    s.size = 0;
    const size_t rounded = (bytes + bytes / 4 + 127) / 64 * 64;
    s.data.reset(std::aligned_alloc(64, rounded));
    if (!s.data) fail(ErrorCode::kOutOfMemory, "cannot allocate ", rounded, " scratch bytes");
    s.size = rounded;
  }
  return s.data.get();
}

}  // namespace onnuri
