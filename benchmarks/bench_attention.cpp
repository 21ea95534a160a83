// Attention: decoding at depth, prefill, and packed encoder segments.
//
// Counters: GB/s of keys and values read once (decode), GFLOP/s of the two products. `share` is
// GFLOP/s over a loop of independent fused multiply-adds measured here on the same threads. One
// thread is timed by its processor time, so that neighbours on the core matter less.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <ctime>
#include <random>
#include <vector>

#include "kernels/backend.h"
#include "kernels/ops.h"

namespace onnuri {
namespace {

double seconds_now(const Backend& backend) {
  if (backend.num_threads() == 1) {
    timespec t{};
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
  }
  const auto now = std::chrono::steady_clock::now().time_since_epoch();
  return std::chrono::duration<double>(now).count();
}

// Best of a few runs of 2 * 8 * 12 flops per step and thread; compiled like any other code, so on a
// CPU with wider units it is only a floor.
__attribute__((target("avx2,fma"))) double fma_loop(int64_t steps) {
  using V = float __attribute__((vector_size(32)));
  V a[12];
  for (int i = 0; i < 12; ++i) a[i] = V{} + static_cast<float>(i);
  const V x = V{} + 0.999f;
  const V y = V{} + 0.001f;
  for (int64_t s = 0; s < steps; ++s) {
    for (int i = 0; i < 12; ++i) a[i] = a[i] * x + y;
  }
  float sum = 0.0f;
  for (int i = 0; i < 12; ++i) sum += a[i][0];
  return static_cast<double>(sum);
}

double peak_gflops(Backend& backend) {
  double best = 0.0;
  for (int repeat = 0; repeat < 5; ++repeat) {
    constexpr int64_t kSteps = 2000000;
    const double start = seconds_now(backend);
    backend.pool().run(backend.num_threads(), [](int64_t, int) {
      double sum = fma_loop(kSteps);
      benchmark::DoNotOptimize(sum);
    });
    const double time = seconds_now(backend) - start;
    const double flops = 192.0 * static_cast<double>(kSteps) * backend.num_threads();
    best = std::max(best, flops / time / 1e9);
  }
  return best;
}

std::vector<float> random_floats(int64_t n) {
  std::mt19937 random(1);
  std::normal_distribution<float> normal;
  std::vector<float> x(static_cast<size_t>(n));
  for (float& v : x) v = normal(random);
  return x;
}

struct Cache {
  std::vector<uint16_t> k, v;
  std::vector<int32_t> table;
  KvView view;
  Cache(int64_t keys, int64_t heads, int64_t dim) {
    const int64_t entries = (keys + 63) / 64;
    k.assign(static_cast<size_t>(entries * 64 * heads * dim), 0x3400);
    v.assign(k.size(), 0x3400);
    for (int64_t e = 0; e < entries; ++e) table.push_back(static_cast<int32_t>(e));
    view = {.dtype = DType::kF16,
            .k_pages = k.data(),
            .v_pages = v.data(),
            .page_table = table.data(),
            .num_entries = entries,
            .page_rows = 64,
            .num_kv_heads = heads,
            .k_dim = dim,
            .v_dim = dim};
  }
};

// Reports from the fastest iteration, since other programs may share the cores.
template <typename F>
void measure(benchmark::State& state, Backend& backend, double flops, double bytes, F&& run) {
  double best = 1e9;
  for (auto _ : state) {
    const double start = seconds_now(backend);
    run();
    best = std::min(best, seconds_now(backend) - start);
  }
  state.counters["best_us"] = best * 1e6;
  state.counters["GFLOP/s"] = flops / best / 1e9;
  state.counters["share"] = flops / best / 1e9 / peak_gflops(backend);
  if (bytes > 0) state.counters["GB/s"] = bytes / best / 1e9;
}

// Arguments: threads, heads, kv heads, head dim, depth.
void decode(benchmark::State& state) {
  Backend backend(static_cast<int>(state.range(0)), "");
  const int64_t heads = state.range(1), kv_heads = state.range(2), dim = state.range(3);
  const int64_t depth = state.range(4);
  const Cache cache(depth, kv_heads, dim);
  const auto q = random_floats(heads * dim);
  std::vector<float> out(q.size());
  const AttentionSegment segment{0, 1, depth - 1, depth, cache.view};
  const AttentionParams params{.num_heads = heads, .scale = 0.125f};
  measure(state, backend, 4.0 * static_cast<double>(heads * dim * depth),
          4.0 * static_cast<double>(kv_heads * dim * depth), [&] {
            attention_paged(backend, matrix(q.data(), 1, heads * dim), {&segment, 1}, params,
                            matrix(out.data(), 1, heads * dim));
          });
}

void prefill(benchmark::State& state) {
  Backend backend(static_cast<int>(state.range(0)), "");
  const int64_t heads = state.range(1), kv_heads = state.range(2), dim = state.range(3);
  const int64_t rows = state.range(4);
  const Cache cache(rows, kv_heads, dim);
  const auto q = random_floats(rows * heads * dim);
  std::vector<float> out(q.size());
  const AttentionSegment segment{0, rows, 0, rows, cache.view};
  const AttentionParams params{.num_heads = heads, .scale = 0.125f};
  measure(state, backend, 2.0 * static_cast<double>(heads * dim * rows * (rows + 1)), 0.0, [&] {
    attention_paged(backend, matrix(q.data(), rows, heads * dim), {&segment, 1}, params,
                    matrix(out.data(), rows, heads * dim));
  });
}

// Arguments: threads, rows, heads, head dim.
void packed(benchmark::State& state) {
  Backend backend(static_cast<int>(state.range(0)), "");
  const int64_t rows = state.range(1), heads = state.range(2), dim = state.range(3);
  const auto x = random_floats(rows * heads * dim);
  std::vector<float> out(x.size());
  const int64_t offsets[] = {0, rows};
  const ConstMatrixView view = matrix(x.data(), rows, heads * dim);
  measure(state, backend, 4.0 * static_cast<double>(heads * dim * rows * rows), 0.0, [&] {
    attention_packed(backend, view, view, view, offsets, heads, 0.125f,
                     matrix(out.data(), rows, heads * dim));
  });
}

void decode_cases(benchmark::internal::Benchmark* b) {
  for (const int64_t threads : {1, 2}) {
    for (const int64_t depth : {512, 8192, 32768}) {
      b->Args({threads, 14, 2, 64, depth});
      b->Args({threads, 4, 1, 256, depth});
      b->Args({threads, 9, 3, 64, depth});
      b->Args({threads, 8, 8, 64, depth});
    }
  }
}
void prefill_cases(benchmark::internal::Benchmark* b) {
  for (const int64_t threads : {1, 2}) {
    for (const int64_t rows : {512, 2048}) {
      b->Args({threads, 14, 2, 64, rows});
      b->Args({threads, 4, 1, 256, rows});
    }
  }
}
BENCHMARK(decode)->Apply(decode_cases)->UseRealTime()->MinTime(0.2);
BENCHMARK(prefill)->Apply(prefill_cases)->UseRealTime()->MinTime(0.2);
BENCHMARK(packed)
    ->Args({1, 1500, 8, 64})
    ->Args({2, 1500, 8, 64})
    ->Args({1, 1024, 16, 72})
    ->Args({2, 1024, 16, 72})
    ->UseRealTime()
    ->MinTime(0.2);

}  // namespace
}  // namespace onnuri

BENCHMARK_MAIN();
