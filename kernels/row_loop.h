// Splits rows over the thread pool when there is enough work to pay for waking the others.
#pragma once

#include <algorithm>
#include <cstdint>

#include "kernels/backend.h"

namespace onnuri {

/// Calls fn(begin, end) over [0, rows). `row_ns` is a rough cost of one row on one thread; below
/// kInlineNs in all, the caller does everything itself.
template <typename F>
void run_rows(Backend& backend, int64_t rows, double row_ns, F&& fn) {
  constexpr double kInlineNs = 15000.0;
  constexpr double kChunkNs = 6000.0;
  if (rows <= 0 || !backend.computes()) return;
  const double total = row_ns * static_cast<double>(rows);
  if (backend.num_threads() == 1 || rows == 1 || total < kInlineNs) {
    fn(int64_t{0}, rows);
    return;
  }
  const int64_t by_cost = static_cast<int64_t>(total / kChunkNs);
  const int64_t chunks = std::min({rows, by_cost, int64_t{8} * backend.num_threads()});
  const int64_t per_chunk = (rows + chunks - 1) / chunks;
  const int64_t used = (rows + per_chunk - 1) / per_chunk;
  backend.pool().run(used, [&](int64_t chunk, int) {
    fn(chunk * per_chunk, std::min(rows, (chunk + 1) * per_chunk));
  });
}

}  // namespace onnuri
