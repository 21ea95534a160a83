// Worker threads that share one loop at a time.
//
// Chunks are claimed dynamically, the caller works too, and waiting threads spin briefly before
// they sleep, so a busy neighbour on a core costs its share and no more. No OpenMP: its static
// splits and spinning barriers collapse when cores are shared.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>

namespace onnuri {

/// Non-owning reference to a callable void(int64_t chunk, int worker). Lives for one call.
class ChunkFn {
 public:
  template <typename F>
  ChunkFn(F& f)  // NOLINT(google-explicit-constructor)
      : object_(&f),
        call_([](void* o, int64_t chunk, int worker) { (*static_cast<F*>(o))(chunk, worker); }) {}
  void operator()(int64_t chunk, int worker) const { call_(object_, chunk, worker); }

 private:
  void* object_;
  void (*call_)(void*, int64_t, int);
};

/// What a pool does with the chunks it is given.
enum class PoolMode {
  kRun,
  kSkip,  // nothing: whoever measures memory wants the buffers and not the results
};

class ThreadPool {
 public:
  /// `num_threads` counts the caller; 0 means one per core this process may use.
  explicit ThreadPool(int num_threads, PoolMode mode = PoolMode::kRun);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int num_threads() const;

  /// Runs fn(chunk, worker) for every chunk in [0, num_chunks), worker in [0, num_threads()).
  /// Returns when all are done. Exceptions of a chunk are rethrown here (the first one).
  /// Not reentrant: a chunk must not call run. One caller at a time.
  template <typename F>
  void run(int64_t num_chunks, F&& fn) {
    auto& ref = fn;
    run_chunks(num_chunks, ChunkFn(ref));
  }

 private:
  void run_chunks(int64_t num_chunks, ChunkFn fn);
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace onnuri
