#include "core/stored_pages.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "core/mapped_file.h"
#include "core/weight_encoding.h"

namespace onnuri {
namespace {

// A kernel may map a whole run of pages when one of them is touched, so neighbours go too: whoever
// needs them reads them again.
constexpr uintptr_t kRunBytes = uintptr_t{2} << 20;

void release_bytes(const FilePages& file, const void* data, int64_t bytes) {
  if (bytes <= 0) return;
  const auto first = reinterpret_cast<uintptr_t>(file.data);  // a page begins here
  const auto begin = reinterpret_cast<uintptr_t>(data);
  const auto end = begin + static_cast<uintptr_t>(bytes);
  const uintptr_t from = std::max(first, begin / kRunBytes * kRunBytes);
  const uintptr_t to = std::min(first + file.size, (end + kRunBytes - 1) / kRunBytes * kRunBytes);
  // The kernel may refuse, for locked pages for example: they then simply stay.
  ::madvise(reinterpret_cast<void*>(from), to - from, MADV_DONTNEED);
}

void release_codes(const TensorView& view) {
  const WeightEncoding& e = *view.encoding;
  if (e.code_layout != CodeLayout::kRows) return release_bytes(*e.file, e.codes, e.code_bytes);
  const int64_t rows = view.num_elements() / e.cols;
  if (rows < 1) return;
  const int64_t begin = view.first_row * e.code_row_bytes();
  const int64_t span = ((rows - 1) * view.row_step + 1) * e.code_row_bytes();
  release_bytes(*e.file, e.codes + begin, std::min(span, e.code_bytes - begin));
}

}  // namespace

void release_pages(const TensorView& view) {
  if (view.encoding != nullptr) {
    if (view.file != nullptr) release_codes(view);
    release_pages(view.encoding->scales);
    release_pages(view.encoding->zeros);
    return;
  }
  if (view.file != nullptr) release_bytes(*view.file, view.data, view.num_bytes());
}

}  // namespace onnuri
