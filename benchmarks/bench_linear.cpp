// Matrix products per weight type: bandwidth with one input row, arithmetic with many.
//
// Arguments: N, K, M, threads. "bytes_per_second" counts streamed weights; "MAC" is multiply-adds.
#include <benchmark/benchmark.h>

#include <cstdint>
#include <random>
#include <vector>

#include "kernels/linear.h"

namespace onnuri {
namespace {

void bench_linear(benchmark::State& state, DType dtype) {
  const int64_t n = state.range(0), k = state.range(1), m = state.range(2);
  if (k % dtype_info(dtype).block_elements != 0) {
    state.SkipWithError("columns do not fill blocks");
    return;
  }
  Backend backend(static_cast<int>(state.range(3)), "");
  // Bytes below 64 are small finite numbers in every format.
  std::mt19937 rng(1);
  std::vector<uint8_t> bytes(static_cast<size_t>(dtype_bytes(dtype, n * k)));
  for (uint8_t& b : bytes) b = static_cast<uint8_t>(rng() % 64);
  const PackedMatrix weight =
      pack_matrix(backend, {bytes.data(), dtype, {n, k}}, ComputeType::kAuto);
  const std::vector<float> x(static_cast<size_t>(m * k), 0.5f);
  std::vector<float> y(static_cast<size_t>(m * n));
  for (auto _ : state) {
    linear(backend, matrix(x.data(), m, k), weight, nullptr, matrix(y.data(), m, n));
    benchmark::DoNotOptimize(y.data());
  }
  state.SetBytesProcessed(state.iterations() * weight.streamed_bytes());
  state.counters["MAC"] =
      benchmark::Counter(static_cast<double>(n * k * m) * static_cast<double>(state.iterations()),
                         benchmark::Counter::kIsRate);
}

void bench_pack(benchmark::State& state, DType dtype) {
  const int64_t n = state.range(0), k = state.range(1);
  Backend backend(static_cast<int>(state.range(2)), "");
  const std::vector<uint8_t> bytes(static_cast<size_t>(dtype_bytes(dtype, n * k)), 7);
  for (auto _ : state) {
    const PackedMatrix weight =
        pack_matrix(backend, {bytes.data(), dtype, {n, k}}, ComputeType::kAuto);
    benchmark::DoNotOptimize(weight.rows());
  }
  state.SetBytesProcessed(state.iterations() * static_cast<int64_t>(bytes.size()));
}

void shapes(benchmark::internal::Benchmark* b) {
  b->UseRealTime()->Unit(benchmark::kMicrosecond);
  for (const int64_t threads : {1, 2}) {
    for (const int64_t m : {1, 4, 16, 512}) {
      b->Args({4864, 896, m, threads})->Args({2048, 2048, m, threads});
    }
    b->Args({151936, 896, 1, threads});
  }
}

void pack_shapes(benchmark::internal::Benchmark* b) {
  b->UseRealTime()->Unit(benchmark::kMillisecond)->Args({4096, 2048, 1})->Args({4096, 2048, 2});
}

#define ONNURI_BENCH(name, dtype)                                     \
  BENCHMARK_CAPTURE(bench_linear, name, DType::dtype)->Apply(shapes); \
  BENCHMARK_CAPTURE(bench_pack, name, DType::dtype)->Apply(pack_shapes)

ONNURI_BENCH(f32, kF32);
ONNURI_BENCH(f16, kF16);
ONNURI_BENCH(bf16, kBF16);
ONNURI_BENCH(q4_0, kQ4_0);
ONNURI_BENCH(q4_1, kQ4_1);
ONNURI_BENCH(q5_0, kQ5_0);
ONNURI_BENCH(q5_1, kQ5_1);
ONNURI_BENCH(q8_0, kQ8_0);
ONNURI_BENCH(q4_k, kQ4_K);
ONNURI_BENCH(q5_k, kQ5_K);
ONNURI_BENCH(q6_k, kQ6_K);

}  // namespace
}  // namespace onnuri

BENCHMARK_MAIN();
