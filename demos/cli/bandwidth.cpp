#include "demos/cli/bandwidth.h"

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <thread>
#include <vector>

namespace onnuri::cli {
namespace {

uint64_t read_all(const uint64_t* data, size_t n) {
  uint64_t sums[8] = {};
  for (size_t i = 0; i + 8 <= n; i += 8) {
    for (size_t j = 0; j < 8; ++j) sums[j] += data[i + j];
  }
  uint64_t total = 0;
  for (const uint64_t s : sums) total += s;
  return total;
}

}  // namespace

double measure_read_bandwidth(int num_threads) {
  const size_t threads = static_cast<size_t>(std::max(num_threads, 1));
  const size_t words = (size_t{512} << 20) / sizeof(uint64_t) / threads;
  std::vector<std::vector<uint64_t>> buffers(threads, std::vector<uint64_t>(words, 1));
  std::vector<uint64_t> results(threads);
  double best_s = 1e9;
  for (int pass = 0; pass < 4; ++pass) {
    const auto begin = std::chrono::steady_clock::now();
    std::vector<std::thread> workers;
    for (size_t t = 0; t < threads; ++t) {
      workers.emplace_back([&, t] { results[t] += read_all(buffers[t].data(), words); });
    }
    for (std::thread& w : workers) w.join();
    const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - begin;
    best_s = std::min(best_s, elapsed.count());
  }
  volatile uint64_t sink = 0;  // keeps the reads
  for (const uint64_t r : results) sink = sink + r;
  return static_cast<double>(words * threads * sizeof(uint64_t)) / best_s;
}

}  // namespace onnuri::cli
