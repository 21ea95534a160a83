#include "core/stored_pages.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "core/weight_encoding.h"

namespace onnuri {
namespace {

// Pages that are only partly inside go too: whoever needs them reads them again.
void release_bytes(const void* data, int64_t bytes) {
  if (bytes <= 0) return;
  const auto page = static_cast<uintptr_t>(::sysconf(_SC_PAGESIZE));
  const auto begin = reinterpret_cast<uintptr_t>(data) / page * page;
  const auto end = reinterpret_cast<uintptr_t>(data) + static_cast<uintptr_t>(bytes);
  // The kernel may refuse, for locked pages for example: they then simply stay.
  ::madvise(reinterpret_cast<void*>(begin), end - begin, MADV_DONTNEED);
}

void release_codes(const TensorView& view) {
  const WeightEncoding& e = *view.encoding;
  if (e.code_layout != CodeLayout::kRows) return release_bytes(e.codes, e.code_bytes);
  const int64_t rows = view.num_elements() / e.cols;
  if (rows < 1) return;
  const int64_t begin = view.first_row * e.code_row_bytes();
  const int64_t span = ((rows - 1) * view.row_step + 1) * e.code_row_bytes();
  release_bytes(e.codes + begin, std::min(span, e.code_bytes - begin));
}

}  // namespace

void release_pages(const TensorView& view) {
  if (view.encoding != nullptr) {
    if (view.is_mapped) release_codes(view);
    release_pages(view.encoding->scales);
    release_pages(view.encoding->zeros);
    return;
  }
  if (view.is_mapped && !view.empty()) release_bytes(view.data, view.num_bytes());
}

}  // namespace onnuri
